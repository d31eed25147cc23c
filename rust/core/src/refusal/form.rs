//! A refusal as bytes: OpenAI's envelope, or the form that an endpoint's clients or a profile want.
//!
//! Law: no other file writes an error body.

use bytes::Bytes;
use serde::Serialize;

use super::Refusal;
use crate::endpoint::Dialect;

/// The outer form of the body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Look {
    /// OpenAI's envelope.
    #[default]
    Envelope,
    /// Without the envelope, the status as the code: an older vLLM's.
    Flat,
    /// These bytes.
    Verbatim(Box<str>),
}

/// What an older vLLM says.
#[derive(Serialize)]
struct Flat<'a> {
    object: &'static str,
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: u16,
}

/// What Anthropic's clients read.
#[derive(Serialize)]
struct Anthropic<'a> {
    r#type: &'static str,
    error: AnthropicInner<'a>,
}

#[derive(Serialize)]
struct AnthropicInner<'a> {
    r#type: &'static str,
    message: &'a str,
}

/// The event that ends a broken stream of typed events.
#[derive(Serialize)]
struct Typed<'a> {
    r#type: &'static str,
    code: Option<&'a str>,
    message: &'a str,
    param: Option<&'a str>,
    sequence_number: u64,
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
    /// The JSON body: `{"error":{"message","type","param","code"}}`, all four keys present, unless the endpoint's clients or
    /// the profile want another form.
    #[must_use]
    pub fn body(&self, dialect: Dialect) -> Bytes {
        let parts = &self.0;
        let (message, kind, param) = (&*parts.message, &*parts.error_type, parts.param.as_deref());
        let written = match &parts.look {
            Look::Verbatim(body) => return Bytes::copy_from_slice(body.as_bytes()),
            Look::Flat => serde_json::to_vec(&Flat {
                object: "error",
                message,
                r#type: kind,
                param,
                code: parts.status,
            }),
            Look::Envelope if dialect == Dialect::Anthropic => serde_json::to_vec(&self.anthropic()),
            Look::Envelope => {
                let (code, doc_url) = (parts.code.as_deref(), parts.doc_url.as_deref());
                serde_json::to_vec(&Envelope { error: Inner { message, r#type: kind, param, code, doc_url } })
            }
        };
        written.unwrap_or_default().into()
    }

    fn anthropic(&self) -> Anthropic<'_> {
        let kind = match self.0.status {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            503 => "overloaded_error",
            _ => "api_error",
        };
        Anthropic { r#type: "error", error: AnthropicInner { r#type: kind, message: &self.0.message } }
    }

    /// The same as the last event of a stream that broke after `sequence` events.
    #[must_use]
    pub fn event(&self, dialect: Dialect, sequence: u64) -> Bytes {
        let mut event = match dialect {
            Dialect::Chunks => b"data: ".to_vec(),
            Dialect::Typed | Dialect::Anthropic => b"event: error\ndata: ".to_vec(),
        };
        if dialect == Dialect::Typed {
            let typed = Typed {
                r#type: "error",
                code: self.0.code.as_deref(),
                message: &self.0.message,
                param: self.0.param.as_deref(),
                sequence_number: sequence,
            };
            event.extend(serde_json::to_vec(&typed).unwrap_or_default());
        } else {
            event.extend_from_slice(&self.body(dialect));
        }
        event.extend_from_slice(b"\n\n");
        event.into()
    }
}
