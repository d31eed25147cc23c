//! The strict front check: what must hold of a request's head before anything else looks at it.
//!
//! Law: pure; looks at each header once. The HTTP parser lets much through that two servers may read in two ways;
//! nothing of that passes here.

use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING,
    UPGRADE,
};
use http::request::Parts;
use http::uri::Authority;
use http::{Method, Request, Uri, Version};
use levada_core::endpoint::Form;
use levada_core::form;
use levada_core::refusal::{Kind, Refusal};

use crate::guard::sniff::Framing;
use crate::routes::{Route, is_admin};

/// The longest Content-Type shown back to the client that sent it.
const SHOWN_BYTES: usize = 100;

/// The size limits of a head.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Request line and header lines together, in bytes.
    pub bytes: usize,
    /// Header lines.
    pub headers: usize,
}

impl Default for HeadLimits {
    /// What the edge has unless it is told otherwise: 16 KiB in 64 lines.
    fn default() -> Self {
        Self { bytes: 16 * 1024, headers: 64 }
    }
}

/// What one pass over the headers finds.
#[derive(Default)]
struct Seen<'a> {
    bytes: usize,
    hosts: usize,
    host: Option<&'a HeaderValue>,
    authorizations: usize,
    encodings: usize,
    encoding: Option<&'a HeaderValue>,
    expect: Option<&'a HeaderValue>,
    upgrade: Option<&'a HeaderValue>,
}

impl<'a> Seen<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut seen = Self::default();
        for (name, value) in headers {
            // Name, colon, space, value, end of line.
            seen.bytes += name.as_str().len() + value.len() + 4;
            match *name {
                HOST => {
                    seen.hosts += 1;
                    seen.host = Some(value);
                }
                AUTHORIZATION => seen.authorizations += 1,
                TRANSFER_ENCODING => {
                    seen.encodings += 1;
                    seen.encoding = Some(value);
                }
                EXPECT => seen.expect = Some(value),
                UPGRADE => seen.upgrade = Some(value),
                _ => {}
            }
        }
        seen
    }
}

/// Checks any request, whatever its path.
pub fn check(parts: &Parts, framing: Framing, limits: HeadLimits) -> Result<(), Refusal> {
    let seen = Seen::of(&parts.headers);
    let line =
        parts.method.as_str().len() + parts.uri.path().len() + parts.uri.query().map_or(0, str::len) + 12;
    if seen.bytes + line > limits.bytes || parts.headers.len() > limits.headers {
        return Err(Refusal::of(Kind::HeadersTooLarge));
    }
    if parts.method == Method::CONNECT || parts.method == Method::TRACE {
        return Err(Refusal::of(Kind::MethodNotAllowed).message(format!("Not allowed to {}.", parts.method)));
    }
    check_target(parts)?;
    check_host(parts, &seen)?;
    if seen.authorizations > 1 {
        return Err(Refusal::of(Kind::TwoAuthorizations));
    }
    check_framing(&seen, framing)?;
    if seen.expect.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Refusal::of(Kind::Expectation));
    }
    // An offer of h2c may be ignored, and the clients that make it expect that; no other protocol is spoken here.
    if seen.upgrade.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"h2c")) {
        return Err(Refusal::of(Kind::BadHeader).message("Upgrade is not supported."));
    }
    Ok(())
}

/// HTTP/1 sends a path; HTTP/2 sends a path too, which the library shows together with scheme and authority.
fn check_target(parts: &Parts) -> Result<(), Refusal> {
    let absolute = parts.version < Version::HTTP_2 && parts.uri.authority().is_some();
    if absolute || !parts.uri.path().starts_with('/') { Err(Refusal::of(Kind::BadTarget)) } else { Ok(()) }
}

fn check_host(parts: &Parts, seen: &Seen<'_>) -> Result<(), Refusal> {
    let host = seen.host.map(HeaderValue::as_bytes);
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let name = match (parts.version, authority, seen.hosts) {
        (Version::HTTP_2, Some(name), 0) => name,
        (Version::HTTP_2, Some(name), 1) if host.is_some_and(|host| host.eq_ignore_ascii_case(name)) => name,
        (Version::HTTP_2, None, 1) | (Version::HTTP_11, None, 1) | (Version::HTTP_10, None, 1) => {
            host.unwrap_or_default()
        }
        (Version::HTTP_10, None, 0) => return Ok(()),
        _ => return Err(Refusal::of(Kind::BadHost)),
    };
    if is_host(name) { Ok(()) } else { Err(Refusal::of(Kind::BadHost)) }
}

/// `host[:port]` with a DNS name, an IPv4 address or a bracketed IPv6 address.
fn is_host(text: &[u8]) -> bool {
    let (host, port) = match text.iter().rposition(|byte| matches!(byte, b':' | b']')) {
        Some(at) if text.get(at) == Some(&b':') => (text.get(..at), text.get(at + 1..)),
        _ => (Some(text), None),
    };
    let host = host.unwrap_or_default();
    let good_port =
        port.is_none_or(|port| (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit));
    let good_host = match host.strip_prefix(b"[") {
        Some(rest) => rest.strip_suffix(b"]").is_some_and(|inner| {
            std::str::from_utf8(inner).is_ok_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
        }),
        None => {
            (1..=253).contains(&host.len())
                && host.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        }
    };
    good_port && good_host
}

