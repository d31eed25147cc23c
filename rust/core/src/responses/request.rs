//! A request for a response as the chat that asks for the same.
//!
//! Law: a field has one place here: it is translated, passed on, or dropped because a chat has nothing like it. What is
//! not known is passed on, unless chat means something else by its name.

use bytes::Bytes;

use super::echo::echo;
use super::value::{Members, put};
use super::{format, messages, tools};
use crate::counts::Counts;
use crate::json::Kind;
use crate::lacks::Lacks;
use crate::refusal::Refusal;

/// A chat in place of a request for a response.
#[derive(Debug)]
pub struct Chat {
    /// The body for the backend.
    pub body: Bytes,
    /// What the response repeats of the request.
    pub echo: Box<str>,
}

/// The same word and the same meaning in both.
const PASSED: [&str; 8] = [
    "model",
    "temperature",
    "top_p",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "metadata",
    "service_tier",
];

/// Translated, or without meaning for a backend that keeps nothing and has no tools of its own.
const TAKEN: [&str; 19] = [
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "max_output_tokens",
    "top_logprobs",
    "text",
    "reasoning",
    "include",
    "stream",
    "stream_options",
    "store",
    "previous_response_id",
    "conversation",
    "background",
    "prompt",
    "truncation",
    "max_tool_calls",
];

/// Words that are nothing in a request for a response, and in a chat would undo what is written here.
const CHATS_OWN: [&str; 13] = [
    "messages",
    "functions",
    "function_call",
    "response_format",
    "max_tokens",
    "max_completion_tokens",
    "reasoning_effort",
    "verbosity",
    "logprobs",
    "n",
    "modalities",
    "audio",
    "prediction",
];

/// The chat that asks a backend of these lacks, which tells counts in this manner, for what `body` asks for.
///
/// # Errors
/// Something in it has no form in a chat, or is not what it must be.
pub fn to_chat(body: &[u8], lacks: Lacks, counts: Counts) -> Result<Chat, Refusal> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let asked = Members::of(text);
    let mut out = String::with_capacity(text.len() + 256);
    out.push('{');
    for name in PASSED {
        if let Some(value) = asked.get(name) {
            put(&mut out, name, value.text);
        }
    }
    put(&mut out, "messages", &messages::write(&asked)?);
    tools::write(&mut out, &asked)?;
    format::write(&mut out, &asked)?;
    limits(&mut out, &asked, lacks);
    stream(&mut out, &asked, counts);
    for (key, value) in asked.others(&[&PASSED[..], &TAKEN[..], &CHATS_OWN[..]].concat()) {
        if !(lacks.null && value.kind == Kind::Null) {
            put(&mut out, key, value.text);
        }
    }
    out.push('}');
    Ok(Chat { body: out.into(), echo: echo(&asked) })
}

fn limits(out: &mut String, asked: &Members<'_>, lacks: Lacks) {
    let name = if lacks.max_completion_tokens { "max_tokens" } else { "max_completion_tokens" };
    if let Some(limit) = asked.get("max_output_tokens") {
        put(out, name, limit.text);
    }
}

fn stream(out: &mut String, asked: &Members<'_>, counts: Counts) {
    if let Some(stream) = asked.get("stream") {
        put(out, "stream", stream.text);
        if stream.kind == Kind::Bool(true) {
            let options = match counts {
                Counts::Usage => r#"{"include_usage":true,"continuous_usage_stats":true}"#,
                Counts::Final | Counts::Timings => r#"{"include_usage":true}"#,
            };
            put(out, "stream_options", options);
            if counts == Counts::Timings {
                put(out, "timings_per_token", "true");
            }
        }
    }
}

#[cfg(test)]
mod tests;
