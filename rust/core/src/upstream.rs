//! A backend's error, made fit for a client.
//!
//! Law: its 4xx passes in our envelope, with its words but without its addresses; its 5xx, its HTML and its
//! complaints about our own key stay inside.

use serde_json::Value;

use crate::bounds;
use crate::refusal::{Kind, Refusal};

/// The refusal for a backend's answer of status 400 or more. `retry_after` is its header's text.
#[must_use]
pub fn refusal(status: u16, retry_after: Option<&str>, body: &[u8]) -> Refusal {
    match status {
        // What a backend says about the key is about ours: the operator's fault, not the client's.
        401 | 403 | 407 => Refusal::of(Kind::UpstreamError),
        429 => Refusal::of(Kind::RateLimited).after(seconds(retry_after)),
        400..=499 => described(status, body),
        503 => Refusal::of(Kind::Unavailable).after(seconds(retry_after)),
        504 => Refusal::of(Kind::UpstreamTimeout),
        _ => Refusal::of(Kind::UpstreamError),
    }
}

/// The refusal for an error object inside a stream: a 4xx passes, all else is a fault of the backend.
#[must_use]
pub fn in_stream(data: &[u8]) -> Refusal {
    let value: Value = serde_json::from_slice(data).unwrap_or_default();
    // Responses wraps a failure in the answer.
    let failed = value.get("response").and_then(|answer| answer.get("error"));
    let error = value.get("error").or(failed).unwrap_or(&value);
    match error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok()) {
        Some(status @ 400..=499) => refusal(status, None, data),
        _ => Refusal::of(Kind::UpstreamError),
    }
}

fn seconds(retry_after: Option<&str>) -> u32 {
    // A date or nonsense becomes the least wait; the client may simply ask again.
    retry_after
        .and_then(|text| text.trim().parse::<u64>().ok())
        .map_or(1, |wait| u32::try_from(wait).unwrap_or(u32::MAX))
}

/// A 4xx in its own words. A framework's 422 becomes the 400 that OpenAI's clients know.
fn described(status: u16, body: &[u8]) -> Refusal {
    let status = if status == 422 { 400 } else { status };
    let refusal = Refusal::of(Kind::Backend).with_status(status);
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return refusal };
    let error = value.get("error").unwrap_or(&value);
    let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
    let message = error.as_str().map(str::to_owned).or_else(|| text("message")).or_else(|| text("detail"));
    let refusal = match message.as_deref().filter(|message| !message.is_empty()) {
        Some(message) => refusal.message(scrub(message)),
        None => refusal,
    };
    if let Some(refusal) = overflow(error, message.as_deref()) {
        return refusal;
    }
    let refusal = match text("param") {
        Some(param) => refusal.param(scrub(&param)),
        None => refusal,
    };
    // Engines put their class names or a number where OpenAI has words; only OpenAI's kind passes.
    let word = |name: &str| {
        text(name)
            .filter(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit()))
    };
    refusal.with_type(word("type").filter(|word| word.ends_with("_error")), word("code"))
}

/// The one refusal that clients act upon by its code, in whichever engine's words it comes: the prompt is too long.
fn overflow(error: &Value, message: Option<&str>) -> Option<Refusal> {
    let count = |name: &str| error.get(name).and_then(Value::as_u64);
    let words = match (message, count("n_ctx"), count("n_prompt_tokens")) {
        (Some(message), ..) if message.starts_with("This model's maximum context length is") => {
            scrub(message)
        }
        // llama.cpp gives the figures.
        (_, Some(context), Some(prompt)) => format!(
            "This model's maximum context length is {context} tokens. However, your messages resulted in {prompt} \
             tokens. Please reduce the length of the messages."
        ),
        _ => return None,
    };
    Some(Refusal::of(Kind::ContextLength).message(words).param("messages"))
}

/// A message without addresses: URLs, host:port pairs, IPv4 addresses, absolute paths and memory addresses are cut out.
fn scrub(message: &str) -> String {
    let mut out = String::with_capacity(message.len().min(bounds::UPSTREAM_MESSAGE_BYTES));
    for (index, word) in message.split(' ').enumerate() {
        if index > 0 {
            out.push(' ');
        }
        if out.len() + word.len() > bounds::UPSTREAM_MESSAGE_BYTES {
            out.push_str("...");
            break;
        }
        out.push_str(if is_address(word) { "[removed]" } else { word });
    }
    out
}

