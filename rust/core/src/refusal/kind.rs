//! The one table of what can go wrong: status, type, code and words of each.
//!
//! Law: shapes and words follow OpenAI's; nothing of a backend's address or internals is in them.

/// What went wrong, as a row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The body is not JSON.
    BadJson,
    /// The body is not a whole form.
    BadForm,
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
    /// The prompt is longer than the model's context.
    ContextLength,
    /// A key that we read occurs twice.
    DuplicateParameter,
    /// A parameter that is not known here, or that no client may send.
    UnknownParameter,
    /// The model cannot do what a parameter asks for.
    UnsupportedParameter,
    /// The endpoint does not take models of this category.
    ModelUnsupported,
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
    /// The caller has used up what its limits allow for now.
    LimitReached,
    /// The caller has used up what it has paid for.
    NoCredit,
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
pub(super) type Row = (u16, &'static str, Option<&'static str>, &'static str);

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";

impl Kind {
    pub(super) fn row(self) -> Row {
        match self {
            Self::BadJson => (
                400,
                INVALID,
                None,
                "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP \
                 library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)",
            ),
            Self::BadForm => (400, INVALID, None, "We could not parse the multipart form of your request."),
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
            Self::ContextLength => (
                400,
                INVALID,
                Some("context_length_exceeded"),
                "This model's maximum context length is exceeded. Please reduce the length of the messages.",
            ),
            Self::DuplicateParameter => (400, INVALID, Some("duplicate_parameter"), "Duplicate parameter."),
            Self::UnknownParameter => (400, INVALID, Some("unknown_parameter"), "Unknown parameter."),
            Self::UnsupportedParameter => {
                (400, INVALID, Some("unsupported_parameter"), "Unsupported parameter.")
            }
            Self::ModelUnsupported => {
                (400, INVALID, Some("unsupported_model"), "The model does not support this endpoint.")
            }
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
            Self::LimitReached => (429, "requests", Some("rate_limit_exceeded"), "Rate limit reached."),
            Self::NoCredit => (
                429,
                "insufficient_quota",
                Some("insufficient_quota"),
                "You exceeded your current quota, please check your plan and billing details.",
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
