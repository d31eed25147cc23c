//! Reads from a request body what the engine needs, and where it stands; the body itself is never rebuilt.
//!
//! Law: one pass over the bytes. A text that is not strict JSON, or that says twice what we read once, is refused
//! here and reaches no backend.

use std::ops::Range;

use crate::bounds;
use crate::json::{Kind as Json, Scanner, Text, Wrong};
use crate::refusal::{Kind, Refusal};
use crate::splice::Edit;

/// The endpoints that forward a JSON body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/chat/completions`
    Chat,
    /// `/completions`
    Completions,
    /// `/embeddings`
    Embeddings,
}

impl Endpoint {
    /// All of them, in the order of the metrics.
    pub const ALL: [Self; 3] = [Self::Chat, Self::Completions, Self::Embeddings];

    /// The path after `/v1`.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Completions => "/completions",
            Self::Embeddings => "/embeddings",
        }
    }

    /// The name in metrics and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat.completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
        }
    }
}

/// What a body says, as far as the engine reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The model's name as the client wrote it.
    pub model: Box<str>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether the client asked for the usage chunk of a stream.
    pub include_usage: bool,
    /// `n`, or 1.
    pub n: u64,
    /// `max_completion_tokens`, else `max_tokens`.
    pub max_tokens: Option<u64>,
    model_span: Range<usize>,
    usage: UsagePlace,
    end: usize,
}

/// Where `include_usage` is, or would go.
#[derive(Debug, Clone, PartialEq, Eq)]
enum UsagePlace {
    /// There is no `stream_options`: add it before the closing brace.
    Absent,
    /// `stream_options` is null: replace it.
    Null(Range<usize>),
    /// It is an object without `include_usage`: add that after its brace.
    Object { brace: usize, empty: bool },
    /// `include_usage` has this value.
    Value(Range<usize>),
}

/// The members we read, with the kind and place of each.
#[derive(Default)]
struct Seen {
    fields: [Option<(Json, Range<usize>)>; FIELDS.len()],
    model: Option<Box<str>>,
    first_bad_message: Option<(usize, Json)>,
    list_empty: bool,
    include_usage: Option<(Json, Range<usize>)>,
    options_empty: bool,
    integers: [Option<i128>; FIELDS.len()],
}

const MODEL: usize = 0;
const MESSAGES: usize = 1;
const INPUT: usize = 2;
const N: usize = 3;
const MAX_COMPLETION: usize = 4;
const MAX_TOKENS: usize = 5;
const STREAM: usize = 6;
const OPTIONS: usize = 7;
const PROMPT: usize = 8;
const FIELDS: [&str; 9] = [
    "model",
    "messages",
    "input",
    "n",
    "max_completion_tokens",
    "max_tokens",
    "stream",
    "stream_options",
    "prompt",
];