fn is_address(word: &str) -> bool {
    let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '/');
    let hex = bare
        .strip_prefix("0x")
        .is_some_and(|rest| rest.len() >= 6 && rest.bytes().all(|b| b.is_ascii_hexdigit()));
    let path = bare.starts_with('/') && bare.matches('/').count() > 1 && !bare.starts_with("/v1/");
    let pieces: Vec<&str> = bare.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').collect();
    let quad = pieces.iter().any(|piece| {
        let parts: Vec<_> = piece.split('.').collect();
        parts.len() == 4 && parts.iter().all(|part| part.parse::<u8>().is_ok())
    });
    let port = bare.rsplit_once(':').is_some_and(|(host, port)| {
        port.len() >= 2
            && port.parse::<u16>().is_ok()
            && (host.contains('.') || host == "localhost")
            && !host.contains(' ')
    });
    hex || path || quad || port || word.contains("://")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str) -> (u16, Value) {
        let refusal = refusal(status, None, body.as_bytes());
        (refusal.status(), serde_json::from_slice::<Value>(&refusal.body(crate::endpoint::Dialect::Chunks)).unwrap()["error"].clone())
    }

    #[test]
    fn a_4xx_passes_in_our_shape() {
        for body in [
            r#"{"error":{"code":400,"message":"the request exceeds","type":"exceed_context_size_error","n_prompt_tokens":9,"n_ctx":2}}"#,
            r#"{"object":"error","message":"This model's maximum context length is 2 tokens. However, you","code":400}"#,
        ] {
            let error = said(400, body).1;
            assert_eq!(
                (error["code"].as_str(), error["param"].as_str()),
                (Some("context_length_exceeded"), Some("messages"))
            );
            assert!(
                error["message"]
                    .as_str()
                    .unwrap()
                    .starts_with("This model's maximum context length is 2 tokens.")
            );
        }
        let (status, error) = said(
            400,
            r#"{"error":{"code":400,"message":"too long","type":"exceed_context_size_error","n_ctx":2}}"#,
        );
        assert_eq!(
            (status, error["message"].as_str(), error["code"].as_str()),
            (400, Some("too long"), None)
        );
        assert_eq!(error["type"], "exceed_context_size_error");
        let (_, error) = said(
            400,
            r#"{"error":{"message":"m","type":"BadRequestError","param":"n","code":"context_length_exceeded"}}"#,
        );
        assert_eq!(
            (error["type"].as_str(), error["param"].as_str()),
            (Some("invalid_request_error"), Some("n"))
        );
        assert_eq!(error["code"], "context_length_exceeded");
        assert_eq!(said(422, r#"{"detail":"field required"}"#).1["message"], "field required");
        assert_eq!(said(422, "{}").0, 400);
        assert_eq!(said(404, r#"{"error":"nope"}"#), (404, said(404, r#"{"error":"nope"}"#).1));
        assert_eq!(said(418, "<html>").1["message"], "The model server refused the request.");
    }

    #[test]
    fn faults_and_keys_stay_inside() {
        for (status, ours) in
            [(500, 502), (502, 502), (599, 502), (401, 502), (403, 502), (503, 503), (504, 504), (429, 429)]
        {
            let (got, error) = said(status, r#"{"error":{"message":"secret trace"}}"#);
            assert_eq!(got, ours);
            assert!(!error["message"].as_str().unwrap().contains("secret"));
        }
    }

    #[test]
    fn waits_are_clamped() {
        let wait = |text| refusal(429, Some(text), b"").headers().next().map(|(_, value)| value.into_owned());
        for (text, seconds) in [
            ("7", "7"),
            ("1000000000", "120"),
            ("99999999999999999999", "1"),
            ("0", "1"),
            ("Wed, 21 Oct 2026 07:28:00 GMT", "1"),
        ] {
            assert_eq!(wait(text).as_deref(), Some(seconds), "{text}");
        }
    }

    #[test]
    fn addresses_are_cut_out() {
        let text = scrub(
            "cannot reach http://10.0.0.7:8000/v1 (10.0.0.7), gpu-3.local:8000 at 0x7f12ab34cd in /usr/lib/x.py line 7, ratio 1.5",
        );
        assert_eq!(
            text,
            "cannot reach [removed] [removed] [removed] at [removed] in [removed] line 7, ratio 1.5"
        );
        assert!(scrub(&"word ".repeat(5000)).len() < bounds::UPSTREAM_MESSAGE_BYTES + 8);
    }
}
