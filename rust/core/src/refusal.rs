//! Refusal: the only error a client ever sees, and the one table of what each says.
//!
//! Law: what is said is a row of the table, with the words and the parameter of the case.

mod form;
mod kind;

use std::borrow::Cow;

use self::form::Look;
pub use self::kind::Kind;
use crate::profile::{Errors, Row};

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
    in_vain: bool,
    doc_url: Option<Box<str>>,
    look: Look,
}

impl Parts {
    /// As the profile's row has it.
    fn reword(&mut self, row: &Row) {
        self.status = row.status.unwrap_or(self.status);
        if let Some(error_type) = &row.error_type {
            self.error_type = error_type.to_string().into();
        }
        if let Some(code) = &row.code {
            self.code = Some(code.to_string().into());
        }
        if let Some(message) = &row.message {
            let seconds = self.retry_after.unwrap_or_default().to_string();
            self.message = message.replace("{seconds}", &seconds).into();
        }
    }
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
            // OpenAI's clients try a 429 again; waiting pays for nothing.
            in_vain: kind == Kind::NoCredit,
            doc_url: None,
            look: Look::Envelope,
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
        if let (Kind::UpstreamTimeout, Some(status)) = (parts.kind, errors.timeout_status) {
            parts.status = status;
            parts.error_type = "timeout_error".into();
        }
        if let Some((_, row)) = errors.rows.iter().find(|(kind, _)| *kind == parts.kind) {
            parts.reword(row);
        }
        if errors.no_retry_after && parts.status == 429 {
            parts.retry_after = None;
        }
        if parts.status == 401 {
            if let Some(error_type) = &errors.unauthorized_type {
                parts.error_type = error_type.to_string().into();
            }
            parts.doc_url.clone_from(&errors.doc_url);
        }
        match (parts.kind, &errors.unauthorized_body) {
            (Kind::NoKey | Kind::BadKey, Some(body)) => parts.look = Look::Verbatim(body.clone()),
            (Kind::ContextLength, _) if errors.flat_overflow => parts.look = Look::Flat,
            _ => {}
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

    /// Saying that another try is in vain.
    #[must_use]
    pub fn in_vain(mut self) -> Self {
        self.0.in_vain = true;
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

    /// What it says.
    #[must_use]
    pub fn words(&self) -> &str {
        &self.0.message
    }

    /// The parameter at fault.
    #[must_use]
    pub fn param_path(&self) -> Option<&str> {
        self.0.param.as_deref()
    }

    /// The headers that this refusal adds: name and value.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, Cow<'static, str>)> {
        let challenge = (self.0.status == 401).then_some(("www-authenticate", Cow::Borrowed("Bearer")));
        let retry = self.0.retry_after.map(|seconds| ("retry-after", Cow::Owned(seconds.to_string())));
        let allow = self.0.allow.map(|methods| ("allow", Cow::Borrowed(methods)));
        // The rest of such a request is not read, so the connection cannot carry another.
        let unread = matches!(self.0.kind, Kind::BodyTooLarge | Kind::RequestTimeout | Kind::BadFraming);
        let close = unread.then_some(("connection", Cow::Borrowed("close")));
        let vain = self.0.in_vain.then_some(("x-should-retry", Cow::Borrowed("false")));
        challenge.into_iter().chain(retry).chain(allow).chain(close).chain(vain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Dialect;

    #[test]
    fn all_four_keys_are_there() {
        let body = Refusal::of(Kind::MissingParameter)
            .message("Missing required parameter: 'messages'.")
            .param("messages")
            .body(Dialect::Chunks);
        assert_eq!(
            &body[..],
            br#"{"error":{"message":"Missing required parameter: 'messages'.","type":"invalid_request_error","param":"messages","code":"missing_required_parameter"}}"#
        );
        let event = |dialect| Refusal::of(Kind::Internal).event(dialect, 7);
        assert!(event(Dialect::Chunks).starts_with(b"data: {\"error\":"));
        assert!(event(Dialect::Typed).starts_with(b"event: error\ndata: {\"type\":\"error\",\"code\":null,"));
        assert!(event(Dialect::Typed).ends_with(b",\"sequence_number\":7}\n\n"));
        assert!(event(Dialect::Anthropic).starts_with(
            b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":"
        ));
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