/// A fault found while scanning.
enum Stop {
    Json(Wrong),
    Twice(&'static str),
}

impl From<Wrong> for Stop {
    fn from(wrong: Wrong) -> Self {
        Self::Json(wrong)
    }
}

/// Reads `body` as a request to `endpoint`.
///
/// # Errors
/// The refusal for the first thing wrong with it, in the documented order of checks.
pub fn read(endpoint: Endpoint, body: &[u8]) -> Result<Request, Refusal> {
    if simdutf8::basic::from_utf8(body).is_err() {
        return Err(Refusal::of(Kind::BadJson));
    }
    let mut scanner = Scanner::new(body);
    let mut seen = Seen::default();
    let whole = scanner
        .object(|key, scanner| member(&mut seen, key, scanner))
        .and_then(|span| scanner.end().map(|()| span).map_err(Stop::from))
        .map_err(refuse)?;
    judge(endpoint, seen, whole.end)
}

fn refuse(stop: Stop) -> Refusal {
    match stop {
        Stop::Json(Wrong::Syntax(_)) => Refusal::of(Kind::BadJson),
        Stop::Json(Wrong::Depth(_)) => Refusal::of(Kind::TooDeep),
        Stop::Twice(name) => Refusal::of(Kind::DuplicateParameter)
            .message(format!("Duplicate parameter: '{name}'."))
            .param(name),
    }
}

/// Takes one member of the body.
fn member(seen: &mut Seen, key: Text<'_>, scanner: &mut Scanner<'_>) -> Result<(), Stop> {
    let Some(field) = FIELDS.iter().position(|name| key.is(name)) else {
        scanner.value()?;
        return Ok(());
    };
    if seen.fields.get(field).is_some_and(Option::is_some) {
        return Err(Stop::Twice(FIELDS.get(field).copied().unwrap_or_default()));
    }
    let place = match (field, scanner.peek()) {
        (MODEL, Some(b'"')) => {
            let start = scanner.at();
            let name = scanner.string()?;
            seen.model = Some(name.decode().into());
            (Json::String, start..scanner.at())
        }
        (MESSAGES | INPUT, Some(b'[')) => (Json::Array, list(seen, field, scanner)?),
        (OPTIONS, Some(b'{')) => (Json::Object, options(seen, scanner)?),
        _ => scanner.value()?,
    };
    if let (Json::Integer, Some(slot)) = (place.0, seen.integers.get_mut(field)) {
        *slot = Some(integer(scanner, &place.1));
    }
    if let Some(slot) = seen.fields.get_mut(field) {
        *slot = Some(place);
    }
    Ok(())
}

/// Takes the array of `messages` or `input`, noting whether it is empty and the first message that is no object.
fn list(seen: &mut Seen, field: usize, scanner: &mut Scanner<'_>) -> Result<Range<usize>, Wrong> {
    let mut count = 0usize;
    let span = scanner.array::<Wrong>(|index, scanner| {
        count = index + 1;
        let (kind, _) = scanner.value()?;
        if field == MESSAGES && kind != Json::Object && seen.first_bad_message.is_none() {
            seen.first_bad_message = Some((index, kind));
        }
        Ok(())
    })?;
    seen.list_empty |= count == 0;
    Ok(span)
}

/// Takes the `stream_options` object.
fn options(seen: &mut Seen, scanner: &mut Scanner<'_>) -> Result<Range<usize>, Stop> {
    seen.options_empty = true;
    scanner.object(|key, scanner| {
        seen.options_empty = false;
        let place = scanner.value()?;
        if key.is("include_usage") {
            if seen.include_usage.is_some() {
                return Err(Stop::Twice("stream_options.include_usage"));
            }
            seen.include_usage = Some(place);
        }
        Ok(())
    })
}

fn integer(scanner: &Scanner<'_>, span: &Range<usize>) -> i128 {
    // Longer than any i128 is out of every range: its sign is all that matters.
    let text = scanner.text(span);
    text.parse().unwrap_or(if text.starts_with('-') { i128::MIN } else { i128::MAX })
}

/// The checks in their documented order; the first failure is the answer.
fn judge(endpoint: Endpoint, seen: Seen, end: usize) -> Result<Request, Refusal> {
    let field = |index: usize| {
        seen.fields.get(index).and_then(Option::as_ref).filter(|(kind, _)| *kind != Json::Null)
    };
    let model = model(&seen, field(MODEL))?;
    content(endpoint, &seen, field)?;
    let max_completion = count(&seen, field, MAX_COMPLETION, 1)?;
    let n = count(&seen, field, N, 1)?.unwrap_or(1);
    let max_tokens = count(&seen, field, MAX_TOKENS, 0)?;
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

impl Request {
    /// The edits that turn the client's body into the backend's: its own name for the model, and the usage chunk asked for.
    #[must_use]
    pub fn edits(&self, upstream_model: Option<&str>, ask_usage: bool) -> Vec<Edit> {
        let mut edits = Vec::new();
        if let Some(name) = upstream_model {
            edits.push(Edit { span: self.model_span.clone(), with: name.into() });
        }
        if ask_usage && self.stream && !self.include_usage {
            edits.push(self.usage_edit());
        }
        edits
    }

    fn usage_edit(&self) -> Edit {
        let (span, with) = match &self.usage {
            UsagePlace::Absent => (self.end - 1..self.end - 1, r#","stream_options":{"include_usage":true}"#),
            UsagePlace::Null(span) => (span.clone(), r#"{"include_usage":true}"#),
            UsagePlace::Object { brace, empty: true } => (*brace..*brace, r#""include_usage":true"#),
            UsagePlace::Object { brace, empty: false } => (*brace..*brace, r#""include_usage":true,"#),
            UsagePlace::Value(span) => (span.clone(), "true"),
        };
        Edit { span, with: with.into() }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::splice;

    fn said(endpoint: Endpoint, body: &str) -> serde_json::Value {
        let refusal = read(endpoint, body.as_bytes()).unwrap_err();
        assert_eq!(refusal.status() / 100, 4, "{body}");
        serde_json::from_slice::<serde_json::Value>(&refusal.body()).unwrap()["error"].clone()
    }

    fn spliced(body: &str, name: Option<&str>) -> String {
        let request = read(Endpoint::Chat, body.as_bytes()).unwrap();
        let edits = request.edits(name, true);
        String::from_utf8(splice::apply(Bytes::copy_from_slice(body.as_bytes()), edits).to_vec()).unwrap()
    }

    #[test]
    fn reads_what_it_needs() {
        let body = br#" {"messages":[{"role":"user"}],"mod\u0065l":"a\u0062","n":2,"max_tokens":7,"stream":true,"x":1e99,
            "stream_options":{"a":1,"include_usage":true}} "#;
        let request = read(Endpoint::Chat, body).unwrap();
        assert_eq!((&*request.model, request.stream, request.include_usage), ("ab", true, true));
        assert_eq!((request.n, request.max_tokens), (2, Some(7)));
        assert!(request.edits(None, true).is_empty());
    }

    #[test]
    fn edits_touch_only_their_span() {
        let base = r#"{"model": "a", "messages":[{}],"temperature":1.00,"stream":true"#;
        assert_eq!(
            spliced(&format!("{base}}}"), Some("\"b/c\"")),
            format!("{},\"stream_options\":{{\"include_usage\":true}}}}", base.replace("\"a\"", "\"b/c\""))
        );
        for (before, after) in [
            ("null", r#"{"include_usage":true}"#),
            ("{}", r#"{"include_usage":true}"#),
            ("{ \"z\":1}", r#"{"include_usage":true, "z":1}"#),
            (r#"{"include_usage": false}"#, r#"{"include_usage": true}"#),
            (r#"{"include_usage":null,"z":[]}"#, r#"{"include_usage":true,"z":[]}"#),
        ] {
            let whole = |value: &str| format!("{base},\"stream_options\":{value}}} ");
            assert_eq!(spliced(&whole(before), None), whole(after));
        }
    }

    #[test]
    fn refuses_in_order_and_names_the_place() {
        let chat = Endpoint::Chat;
        let rows = [
            (chat, "[]", None, None),
            (chat, "{\"model\":\"a\"", None, None),
            (chat, "{}", None, None),
            (chat, r#"{"model":null,"messages":1}"#, None, None),
            (chat, r#"{"model":7}"#, None, None),
            (chat, r#"{"model":"a"}"#, Some("messages"), Some("missing_required_parameter")),
            (chat, r#"{"model":"a","messages":1}"#, Some("messages"), Some("invalid_type")),
            (chat, r#"{"model":"a","messages":[]}"#, Some("messages"), Some("empty_array")),
            (chat, r#"{"model":"a","messages":[{},3]}"#, Some("messages[1]"), Some("invalid_type")),
            (chat, r#"{"model":"a","messages":[{}],"n":"2"}"#, Some("n"), Some("invalid_type")),
            (chat, r#"{"model":"a","messages":[{}],"n":0}"#, Some("n"), Some("integer_below_min_value")),
            (
                chat,
                r#"{"model":"a","messages":[{}],"max_tokens":-1}"#,
                Some("max_tokens"),
                Some("integer_below_min_value"),
            ),
            (
                chat,
                r#"{"model":"a","messages":[{}],"max_tokens":99999999999999999999999999999999999999999}"#,
                Some("max_tokens"),
                Some("integer_above_max_value"),
            ),
            (chat, r#"{"model":"a","messages":[{}],"stream":1}"#, Some("stream"), Some("invalid_type")),
            (chat, r#"{"model":"a","messages":[{}],"stream_options":{}}"#, Some("stream_options"), None),
            (
                chat,
                r#"{"model":"a","messages":[{}],"stream":true,"stream_options":[]}"#,
                Some("stream_options"),
                Some("invalid_type"),
            ),
            (
                chat,
                r#"{"model":"a","messages":[{}],"stream":true,"stream_options":{"include_usage":1}}"#,
                Some("stream_options.include_usage"),
                Some("invalid_type"),
            ),
            (
                chat,
                r#"{"model":"a","messages":[{}],"m\u006fdel":"b"}"#,
                Some("model"),
                Some("duplicate_parameter"),
            ),
            (Endpoint::Embeddings, r#"{"model":"a"}"#, Some("input"), Some("missing_required_parameter")),
            (Endpoint::Embeddings, r#"{"model":"a","input":1}"#, Some("input"), Some("invalid_type")),
            (Endpoint::Completions, r#"{"model":"a","prompt":{}}"#, Some("prompt"), Some("invalid_type")),
        ];
        for (endpoint, body, param, code) in rows {
            let error = said(endpoint, body);
            assert_eq!((error["param"].as_str(), error["code"].as_str()), (param, code), "{body}");
        }
        assert!(read(Endpoint::Embeddings, br#"{"model":"a","input":"x"}"#).is_ok());
        assert!(read(Endpoint::Completions, br#"{"model":"a","prompt":[1]}"#).is_ok());
    }

    #[test]
    fn depth_counts_from_the_body() {
        let nest =
            |n: usize| format!(r#"{{"model":"a","messages":[{{}}],"x":{}{}}}"#, "[".repeat(n), "]".repeat(n));
        assert!(read(Endpoint::Chat, nest(bounds::JSON_DEPTH - 1).as_bytes()).is_ok());
        assert_eq!(
            read(Endpoint::Chat, nest(bounds::JSON_DEPTH).as_bytes()).unwrap_err().kind(),
            Kind::TooDeep
        );
    }
}
