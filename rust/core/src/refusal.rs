//! Refusal: the only error a client ever sees, and the one table of what each says.
//!
//! Law: no other file writes an error body. Shapes and words follow OpenAI's; nothing of a backend's address or
//! internals is in them.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;

use crate::profile::Errors;

/// What went wrong, as a row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The body is not JSON.
    BadJson,
    /// The body nests deeper than the bound.
    TooDeep,
    /// No `model`.
    MissingModel,
    /// A required parameter is absent.
    MissingParameter,
    /// A parameter has the wrong type.
    InvalidType,
    /// A parameter has a value that it cannot have.
    InvalidValue,
    /// An array must not be empty.
    EmptyArray,
    /// A number is below its least value.
    BelowMinimum,
    /// A number is beyond what it can be.
    AboveMaximum,
    /// A key that we read occurs twice.
    DuplicateParameter,
    /// A parameter that is not known here, or that no client may send.
    UnknownParameter,
    /// The request line or a header breaks HTTP.
    BadHeader,
    /// Not exactly one valid Host.
    BadHost,
    /// More than one Authorization.
    TwoAuthorizations,
    /// Content-Length and Transfer-Encoding disagree, or the body's framing is broken.
    BadFraming,
    /// The request target is not a plain path.
    BadTarget,
    /// No key was presented.
    NoKey,
    /// The key is not one of ours, has expired or was revoked.
    BadKey,
    /// The key may not use this model.
    ModelForbidden,
    /// No such model.
    ModelNotFound,
    /// No such path.
    RouteNotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The request did not arrive in time.
    RequestTimeout,
    /// The body is larger than allowed.
    BodyTooLarge,
    /// Content-Type is not JSON.
    ContentType,
    /// Content-Encoding is not identity.
    ContentEncoding,
    /// Expect is not 100-continue.
    Expectation,
    /// The head is larger than allowed.
    HeadersTooLarge,
    /// A backend asks for patience, and no other can serve.
    RateLimited,
    /// A fault of ours.
    Internal,
    /// A backend answered with a fault or nonsense.
    UpstreamError,
    /// A stream ended before the model had finished.
    UpstreamBroken,
    /// No backend can serve the model now.
    Unavailable,
    /// We are full.
    Overloaded,
    /// We are shutting down.
    Draining,
    /// A backend did not answer in time.
    UpstreamTimeout,
    /// A backend refused the request itself; its own status stands.
    Backend,
}

