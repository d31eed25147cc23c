//! What a response repeats of its request.
//!
//! Law: in one line and in the client's own text; a field that was not given has the API's default, or null where the
//! default is the model's.

use super::value::{Members, put};

/// The fields, and what stands where one was not given.
const ECHOED: [(&str, &str); 16] = [
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("prompt_cache_key", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("safety_identifier", "null"),
    ("service_tier", "null"),
    ("temperature", "null"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("top_p", "null"),
    ("user", "null"),
];

/// The members, without braces.
pub(super) fn echo(asked: &Members<'_>) -> Box<str> {
    let mut out = String::new();
    for (name, default) in ECHOED {
        put(&mut out, name, asked.get(name).map_or(default, |value| value.text));
    }
    // A line's end stands only between values: inside a string it is written as an escape.
    out.replace(['\n', '\r'], " ").into()
}
