//! What a scanned body means to the engine, and the checks between its fields.
//!
//! Law: the first failure in the documented order is the answer; it names the parameter by its path.

use std::ops::Range;

use super::adapt::Places;
use super::asked::Asked;
use super::scan::{Place, Seen};
use super::{ModelPlace, Request, Several, replies};
use crate::ability::Needs;
use crate::bounds;
use crate::json::{Kind as Json, Scanner, Wrong};
use crate::profile::Rules;
use crate::refusal::{Kind, Refusal};

/// The most alternatives to a token that may be asked for. OpenAI says this bound in words of its own.
const TOP_LOGPROBS: u64 = 20;

/// The fields that bound an answer's tokens, the stronger first.
const LIMITS: [&str; 3] = ["max_completion_tokens", "max_tokens", "max_output_tokens"];

/// The request, if nothing is wrong with it.
pub(super) fn judge(rules: &Rules, mut seen: Seen<'_>, body: &[u8]) -> Result<Request, Refusal> {
    let scanner = Scanner::new(body);
    let needed = rules.fields.iter().any(|field| *field.name == *"model" && field.required);
    let (model, place) = match seen.place("model") {
        None if !needed => (None, ModelPlace::Absent),
        // A null is an omission that has a place.
        Some(place) if !needed && place.kind == Json::Null => (None, ModelPlace::Value(place.span.clone())),
        _ => model(seen.get("model"), &scanner).map(|(name, span)| (Some(name), ModelPlace::Value(span)))?,
    };
    let stream = is_true(seen.get("stream"));
    check(rules, &mut seen, &scanner, stream);
    let count = |name: &str| whole(seen.get(name), &scanner);
    // The stronger name decides, even by a value that is no number to us.
    let bound = LIMITS.iter().find(|name| seen.get(name).is_some());
    let limit = rules.default_max_tokens.filter(|_| bound.is_none());
    let (n, max_tokens) = (count("n").unwrap_or(1), bound.and_then(|name| count(name)).or(limit));
    let one_call = seen.get("parallel_tool_calls").is_some_and(|place| place.kind == Json::Bool(false))
        && rules.validates("parallel_tool_calls");
    let needs = Needs {
        tools: seen.get("tools").is_some_and(|place| place.kind == Json::Array),
        dimensions: seen.get("dimensions").is_some(),
        token: seen.get("logit_bias").and_then(|place| largest(scanner.text(&place.span))),
    };
    let format = seen.get("response_format").map(|place| place.span.clone());
    let schema = format.filter(|span| format_of(scanner.text(span), "\"json_schema\""));
    let asked = Asked::of(&seen, body);
    let spoken = seen.get("voice").and(seen.get("input")).filter(|place| place.kind == Json::String);
    let characters = spoken.map_or(0, |place| characters(scanner.text(&place.span)));
    let several = if n > 1 { several(&seen, &scanner) } else { None };
    let places = Places::of(&mut seen, &scanner, limit);
    let (edits, cuts, end) = (std::mem::take(&mut seen.edits), std::mem::take(&mut seen.cuts), seen.end);
    match seen.failure() {
        Some(refusal) => Err(refusal),
        None => Ok(Request {
            model,
            stream,
            n,
            max_tokens,
            characters,
            needs,
            schema,
            one_call,
            several,
            place,
            asked,
            edits,
            cuts,
            places,
            end,
        }),
    }
}

fn model(place: Option<&Place>, scanner: &Scanner<'_>) -> Result<(Box<str>, Range<usize>), Refusal> {
    let Some(place) = place else { return Err(Refusal::of(Kind::MissingModel)) };
    if place.kind != Json::String {
        return Err(Refusal::of(Kind::BadJson));
    }
    let mut text = Scanner::new(scanner.text(&place.span).as_bytes());
    let name: Box<str> = text.string().map(|text| text.decode().into()).unwrap_or_default();
    match name.len() {
        0 => Err(Refusal::of(Kind::MissingModel)),
        length if length > bounds::MODEL_NAME_BYTES => Err(Refusal::of(Kind::ModelNotFound)),
        _ => Ok((name, place.span.clone())),
    }
}

