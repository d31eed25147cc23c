//! Requests for responses, and the chats that they become.

use super::*;

fn chat(body: &str) -> serde_json::Value {
    let chat = to_chat(body.as_bytes(), Lacks::default(), Counts::Final).unwrap();
    serde_json::from_slice(&chat.body).unwrap()
}

/// The chat's messages for this input, as text.
fn messages(input: &str) -> String {
    chat(&format!(r#"{{"input":{input}}}"#))["messages"].to_string()
}

/// The path and the words of what a request with these members is refused with.
fn refused(members: &str) -> (String, String) {
    let body = format!("{{{members}}}");
    let refusal = to_chat(body.as_bytes(), Lacks::default(), Counts::Final).unwrap_err();
    assert_eq!(refusal.status(), 400);
    (refusal.param_path().unwrap_or_default().to_owned(), refusal.words().to_owned())
}

#[test]
fn a_plain_request_becomes_a_plain_chat() {
    let body = r#"{"model":"m","instructions":"Be \u0062rief.","input":"x","max_output_tokens":5,"temperature":1.00,
        "stream":true,"store":false,"user":null,"include":["reasoning.encrypted_content"],"top_k":4.0,"n":2}"#;
    let made = to_chat(body.as_bytes(), Lacks::default(), Counts::Final).unwrap();
    assert_eq!(
        made.body,
        concat!(
            r#"{"model":"m","temperature":1.00,"#,
            r#""messages":[{"role":"system","content":"Be \u0062rief."},{"role":"user","content":"x"}],"#,
            r#""max_completion_tokens":5,"stream":true,"stream_options":{"include_usage":true},"top_k":4.0}"#
        )
    );
}

#[test]
fn a_limit_has_the_name_that_the_backend_knows() {
    let body = br#"{"input":"x","max_output_tokens":5,"top_k":null}"#;
    let lacks = Lacks { max_completion_tokens: true, null: true, ..Lacks::default() };
    let made = to_chat(body, lacks, Counts::Final).unwrap();
    assert_eq!(made.body, r#"{"messages":[{"role":"user","content":"x"}],"max_tokens":5}"#);
}

#[test]
fn items_become_messages() {
    for (input, wanted) in [
        (r#"[{"role":"user","content":"x"}]"#, r#"[{"role":"user","content":"x"}]"#),
        (
            r#"[{"type":"message","role":"developer","content":[{"type":"input_text","text":"a\nb"}]}]"#,
            r#"[{"role":"developer","content":"a\nb"}]"#,
        ),
        (
            r#"[{"role":"user","content":[{"type":"input_text","text":"x"},{"type":"input_image","image_url":"data:,","detail":"low"},
                {"type":"input_image","image_url":"data:,","detail":null},{"type":"input_file","file_data":"x","filename":"a"},
                {"type":"input_audio","input_audio":{"data":"x","format":"wav"}}]}]"#,
            concat!(
                r#"[{"role":"user","content":[{"type":"text","text":"x"},"#,
                r#"{"type":"image_url","image_url":{"url":"data:,","detail":"low"}},{"type":"image_url","image_url":{"url":"data:,"}},"#,
                r#"{"type":"file","file":{"file_data":"x","filename":"a"}},"#,
                r#"{"type":"input_audio","input_audio":{"data":"x","format":"wav"}}]}]"#
            ),
        ),
        (
            r#"[{"role":"assistant","content":[{"type":"output_text","text":"a","annotations":[]},{"type":"output_text","text":"b"}]},
                {"role":"assistant","content":[{"type":"refusal","refusal":"no"}]},{"role":"assistant","content":[]},
                {"role":"assistant","content":"c"}]"#,
            concat!(
                r#"[{"role":"assistant","content":"ab"},{"role":"assistant","refusal":"no"},"#,
                r#"{"role":"assistant","content":""},{"role":"assistant","content":"c"}]"#
            ),
        ),
        (
            r#"[{"type":"reasoning","id":"rs","summary":[]},{"role":"assistant","content":"a"},{"type":"reasoning","id":"rs","summary":[]},
                {"type":"function_call","call_id":"1","name":"f","arguments":"{\"a\":1.0}"},
                {"type":"function_call","call_id":"2","name":"g","arguments":""},
                {"type":"function_call_output","call_id":"1","output":"x"},
                {"type":"function_call_output","call_id":"2","output":[{"type":"input_text","text":"y"}]},
                {"type":"function_call","call_id":"3","name":"f","arguments":""}]"#,
            concat!(
                r#"[{"role":"assistant","content":"a","tool_calls":["#,
                r#"{"id":"1","type":"function","function":{"name":"f","arguments":"{\"a\":1.0}"}},"#,
                r#"{"id":"2","type":"function","function":{"name":"g","arguments":""}}]},"#,
                r#"{"role":"tool","content":"x","tool_call_id":"1"},{"role":"tool","content":"y","tool_call_id":"2"},"#,
                r#"{"role":"assistant","tool_calls":[{"id":"3","type":"function","function":{"name":"f","arguments":""}}]}]"#
            ),
        ),
    ] {
        assert_eq!(messages(input), wanted);
    }
}