fn check_framing(seen: &Seen<'_>, framing: Framing) -> Result<(), Refusal> {
    let fair = match seen.encoding {
        None => true,
        Some(value) => {
            seen.encodings == 1
                && value.as_bytes().eq_ignore_ascii_case(b"chunked")
                && framing == Framing::Encoded
        }
    };
    if fair { Ok(()) } else { Err(Refusal::of(Kind::BadFraming)) }
}

/// Checks what only an inference request must be: a path that can be read in one way, a body of plain JSON.
pub fn check_inference(parts: &Parts, route: &Route) -> Result<(), Refusal> {
    if !is_plain(parts.uri.path(), route) {
        return Err(Refusal::of(Kind::BadTarget));
    }
    if parts.method == Method::POST {
        check_coding(&parts.headers)?;
    }
    Ok(())
}

/// The same for a door whose server has parsed the request: what it hides (the framing) is its own to check.
///
/// # Errors
/// The first thing wrong with it.
pub fn check_parsed(method: &str, path: &str, headers: &HeaderMap, route: &Route) -> Result<Method, Refusal> {
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Refusal::of(Kind::BadHeader))?;
    let uri = Uri::try_from(path).map_err(|_| Refusal::of(Kind::BadTarget))?;
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.uri, parts.headers) = (method.clone(), uri, headers.clone());
    check(&parts, Framing::Encoded, HeadLimits::default())?;
    if is_admin(path) {
        return Err(Refusal::of(Kind::RouteNotFound).message(format!("Invalid URL ({method} {path})")));
    }
    if route.is_known() {
        check_inference(&parts, route)?;
    }
    Ok(method)
}

/// Whether a path has one reading only: no empty or dotted segment, no parameter, nothing encoded but in a model's name
/// (it is data, not a way, and clients write the slash in it as `%2F`).
fn is_plain(path: &str, route: &Route) -> bool {
    let names_model = matches!(route, Route::Model(_));
    let mut before = b' ';
    let clean = path.bytes().all(|byte| {
        let good = match byte {
            b'/' => before != b'/',
            b'%' => names_model,
            byte => matches!(byte, b'!'..=b'~') && !matches!(byte, b';' | b'\\'),
        };
        before = byte;
        good
    });
    clean && !path.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// A body as it is, not packed.
fn check_coding(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    match codings.find(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        Some(_) => Err(Refusal::of(Kind::ContentEncoding)),
        None => Ok(()),
    }
}

/// Checks what the client says its body is. Nothing said counts as JSON, something wrong does not; a form says its boundary.
///
/// # Errors
/// It is not what the endpoint takes.
pub fn check_media(headers: &HeaderMap, form: Form) -> Result<(), Refusal> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let first = values.next();
    let fits = |value: &HeaderValue| match form {
        Form::Json => {
            let media = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
            media.trim_ascii().eq_ignore_ascii_case(b"application/json")
        }
        Form::Multipart => value.to_str().is_ok_and(|value| form::boundary(value).is_some()),
    };
    match (form, first) {
        (Form::Json, None) => Ok(()),
        (Form::Multipart, None) => Err(wrong_type(&HeaderValue::from_static(""), form)),
        (_, Some(value)) => match std::iter::once(value).chain(values).find(|value| !fits(value)) {
            Some(wrong) => Err(wrong_type(wrong, form)),
            None => Ok(()),
        },
    }
}

fn wrong_type(value: &HeaderValue, form: Form) -> Refusal {
    let shown: String = String::from_utf8_lossy(value.as_bytes()).chars().take(SHOWN_BYTES).collect();
    let media = shown.split(';').next().unwrap_or_default().trim();
    let accepted = match form {
        Form::Json => "application/json",
        Form::Multipart => "multipart/form-data",
    };
    Refusal::of(Kind::ContentType).message(format!(
        "Unsupported content type: '{media}'. This API method only accepts '{accepted}' requests, but you specified \
         the header 'Content-Type: {shown}'. Please try again with a supported content type."
    ))
}

/// The host that the client meant, for the relay: `:authority` of HTTP/2 or `Host`.
#[must_use]
pub fn host_of(parts: &Parts) -> Option<HeaderValue> {
    let authority = parts.uri.authority().map(Authority::as_str);
    authority.and_then(|name| HeaderValue::from_str(name).ok()).or_else(|| parts.headers.get(HOST).cloned())
}

/// The same as a text, to choose by: nothing where it is not clear which host is meant.
#[must_use]
pub fn host_named<'a>(uri: Option<&'a Uri>, headers: &'a HeaderMap) -> Option<&'a str> {
    if let Some(authority) = uri.and_then(Uri::authority) {
        return Some(authority.as_str());
    }
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
