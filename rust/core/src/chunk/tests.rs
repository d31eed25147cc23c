//! What is read of a chunk, and what is changed in it.

use super::*;

fn of(text: &str) -> Chunk {
    read(text.as_bytes(), &Style::default()).unwrap()
}

/// The text after the edits that a style asks for.
fn styled(text: &str, style: &Style) -> String {
    let edits = read(text.as_bytes(), style).unwrap().edits;
    String::from_utf8(crate::splice::apply(text.to_owned().into(), edits).to_vec()).unwrap()
}

#[test]
fn reads_what_engines_send() {
    let role = of(
        r#"{"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
    );
    assert_eq!((role.choices, role.content, role.finish), (true, false, false));
    assert!(of(r#"{"choices":[{"delta":{"content":"x"}}]}"#).content);
    assert!(of(r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#).content);
    assert!(of(r#"{"choices":[{"text":"x","finish_reason":"stop"}]}"#).finish);
    let last = of(r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#);
    assert_eq!((last.choices, last.has_usage, last.usage.map(|u| u.completion)), (false, true, Some(2)));
    let null = of(r#"{"choices":[{"delta":{}}],"usage":null}"#);
    assert_eq!((null.has_usage, null.usage), (true, None));
}

#[test]
fn knows_errors_from_chunks() {
    assert!(of(r#"{"error":{"message":"x"}}"#).error);
    assert!(of(r#"{"object":"error","message":"x"}"#).error);
    assert!(!of(r#"{"error":null,"choices":[]}"#).error);
    assert_eq!(of("null"), Chunk::default());
}

#[test]
fn refuses_what_is_not_json() {
    for bad in ["", "{", "{\"choices\":[}", "data", "{} {}", "{\"a\":NaN}"] {
        assert!(read(bad.as_bytes(), &Style::default()).is_err(), "{bad}");
    }
}

#[test]
fn typed_events_say_how_they_end_and_what_they_cost() {
    let last = of(
        r#"{"type":"response.completed","response":{"model":"m","usage":{"input_tokens":3,"output_tokens":4,"input_tokens_details":{"cached_tokens":2}}}}"#,
    );
    let usage = last.usage.unwrap();
    assert_eq!((last.ends, usage.prompt, usage.completion, usage.cached), (true, 3, 4, 2));
    let start = of(
        r#"{"type":"message_start","message":{"usage":{"input_tokens":3,"cache_read_input_tokens":5,"output_tokens":1}}}"#,
    );
    assert_eq!((start.ends, start.usage.unwrap().prompt, start.usage.unwrap().cached), (false, 8, 5));
    assert!(of(r#"{"type":"content_block_delta","delta":{"text":"x"}}"#).content);
    assert!(of(r#"{"type":"response.failed","response":{"error":{"code":"x"}}}"#).error);
    assert!(of(r#"{"type":"image_generation.completed","b64_json":""}"#).finish);
}

#[test]
fn styles_change_what_they_name() {
    let remove = Style { fingerprint: Fingerprint::Remove, ..Style::default() };
    for (before, after) in [
        (r#"{"id":1 , "system_fingerprint":"x","a":2}"#, r#"{"id":1,"a":2}"#),
        (r#"{ "system_fingerprint":null, "a":2}"#, r#"{ "a":2}"#),
        (r#"{"a":2,"system_fingerprint":"x" }"#, r#"{"a":2 }"#),
        (r#"{"system_fingerprint":"x"}"#, "{}"),
        (r#"{"a":{"system_fingerprint":"x"}}"#, r#"{"a":{"system_fingerprint":"x"}}"#),
    ] {
        assert_eq!(styled(before, &remove), after);
    }
    let ensure = Style { fingerprint: Fingerprint::Ensure, ..Style::default() };
    assert_eq!(styled(r#"{"choices":[{}]}"#, &ensure), r#"{"choices":[{}],"system_fingerprint":null}"#);
    let has = r#"{"choices":[{}],"system_fingerprint":"x"}"#;
    assert_eq!(styled(has, &ensure), has);
    let hide = Style { hide_usage: true, cache_counters: true, ..Style::default() };
    assert_eq!(
        styled(r#"{"choices":[{}],"usage":{"prompt_tokens":1},"x":1}"#, &hide),
        r#"{"choices":[{}],"x":1}"#
    );
    assert_eq!(styled(r#"{"choices":[{}],"usage":null}"#, &hide), r#"{"choices":[{}],"usage":null}"#);
    let counters = Style { cache_counters: true, ..Style::default() };
    assert_eq!(
        styled(r#"{"usage":{"prompt_tokens":1,"prompt_tokens_details":{"cached_tokens":1}}}"#, &counters),
        r#"{"usage":{"prompt_tokens":1,"prompt_tokens_details":{"cached_tokens":1},"cache_read_input_tokens":1,"cache_creation_input_tokens":0}}"#
    );
    assert_eq!(styled(r#"{"usage":null}"#, &counters), r#"{"usage":null}"#);
    let rename = Style { rename: Some("\"pub\"".into()), ..Style::default() };
    assert_eq!(
        styled(r#"{"model":"m","response":{"model":"m"}}"#, &rename),
        r#"{"model":"pub","response":{"model":"pub"}}"#
    );
}

#[test]
fn reasoning_is_told_under_both_names() {
    let both = Style { both_reasonings: true, ..Style::default() };
    let delta = |members: &str| format!(r#"{{"choices":[{{"delta":{{{members}}}}}]}}"#);
    for (before, after) in [
        (r#""reasoning_content": "a","x":1"#, r#""reasoning_content": "a","reasoning":"a","x":1"#),
        (r#""reasoning":"a""#, r#""reasoning":"a","reasoning_content":"a""#),
        (r#""reasoning":"a","reasoning_content":null"#, r#""reasoning":"a","reasoning_content":"a""#),
        (r#""reasoning":"a","reasoning_content":"b""#, r#""reasoning":"a","reasoning_content":"b""#),
        (r#""reasoning":null,"content":"b""#, r#""reasoning":null,"content":"b""#),
    ] {
        assert_eq!(styled(&delta(before), &both), delta(after));
        assert_eq!(styled(&delta(before), &Style::default()), delta(before));
    }
}

#[test]
fn one_call_is_the_first() {
    let one = Style { one_call: true, ..Style::default() };
    let whole = |calls: &str| format!(r#"{{"choices":[{{"message":{{"tool_calls":[{calls}]}}}}]}}"#);
    assert_eq!(styled(&whole(r#"{"id":"a"}, {"id":"b"} , {"id":"c"}"#), &one), whole(r#"{"id":"a"}"#));
    let delta = |calls: &str| format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{calls}]}}}}]}}"#);
    let (first, second) = (r#"{"index":0,"x":1}"#, r#"{"index":1,"x":1}"#);
    assert_eq!(styled(&delta(first), &one), delta(first));
    assert_eq!(styled(&delta(&format!("{first},{second}")), &one), delta(first));
    let hushed = read(delta(second).as_bytes(), &one).unwrap();
    assert_eq!((hushed.hushed, hushed.content), (true, false));
    assert_eq!(styled(&delta(second), &one), delta(""));
}