#[test]
fn tools_and_formats_go_one_deeper() {
    let made = chat(
        r#"{"input":"x","parallel_tool_calls":false,"tool_choice":{"type":"function","name":"f"},
        "tools":[{"type":"function","name":"f","description":null,"parameters":{"x":1},"strict":true}],
        "text":{"format":{"type":"json_schema","name":"s","schema":{"type":"object"},"strict":true,"description":null},"verbosity":"low"},
        "reasoning":{"effort":"low","summary":"auto"},"top_logprobs":2}"#,
    );
    for (name, wanted) in [
        ("tools", r#"[{"type":"function","function":{"name":"f","parameters":{"x":1},"strict":true}}]"#),
        ("tool_choice", r#"{"type":"function","function":{"name":"f"}}"#),
        ("parallel_tool_calls", "false"),
        (
            "response_format",
            r#"{"type":"json_schema","json_schema":{"name":"s","schema":{"type":"object"},"strict":true}}"#,
        ),
        ("verbosity", "\"low\""),
        ("reasoning_effort", "\"low\""),
        ("logprobs", "true"),
        ("top_logprobs", "2"),
    ] {
        assert_eq!(made[name].to_string(), wanted);
    }
}

#[test]
fn defaults_are_not_said() {
    for members in [
        r#""tools":[],"tool_choice":"auto","parallel_tool_calls":true,"text":{"format":{"type":"text"}}"#,
        r#""top_logprobs":0,"reasoning":{},"text":{},"include":[],"tool_choice":"none","reasoning":null"#,
        r#""truncation":"auto","max_tool_calls":1,"stream_options":{"include_obfuscation":true},"store":null"#,
    ] {
        let made = chat(&format!(r#"{{"input":"x",{members}}}"#));
        assert_eq!(made.to_string(), r#"{"messages":[{"role":"user","content":"x"}]}"#);
    }
    let whole = chat(r#"{"input":"x","include":["message.output_text.logprobs"],"tool_choice":"required"}"#);
    assert_eq!((whole["logprobs"].as_bool(), whole["tool_choice"].as_str()), (Some(true), Some("required")));
    let object = chat(r#"{"input":"x","text":{"format":{"type":"json_object"}}}"#);
    assert_eq!(object["response_format"]["type"], "json_object");
}

#[test]
fn some_tools_may_be_chosen_from() {
    let made = chat(
        r#"{"input":"x","tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"}]}}"#,
    );
    assert_eq!(
        made["tool_choice"].to_string(),
        r#"{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"f"}}]}}"#
    );
}

#[test]
fn what_a_chat_cannot_say_is_refused_with_its_path() {
    let items = |items: &str| format!(r#""input":[{items}]"#);
    let parts = |part: &str| items(&format!(r#"{{"role":"user","content":[{part}]}}"#));
    let with = |members: &str| format!(r#""input":"x",{members}"#);
    for (members, path, word) in [
        (String::new(), "input", "Missing"),
        (r#""input":null"#.into(), "input", "Missing"),
        (items(""), "input", "empty array"),
        (r#""input":5"#.into(), "input", "a string or an array"),
        (with(r#""instructions":[]"#), "instructions", "a string"),
        (items("5"), "input[0]", "an object"),
        (items(r#"{"type":"item_reference","id":"x"}"#), "input[0].type", "send the item itself"),
        (items(r#"{"type":"computer_call"}"#), "input[0].type", "computer_call"),
        (items("{}"), "input[0].role", "Missing"),
        (items(r#"{"role":"user"}"#), "input[0].content", "Missing"),
        (items(r#"{"role":"tool","content":"x"}"#), "input[0].role", "'tool'"),
        (items(r#"{"role":"user","content":5}"#), "input[0].content", "an array"),
        (items(r#"{"role":"assistant","content":[{"type":"x"}]}"#), "input[0].content[0].type", "'x'"),
        (items(r#"{"type":"function_call","call_id":"1","name":"f"}"#), "input[0].arguments", "Missing"),
        (items(r#"{"type":"function_call_output","call_id":"1"}"#), "input[0].output", "Missing"),
        (parts("5"), "input[0].content[0]", "an object"),
        (parts(r#"{"type":"x"}"#), "input[0].content[0].type", "'x'"),
        (parts(r#"{"type":"input_text"}"#), "input[0].content[0].text", "Missing"),
        (parts(r#"{"type":"input_audio"}"#), "input[0].content[0].input_audio", "Missing"),
        (parts(r#"{"type":"input_image","file_id":"x"}"#), "input[0].content[0].file_id", "image_url"),
        (parts(r#"{"type":"input_image"}"#), "input[0].content[0].image_url", "Missing"),
        (parts(r#"{"type":"input_file","file_url":"x"}"#), "input[0].content[0].file_url", "file_data"),
        (with(r#""tools":[{"type":"web_search"}]"#), "tools[0].type", "'web_search'"),
        (with(r#""tools":[{"type":"function"}]"#), "tools[0].name", "Missing"),
        (with(r#""tools":[5]"#), "tools[0]", "an object"),
        (with(r#""tool_choice":{"type":"mcp"}"#), "tool_choice.type", "'mcp'"),
        (with(r#""tool_choice":{"type":"function"}"#), "tool_choice.name", "Missing"),
        (with(r#""text":{"format":{"type":"x"}}"#), "text.format.type", "'x'"),
        (with(r#""text":{"format":{"type":"json_schema"}}"#), "text.format.name", "Missing"),
    ] {
        let (at, words) = refused(&members);
        assert_eq!(at, path, "{members}");
        assert!(words.contains(word), "{members}: {words}");
    }
}

#[test]
fn the_echo_is_one_line_of_the_clients_own_text() {
    let body = "{\"input\":\"x\",\"temperature\":0.70,\"tools\":[\n {\"type\":\"function\",\"name\":\"a\\nb\"}],\"top_p\":null}";
    let echo = to_chat(body.as_bytes(), Lacks::default(), Counts::Final).unwrap().echo;
    assert!(echo.contains(r#""temperature":0.70,"#) && echo.contains(r#""top_p":null"#));
    assert!(echo.contains(r#""tools":[  {"type":"function","name":"a\nb"}]"#));
    assert!(!echo.contains('\n') && echo.starts_with(r#""instructions":null,"max_output_tokens":null"#));
}
