//! The checks of a request, in their documented order.
//!
//! Law: the first failure is the answer; it names the parameter by its path.

use std::ops::Range;

use super::scan::{
    FIELDS, INPUT, MAX_COMPLETION, MAX_TOKENS, MESSAGES, MODEL, N, OPTIONS, PROMPT, STREAM, Seen,
};
use super::{Endpoint, Request, UsagePlace};
use crate::bounds;
use crate::json::Kind as Json;
use crate::refusal::{Kind, Refusal};

/// The checks in their documented order; the first failure is the answer.
pub(super) fn judge(endpoint: Endpoint, seen: &Seen, end: usize) -> Result<Request, Refusal> {
    let field = |index: usize| {
        seen.fields.get(index).and_then(Option::as_ref).filter(|(kind, _)| *kind != Json::Null)
    };
    let model = model(seen, field(MODEL))?;
    content(endpoint, seen, field)?;
    let max_completion = count(seen, field, MAX_COMPLETION, 1)?;
    let n = count(seen, field, N, 1)?.unwrap_or(1);
    let max_tokens = count(seen, field, MAX_TOKENS, 0)?;
    let stream = match field(STREAM) {
        None => false,
        Some((Json::Bool(value), _)) => *value,
        Some((kind, _)) => return Err(wrong_type("stream", "a boolean", *kind)),
    };
    let include_usage = match &seen.include_usage {
        None | Some((Json::Null, _)) => false,
        Some((Json::Bool(value), _)) => *value,
        Some((kind, _)) => return Err(wrong_type("stream_options.include_usage", "a boolean", *kind)),
    };
    let usage = match (seen.fields.get(OPTIONS).and_then(Option::as_ref), &seen.include_usage) {
        (None, _) => UsagePlace::Absent,
        (Some((Json::Null, span)), _) => UsagePlace::Null(span.clone()),
        (Some((Json::Object, _)), Some((_, span))) => UsagePlace::Value(span.clone()),
        (Some((Json::Object, span)), None) => {
            UsagePlace::Object { brace: span.start + 1, empty: seen.options_empty }
        }
        (Some((kind, _)), _) => return Err(wrong_type("stream_options", "an object", *kind)),
    };
    if field(OPTIONS).is_some() && !stream {
        return Err(Refusal::of(Kind::InvalidValue)
            .message("The 'stream_options' parameter is only allowed when 'stream' is enabled.")
            .param("stream_options"));
    }
    let model_span = field(MODEL).map(|(_, span)| span.clone()).unwrap_or_default();
    Ok(Request {
        model,
        stream,
        include_usage,
        n,
        max_tokens: max_completion.or(max_tokens),
        model_span,
        usage,
        end,
    })
}

fn model(seen: &Seen, place: Option<&(Json, Range<usize>)>) -> Result<Box<str>, Refusal> {
    match place {
        None => Err(Refusal::of(Kind::MissingModel)),
        Some((Json::String, _)) => match &seen.model {
            Some(name) if name.is_empty() => Err(Refusal::of(Kind::MissingModel)),
            Some(name) if name.len() > bounds::MODEL_NAME_BYTES => Err(Refusal::of(Kind::ModelNotFound)),
            Some(name) => Ok(name.clone()),
            None => Err(Refusal::of(Kind::MissingModel)),
        },
        Some(_) => Err(Refusal::of(Kind::BadJson)),
    }
}

/// What the model is to work on: `messages`, `prompt` or `input`.
fn content<'a>(
    endpoint: Endpoint,
    seen: &Seen,
    field: impl Fn(usize) -> Option<&'a (Json, Range<usize>)>,
) -> Result<(), Refusal> {
    let (index, name) = match endpoint {
        Endpoint::Chat => (MESSAGES, "messages"),
        Endpoint::Embeddings => (INPUT, "input"),
        Endpoint::Completions => {
            return match field(PROMPT) {
                None | Some((Json::String | Json::Array, _)) => Ok(()),
                Some((kind, _)) => Err(wrong_type("prompt", "one of a string or array", *kind)),
            };
        }
    };
    match field(index) {
        None => Err(Refusal::of(Kind::MissingParameter)
            .message(format!("Missing required parameter: '{name}'."))
            .param(name)),
        Some((Json::Array, _)) if seen.list_empty => Err(Refusal::of(Kind::EmptyArray)
            .message(format!(
                "Invalid '{name}': empty array. Expected an array with minimum length 1, but got an empty array instead."
            ))
            .param(name)),
        Some((Json::Array, _)) => match seen.first_bad_message {
            Some((at, kind)) if endpoint == Endpoint::Chat => {
                Err(wrong_type(format!("messages[{at}]"), "an object", kind))
            }
            _ => Ok(()),
        },
        Some((Json::String, _)) if endpoint == Endpoint::Embeddings => Ok(()),
        Some((kind, _)) => {
            let expected =
                if endpoint == Endpoint::Chat { "an array of objects" } else { "one of a string or array" };
            Err(wrong_type(name, expected, *kind))
        }
    }
}

/// An integer of at least `least`, or nothing.
fn count<'a>(
    seen: &Seen,
    field: impl Fn(usize) -> Option<&'a (Json, Range<usize>)>,
    index: usize,
    least: u64,
) -> Result<Option<u64>, Refusal> {
    let name = FIELDS.get(index).copied().unwrap_or_default();
    let value = match field(index) {
        None => return Ok(None),
        Some((Json::Integer, _)) => seen.integers.get(index).copied().flatten().unwrap_or_default(),
        Some((kind, _)) => return Err(wrong_type(name, "an integer", *kind)),
    };
    if value < i128::from(least) {
        let refusal = Refusal::of(Kind::BelowMinimum).message(format!(
            "Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got {value} instead."
        ));
        return Err(refusal.param(name));
    }
    // i64 is what every engine reads; a larger number is nobody's token count.
    match i64::try_from(value) {
        Ok(_) => Ok(u64::try_from(value).ok()),
        Err(_) => Err(Refusal::of(Kind::AboveMaximum)
            .message(format!(
                "Invalid '{name}': integer above maximum value. Expected a value <= {}, but got a larger one instead.",
                i64::MAX
            ))
            .param(name)),
    }
}

fn wrong_type(path: impl Into<String>, expected: &str, got: Json) -> Refusal {
    let path = path.into();
    let got = match got {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Integer => "an integer",
        Json::Decimal => "a decimal number",
        Json::String => "a string",
        Json::Array => "an array",
        Json::Object => "an object",
    };
    Refusal::of(Kind::InvalidType)
        .message(format!("Invalid type for '{path}': expected {expected}, but got {got} instead."))
        .param(path)
}