/// The checks between fields that the profile asks for.
fn check(rules: &Rules, seen: &mut Seen<'_>, scanner: &Scanner<'_>, stream: bool) {
    let checks = rules.checks;
    let only_with = |name: &str, other: &str| {
        Refusal::of(Kind::InvalidValue)
            .message(format!("The '{name}' parameter is only allowed when '{other}' is enabled."))
            .param(name.to_owned())
    };
    if checks.stream_options && !stream && seen.get("stream_options").is_some() {
        seen.fail_field("stream_options", only_with("stream_options", "stream"));
    }
    if checks.top_logprobs && seen.get("top_logprobs").is_some() && !is_true(seen.get("logprobs")) {
        seen.fail_field("top_logprobs", only_with("top_logprobs", "logprobs"));
    }
    if checks.top_logprobs
        && whole(seen.get("top_logprobs"), scanner).is_some_and(|count| count > TOP_LOGPROBS)
    {
        let refusal = Refusal::of(Kind::InvalidValue)
            .message(format!(
                "Invalid value for 'top_logprobs': must be less than or equal to {TOP_LOGPROBS}."
            ))
            .param("top_logprobs");
        seen.fail_field("top_logprobs", refusal);
    }
    if checks.tool_choice
        && seen.get("tool_choice").is_some_and(|place| scanner.text(&place.span) != "\"none\"")
        && seen.get("tools").is_none()
    {
        let refusal = Refusal::of(Kind::InvalidValue)
            .message(
                "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
            )
            .param("tool_choice");
        seen.fail_field("tool_choice", refusal);
    }
    let Some(messages) = seen.get("messages").filter(|place| place.kind == Json::Array).cloned() else {
        return;
    };
    let messages = scanner.bytes(&messages.span);
    let object = seen
        .get("response_format")
        .is_some_and(|place| format_of(scanner.text(&place.span), "\"json_object\""));
    if checks.json_word && object && !speaks_of_json(messages) {
        let refusal = Refusal::of(Kind::InvalidValue)
            .message("'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.")
            .param("messages");
        seen.fail_last(refusal);
    }
    if checks.tool_replies
        && let Some(refusal) = replies::check(messages)
    {
        seen.fail_last(refusal);
    }
}

fn is_true(place: Option<&Place>) -> bool {
    place.is_some_and(|place| place.kind == Json::Bool(true))
}

fn whole(place: Option<&Place>, scanner: &Scanner<'_>) -> Option<u64> {
    place.filter(|place| place.kind == Json::Integer).and_then(|place| scanner.text(&place.span).parse().ok())
}

/// The characters of a JSON string.
fn characters(text: &str) -> u64 {
    Scanner::new(text.as_bytes()).string().map_or(0, |text| text.decode().chars().count() as u64)
}

/// Where several choices are asked for, if the profile leaves that alone.
fn several(seen: &Seen<'_>, scanner: &Scanner<'_>) -> Option<Several> {
    let place = |name: &str| {
        let span = &seen.passed(name).filter(|place| place.kind == Json::Integer)?.span;
        let edited = seen.edits.iter().any(|edit| edit.span.start < span.end && span.start < edit.span.end);
        (!edited).then(|| span.clone())
    };
    let seed = place("seed").and_then(|span| Some((span.clone(), scanner.text(&span).parse().ok()?)));
    Some(Several { n: place("n")?, seed })
}

/// Whether a response format has this type, given with its quotes.
fn format_of(format: &str, wanted: &str) -> bool {
    let mut says = false;
    let _ = Scanner::new(format.as_bytes()).object::<Wrong>(|key, scanner| {
        let (kind, span) = scanner.value()?;
        says |= key.is("type") && kind == Json::String && scanner.text(&span) == wanted;
        Ok(())
    });
    says
}

/// The largest token id among the keys.
fn largest(bias: &str) -> Option<u64> {
    let mut most = None;
    let _ = Scanner::new(bias.as_bytes()).object::<Wrong>(|key, scanner| {
        most = most.max(key.decode().parse().ok());
        scanner.value().map(drop)
    });
    most
}

/// Whether the word stands anywhere in the messages, in any case.
fn speaks_of_json(messages: &[u8]) -> bool {
    memchr::memchr2_iter(b'j', b'J', messages)
        .any(|at| messages.get(at..at + 4).is_some_and(|word| word.eq_ignore_ascii_case(b"json")))
}
