//! Reads from a request body what the engine needs, and where it stands; the body itself is never rebuilt.
//!
//! Law: one pass over the bytes. A text that is not strict JSON, or that says twice what we read once, is refused
//! here and reaches no backend.

mod judge;
mod scan;

use std::ops::Range;

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

/// Reads `body` as a request to `endpoint`.
///
/// # Errors
/// The refusal for the first thing wrong with it, in the documented order of checks.
pub fn read(endpoint: Endpoint, body: &[u8]) -> Result<Request, Refusal> {
    if simdutf8::basic::from_utf8(body).is_err() {
        return Err(Refusal::of(Kind::BadJson));
    }
    let (seen, end) = scan::scan(body)?;
    judge::judge(endpoint, &seen, end)
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
    use crate::{bounds, splice};

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
