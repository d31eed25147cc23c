//! Reads one HTTP/1.1 request from the bytes of a connection, and the marker in its text.
//!
//! The marker: `@@mock n=256 us=5000@@`, each key at most once, all optional:
//! `n` streamed chunks (16) · `us` microseconds between them (0: one write each, as fast as it
//! goes) · `sz` bytes of a whole answer (1024) · `ttft` microseconds before the first byte (0) ·
//! `e` embedding rows x dimensions (1x1024).

use levada_bench::chunked::Decoder;
use memchr::memmem;
use std::ops::Range;

/// The largest head and body that the mock takes.
const HEAD_LIMIT: usize = 64 << 10;
const BODY_LIMIT: usize = 64 << 20;

/// What a request asks of the mock.
#[derive(Debug, Default, PartialEq)]
pub struct Wish {
    pub endpoint: Endpoint,
    pub stream: bool,
    pub usage: bool,
    pub chunks: u64,
    pub gap_us: u64,
    pub size: usize,
    pub ttft_us: u64,
    pub rows: usize,
    pub dimensions: usize,
}

/// The paths that are served; a suffix decides, so that any prefix will do.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    Chat,
    Embeddings,
    Models,
    Info,
    Health,
    #[default]
    Unknown,
}

/// A whole request at the beginning of the input.
#[derive(Debug)]
pub struct Request {
    pub wish: Wish,
    pub keep: bool,
    pub length: usize,
}

/// How the body of a request is delimited.
struct Head {
    endpoint: Endpoint,
    length: usize,
    body: Body,
    keep: bool,
    expects: bool,
}

enum Body {
    Sized(usize),
    Chunked,
}

/// What the input holds.
pub enum Parsed {
    Whole(Request),
    Partial { expects: bool },
    Bad,
}

/// Reads one request from the beginning of `input`.
pub fn parse(input: &[u8]) -> Parsed {
    let head = match head(input) {
        Ok(Some(head)) => head,
        Ok(None) if input.len() < HEAD_LIMIT => return Parsed::Partial { expects: false },
        _ => return Parsed::Bad,
    };
    let rest = &input[head.length..];
    let partial = Parsed::Partial { expects: head.expects && rest.is_empty() };
    let request = |body: &[u8], length| {
        Parsed::Whole(Request { wish: wish(head.endpoint, body), keep: head.keep, length })
    };
    match head.body {
        Body::Sized(size) if size > BODY_LIMIT => Parsed::Bad,
        Body::Sized(size) => match rest.get(..size) {
            Some(body) => request(body, head.length + size),
            None => partial,
        },
        Body::Chunked => {
            let (mut decoder, mut body) = (Decoder::default(), Vec::new());
            match decoder.feed(rest, |piece| body.extend_from_slice(piece)) {
                Err(_) => Parsed::Bad,
                Ok(taken) if decoder.ended() => request(&body, head.length + taken),
                Ok(_) if body.len() > BODY_LIMIT => Parsed::Bad,
                Ok(_) => partial,
            }
        }
    }
}

fn head(input: &[u8]) -> Result<Option<Head>, httparse::Error> {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut head = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(input)? else { return Ok(None) };
    let (mut body, mut keep, mut expects) = (Body::Sized(0), head.version == Some(1), false);
    for field in head.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        let value = std::str::from_utf8(field.value).unwrap_or("").trim();
        if is("content-length") {
            body = Body::Sized(value.parse().map_err(|_| httparse::Error::HeaderValue)?);
        } else if is("transfer-encoding") {
            body = Body::Chunked;
        } else if is("connection") && value.eq_ignore_ascii_case("close") {
            keep = false;
        } else if is("expect") {
            expects = true;
        }
    }
    let endpoint = endpoint(head.method.unwrap_or(""), head.path.unwrap_or(""));
    Ok(Some(Head { endpoint, length, body, keep, expects }))
}