/// One row: status, `type`, `code`, message.
type Row = (u16, &'static str, Option<&'static str>, &'static str);

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";

impl Kind {
    fn row(self) -> Row {
        match self {
            Self::BadJson => (
                400,
                INVALID,
                None,
                "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP \
                 library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)",
            ),
            Self::TooDeep => (400, INVALID, None, "The JSON body of your request is nested too deeply."),
            Self::MissingModel => (400, INVALID, None, "you must provide a model parameter"),
            Self::MissingParameter => {
                (400, INVALID, Some("missing_required_parameter"), "Missing required parameter.")
            }
            Self::InvalidType => (400, INVALID, Some("invalid_type"), "Invalid type."),
            Self::InvalidValue => (400, INVALID, None, "Invalid value."),
            Self::EmptyArray => (400, INVALID, Some("empty_array"), "Invalid empty array."),
            Self::BelowMinimum => {
                (400, INVALID, Some("integer_below_min_value"), "Integer below minimum value.")
            }
            Self::AboveMaximum => {
                (400, INVALID, Some("integer_above_max_value"), "Integer above maximum value.")
            }
            Self::DuplicateParameter => (400, INVALID, Some("duplicate_parameter"), "Duplicate parameter."),
            Self::UnknownParameter => (400, INVALID, Some("unknown_parameter"), "Unknown parameter."),
            Self::BadHeader => (400, INVALID, None, "The request's headers are not valid HTTP."),
            Self::BadHost => (400, INVALID, None, "The request must have exactly one valid Host header."),
            Self::TwoAuthorizations => {
                (400, INVALID, None, "The request must not have more than one Authorization header.")
            }
            Self::BadFraming => (
                400,
                INVALID,
                None,
                "The length of the request's body is ambiguous or its framing is broken.",
            ),
            Self::BadTarget => (400, INVALID, None, "The request target must be a plain absolute path."),
            Self::NoKey => (
                401,
                INVALID,
                None,
                "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer \
                 auth (i.e. Authorization: Bearer YOUR_KEY).",
            ),
            Self::BadKey => (401, INVALID, Some("invalid_api_key"), "Incorrect API key provided."),
            Self::ModelForbidden => {
                (403, INVALID, Some("model_not_found"), "This key does not have access to the model.")
            }
            Self::ModelNotFound => (
                404,
                INVALID,
                Some("model_not_found"),
                "The model does not exist or you do not have access to it.",
            ),
            Self::RouteNotFound => (404, INVALID, None, "Invalid URL."),
            Self::MethodNotAllowed => (405, INVALID, None, "Method not allowed."),
            Self::RequestTimeout => (408, "timeout_error", None, "The request did not arrive in time."),
            Self::BodyTooLarge => (413, SERVER, None, "Maximum content size limit exceeded"),
            Self::ContentType => (
                415,
                INVALID,
                Some("unsupported_content_type"),
                "Unsupported content type. This API method only accepts 'application/json' requests.",
            ),
            Self::ContentEncoding => (
                415,
                INVALID,
                Some("unsupported_content_encoding"),
                "Unsupported content encoding. Send the body without Content-Encoding.",
            ),
            Self::Expectation => {
                (417, INVALID, None, "Unsupported expectation. Only '100-continue' is understood.")
            }
            Self::HeadersTooLarge => (431, INVALID, None, "The request's headers are too large."),
            Self::RateLimited => (
                429,
                "requests",
                Some("rate_limit_exceeded"),
                "The model is receiving more requests than it can serve. Please try again later.",
            ),
            Self::Internal => (
                500,
                SERVER,
                None,
                "The server had an error while processing your request. Sorry about that! You can retry your request.",
            ),
            Self::UpstreamError => (
                502,
                SERVER,
                Some("upstream_error"),
                "The model server gave an invalid answer. You can retry your request.",
            ),
            Self::UpstreamBroken => (
                502,
                SERVER,
                Some("upstream_error"),
                "The answer broke off before the model had finished. You can retry your request.",
            ),
            Self::Unavailable => (
                503,
                SERVER,
                Some("upstream_unavailable"),
                "No server for this model can be reached right now, please try again later",
            ),
            Self::Overloaded => {
                (503, SERVER, None, "The engine is currently overloaded, please try again later")
            }
            Self::Draining => {
                (503, SERVER, None, "This server is shutting down, please send your request again")
            }
            Self::UpstreamTimeout => (
                504,
                SERVER,
                Some("upstream_timeout"),
                "The model server did not answer in time. You can retry your request.",
            ),
            Self::Backend => (400, INVALID, None, "The model server refused the request."),
        }
    }
}

/// One error as the client sees it. Boxed: refusals are rare, and a `Result` that carries one stays small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(Box<Parts>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    kind: Kind,
    status: u16,
    error_type: Cow<'static, str>,
    code: Option<Cow<'static, str>>,
    message: Cow<'static, str>,
    param: Option<Cow<'static, str>>,
    retry_after: Option<u32>,
    allow: Option<&'static str>,
    doc_url: Option<Box<str>>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    doc_url: Option<&'a str>,
}

