//! How the answer is to look: its format, its length of words, its thinking, its probabilities.
//!
//! Law: what says no more than the default is left out.

use super::value::{Members, Value, put, refused};
use crate::json::Kind;
use crate::refusal::Refusal;

/// The alternatives to each token are wanted in a response only if this is included, or a number of them is given.
const LOGPROBS: &str = "message.output_text.logprobs";

/// Writes `response_format`, `verbosity`, `reasoning_effort` and `logprobs`.
///
/// # Errors
/// The format is none that a chat has.
pub(super) fn write(out: &mut String, asked: &Members<'_>) -> Result<(), Refusal> {
    if let Some(text) = asked.get("text") {
        let text = text.expect(Kind::Object, "text")?.members();
        if let Some(format) = text.get("format") {
            response_format(out, &format.expect(Kind::Object, "text.format")?.members())?;
        }
        if let Some(verbosity) = text.get("verbosity") {
            put(out, "verbosity", verbosity.text);
        }
    }
    if let Some(effort) = asked.get("reasoning").and_then(|reasoning| reasoning.members().get("effort")) {
        put(out, "reasoning_effort", effort.text);
    }
    let most = asked.get("top_logprobs").filter(|most| most.text != "0");
    let included = asked.get("include").map(Value::items).unwrap_or_default();
    if most.is_some() || included.iter().any(|one| one.says() == LOGPROBS) {
        put(out, "logprobs", "true");
    }
    if let Some(most) = most {
        put(out, "top_logprobs", most.text);
    }
    Ok(())
}

/// A schema stands beside its name in a response, and one deeper in a chat.
fn response_format(out: &mut String, format: &Members<'_>) -> Result<(), Refusal> {
    match &*format.string("text.format", "type")?.says() {
        "text" => {}
        "json_object" => put(out, "response_format", r#"{"type":"json_object"}"#),
        "json_schema" => {
            format.string("text.format", "name")?;
            let mut schema = "{".to_owned();
            for (key, value) in format.others(&["type"]) {
                if value.kind != Kind::Null {
                    put(&mut schema, key, value.text);
                }
            }
            let text = format!(r#"{{"type":"json_schema","json_schema":{schema}}}}}"#);
            put(out, "response_format", &text);
        }
        other => {
            return Err(refused(
                "text.format.type".into(),
                format!(
                    "Invalid value: '{other}'. Supported values are: 'text', 'json_object', and 'json_schema'."
                ),
            ));
        }
    }
    Ok(())
}