fn endpoint(method: &str, target: &str) -> Endpoint {
    let path = target.split('?').next().unwrap_or("");
    let post = method == "POST";
    match path.rsplit('/').next().unwrap_or("") {
        "completions" if post => Endpoint::Chat,
        "embeddings" if post => Endpoint::Embeddings,
        "models" => Endpoint::Models,
        "get_server_info" | "server_info" | "get_model_info" | "model_info" => Endpoint::Info,
        "health" | "health_generate" | "version" | "" => Endpoint::Health,
        _ => Endpoint::Unknown,
    }
}

fn wish(endpoint: Endpoint, body: &[u8]) -> Wish {
    let marker = marker(body);
    let number = |key| value(marker, key).and_then(|v| v.parse().ok());
    let (rows, dimensions) = value(marker, "e").and_then(|v| v.split_once('x')).unwrap_or_default();
    let stream = endpoint == Endpoint::Chat && switched_on(body, b"\"stream\"");
    Wish {
        endpoint,
        stream,
        usage: stream && switched_on(body, b"\"include_usage\""),
        chunks: number("n").unwrap_or(16).min(999_999),
        gap_us: number("us").unwrap_or(0),
        size: number("sz").unwrap_or(1024).min(BODY_LIMIT as u64) as usize,
        ttft_us: number("ttft").unwrap_or(0),
        rows: rows.parse().unwrap_or(1).min(4096),
        dimensions: dimensions.parse().unwrap_or(1024).min(8192),
    }
}

fn marker(body: &[u8]) -> &str {
    const OPEN: &[u8] = b"@@mock ";
    let span = || -> Option<Range<usize>> {
        let start = memmem::find(body, OPEN)? + OPEN.len();
        let rest = &body[start..body.len().min(start + 200)];
        Some(start..start + memmem::find(rest, b"@@")?)
    };
    span().and_then(|s| std::str::from_utf8(&body[s]).ok()).unwrap_or("")
}

fn value<'m>(marker: &'m str, key: &str) -> Option<&'m str> {
    marker.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// Whether the member `name` (with its quotes) is `true`, as far as text can tell. Within a string
/// the quotes would be escaped, so the text of a message cannot be taken for it.
fn switched_on(body: &[u8], name: &[u8]) -> bool {
    let Some(at) = memmem::find(body, name) else { return false };
    let rest = &body[at + name.len()..];
    let value = rest.iter().position(|c| !matches!(c, b' ' | b':' | b'\n' | b'\r' | b'\t'));
    value.is_some_and(|at| rest[at..].starts_with(b"true"))
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, Parsed, Request, parse};

    const BODY: &str =
        r#"{"stream": true,"stream_options":{"include_usage":true},"x":"@@mock n=3 us=50 e=2x8@@"}"#;

    fn whole(text: &str) -> Request {
        for cut in 0..text.len() {
            assert!(matches!(parse(&text.as_bytes()[..cut]), Parsed::Partial { .. }), "{cut}");
        }
        match parse(text.as_bytes()) {
            Parsed::Whole(request) => request,
            _ => unreachable!("{text}"),
        }
    }

    #[test]
    fn the_marker_and_the_two_switches_are_read() {
        let text =
            format!("POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
        let request = whole(&text);
        assert_eq!((request.length, request.keep), (text.len(), true));
        let wish = request.wish;
        assert_eq!((wish.endpoint, wish.stream, wish.usage), (Endpoint::Chat, true, true));
        assert_eq!((wish.chunks, wish.gap_us, wish.rows, wish.dimensions), (3, 50, 2, 8));
        assert_eq!((wish.size, wish.ttft_us), (1024, 0));
    }

    #[test]
    fn a_chunked_body_is_the_same_request() {
        let (a, b) = BODY.split_at(11);
        let text = format!(
            "POST /completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
             {:x}\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n",
            a.len(),
            b.len()
        );
        let request = whole(&text);
        assert_eq!((request.length, request.keep), (text.len(), false));
        assert!(request.wish.stream && request.wish.usage && request.wish.chunks == 3);
    }

    #[test]
    fn what_is_no_request_is_bad() {
        for bad in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        ] {
            assert!(matches!(parse(bad.as_bytes()), Parsed::Bad), "{bad}");
        }
    }
}