impl Refusal {
    /// The table's row for `kind`.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        let (status, error_type, code, message) = kind.row();
        let retry_after =
            matches!(kind, Kind::RateLimited | Kind::Unavailable | Kind::Overloaded | Kind::Draining)
                .then_some(1);
        Self(Box::new(Parts {
            kind,
            status,
            error_type: error_type.into(),
            code: code.map(Into::into),
            message: message.into(),
            param: None,
            retry_after,
            allow: None,
            doc_url: None,
        }))
    }

    /// With these words in place of the table's.
    #[must_use]
    pub fn message(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.0.message = text.into();
        self
    }

    /// Naming the parameter at fault.
    #[must_use]
    pub fn param(mut self, path: impl Into<Cow<'static, str>>) -> Self {
        self.0.param = Some(path.into());
        self
    }

    /// With this `code` in place of the table's.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.0.code = Some(code.into());
        self
    }

    /// As a profile words it.
    #[must_use]
    pub fn styled(mut self, errors: &Errors) -> Self {
        let parts = &mut self.0;
        if parts.kind == Kind::ModelNotFound {
            parts.status = errors.unknown_model_status.unwrap_or(parts.status);
        }
        if parts.status == 401 {
            if let Some(error_type) = &errors.unauthorized_type {
                parts.error_type = error_type.to_string().into();
            }
            parts.doc_url.clone_from(&errors.doc_url);
        }
        let keeps = |code: &str| errors.code_keep.iter().any(|kept| **kept == *code);
        if errors.code_null && parts.status == 400 && parts.code.as_deref().is_some_and(|code| !keeps(code)) {
            parts.code = None;
        }
        self
    }

    /// With this status in place of the table's (a backend's own 4xx).
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.0.status = status;
        self
    }

    /// With this `type` and `code` in place of the table's.
    #[must_use]
    pub fn with_type(mut self, error_type: Option<String>, code: Option<String>) -> Self {
        if let Some(error_type) = error_type {
            self.0.error_type = error_type.into();
        }
        self.0.code = code.map(Into::into);
        self
    }

    /// Asking the client to wait, at least 1 s and at most [`crate::bounds::RETRY_AFTER_SECONDS`].
    #[must_use]
    pub fn after(mut self, seconds: u32) -> Self {
        self.0.retry_after = Some(seconds.clamp(1, crate::bounds::RETRY_AFTER_SECONDS));
        self
    }

    /// Naming the methods that the path does have.
    #[must_use]
    pub fn allow(mut self, methods: &'static str) -> Self {
        self.0.allow = Some(methods);
        self
    }

    /// The row it came from.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// The `code`, for metrics and logs; `error` where there is none.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// The headers that this refusal adds: name and value.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, Cow<'static, str>)> {
        let challenge = (self.0.status == 401).then_some(("www-authenticate", Cow::Borrowed("Bearer")));
        let retry = self.0.retry_after.map(|seconds| ("retry-after", Cow::Owned(seconds.to_string())));
        let allow = self.0.allow.map(|methods| ("allow", Cow::Borrowed(methods)));
        // The rest of such a request is not read, so the connection cannot carry another.
        let unread = matches!(self.0.kind, Kind::BodyTooLarge | Kind::RequestTimeout | Kind::BadFraming);
        let close = unread.then_some(("connection", Cow::Borrowed("close")));
        challenge.into_iter().chain(retry).chain(allow).chain(close)
    }

    /// The JSON body: `{"error":{"message","type","param","code"}}`, all four keys present.
    #[must_use]
    pub fn body(&self) -> Bytes {
        let envelope = Envelope {
            error: Inner {
                message: &self.0.message,
                r#type: &self.0.error_type,
                param: self.0.param.as_deref(),
                code: self.0.code.as_deref(),
                doc_url: self.0.doc_url.as_deref(),
            },
        };
        serde_json::to_vec(&envelope).unwrap_or_default().into()
    }

    /// The same as the last event of a stream that broke.
    #[must_use]
    pub fn event(&self) -> Bytes {
        let mut event = b"data: ".to_vec();
        event.extend_from_slice(&self.body());
        event.extend_from_slice(b"\n\n");
        event.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_keys_are_there() {
        let body = Refusal::of(Kind::MissingParameter)
            .message("Missing required parameter: 'messages'.")
            .param("messages")
            .body();
        assert_eq!(
            &body[..],
            br#"{"error":{"message":"Missing required parameter: 'messages'.","type":"invalid_request_error","param":"messages","code":"missing_required_parameter"}}"#
        );
        assert!(Refusal::of(Kind::Internal).event().starts_with(b"data: {\"error\":"));
    }

    #[test]
    fn headers_say_what_to_do() {
        let names = |refusal: Refusal| {
            refusal.headers().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>()
        };
        assert_eq!(names(Refusal::of(Kind::NoKey)), ["www-authenticate: Bearer"]);
        assert_eq!(names(Refusal::of(Kind::RateLimited).after(1_000_000)), ["retry-after: 120"]);
        assert_eq!(names(Refusal::of(Kind::MethodNotAllowed).allow("POST")), ["allow: POST"]);
        assert!(names(Refusal::of(Kind::BadJson)).is_empty());
    }
}
