//! The front check as a table.

use http::Request;

use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 16384, headers: 64 };

/// Method, target, headers, and what is wrong with them.
type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)], Option<Kind>);

fn parts(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn verdict(method: &str, target: &str, headers: &[(&str, &str)]) -> Option<Kind> {
    let parts = parts(method, target, headers);
    let route = if target.contains("/models/") { Route::Model("m".into()) } else { Route::Models };
    check(&parts, Framing::Encoded, LIMITS)
        .and_then(|()| check_inference(&parts, &route))
        .and_then(|()| if method == "POST" { check_media(&parts.headers, Form::Json) } else { Ok(()) })
        .err()
        .map(|refusal| refusal.kind())
}

#[test]
fn the_host_that_is_meant() {
    let named = |target: &str, headers: &[(&str, &str)]| {
        let parts = parts("GET", target, headers);
        host_named(Some(&parts.uri), &parts.headers).map(str::to_owned)
    };
    assert_eq!(named("/", &[HOST_LINE]).as_deref(), Some("api.example.com:8080"));
    // HTTP/2 names it in the target; what else is there has been compared with it.
    assert_eq!(named("https://api.example.com/v1/models", &[]).as_deref(), Some("api.example.com"));
    assert_eq!(named("/", &[]), None);
    assert_eq!(named("/", &[HOST_LINE, HOST_LINE]), None);
    assert_eq!(named("/", &[("host", "\u{fc}")]), None);
}

#[test]
fn the_table() {
    for (method, target, headers, expected) in CASES {
        assert_eq!(verdict(method, target, headers), *expected, "{method} {target} {headers:?}");
    }
}

const HOST_LINE: (&str, &str) = ("host", "api.example.com:8080");
const CHAT: &str = "/v1/chat/completions";
const CASES: &[Case] = &[
    ("POST", CHAT, &[HOST_LINE], None),
    ("GET", "/v1/models?limit=1", &[HOST_LINE], None),
    ("POST", CHAT, &[HOST_LINE, ("content-type", "application/json; charset=utf-8")], None),
    ("POST", CHAT, &[HOST_LINE, ("content-type", "Application/JSON")], None),
    ("POST", CHAT, &[HOST_LINE, ("content-type", "text/plain")], Some(Kind::ContentType)),
    (
        "POST",
        CHAT,
        &[HOST_LINE, ("content-type", "application/json"), ("content-type", "text/plain")],
        Some(Kind::ContentType),
    ),
    ("POST", CHAT, &[HOST_LINE, ("content-type", "application/jsonl")], Some(Kind::ContentType)),
    ("POST", CHAT, &[HOST_LINE, ("content-encoding", "gzip")], Some(Kind::ContentEncoding)),
    ("POST", CHAT, &[HOST_LINE, ("content-encoding", "identity")], None),
    ("POST", CHAT, &[], Some(Kind::BadHost)),
    ("POST", CHAT, &[HOST_LINE, HOST_LINE], Some(Kind::BadHost)),
    ("POST", CHAT, &[("host", "")], Some(Kind::BadHost)),
    ("POST", CHAT, &[("host", "x/v1/models?")], Some(Kind::BadHost)),
    ("POST", CHAT, &[("host", "user@x")], Some(Kind::BadHost)),
    ("POST", CHAT, &[("host", "x:")], Some(Kind::BadHost)),
    ("POST", CHAT, &[("host", "x:123456")], Some(Kind::BadHost)),
    ("POST", CHAT, &[("host", "x y")], Some(Kind::BadHost)),
    ("POST", CHAT, &[("host", "a:b:1")], Some(Kind::BadHost)),
    ("POST", CHAT, &[("host", "[::1]:8080")], None),
    ("POST", CHAT, &[("host", "[::1]")], None),
    ("POST", CHAT, &[("host", "[zz]")], Some(Kind::BadHost)),
    ("POST", CHAT, &[("host", "::1")], Some(Kind::BadHost)),
    (
        "POST",
        CHAT,
        &[HOST_LINE, ("authorization", "a"), ("authorization", "b")],
        Some(Kind::TwoAuthorizations),
    ),
    ("POST", CHAT, &[HOST_LINE, ("transfer-encoding", "chunked")], None),
    ("POST", CHAT, &[HOST_LINE, ("transfer-encoding", "gzip, chunked")], Some(Kind::BadFraming)),
    (
        "POST",
        CHAT,
        &[HOST_LINE, ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        Some(Kind::BadFraming),
    ),
    ("POST", CHAT, &[HOST_LINE, ("expect", "100-continue")], None),
    ("POST", CHAT, &[HOST_LINE, ("expect", "200-ok")], Some(Kind::Expectation)),
    ("GET", CHAT, &[HOST_LINE, ("upgrade", "websocket")], Some(Kind::BadHeader)),
    ("GET", CHAT, &[HOST_LINE, ("upgrade", "h2c")], None),
    ("CONNECT", "api.example.com:443", &[HOST_LINE], Some(Kind::MethodNotAllowed)),
    ("TRACE", "/", &[HOST_LINE], Some(Kind::MethodNotAllowed)),
    ("OPTIONS", "*", &[HOST_LINE], Some(Kind::BadTarget)),
    ("GET", "http://evil.example/v1/models", &[HOST_LINE], Some(Kind::BadTarget)),
    ("GET", "/v1//models", &[HOST_LINE], Some(Kind::BadTarget)),
    ("GET", "/v1/../models", &[HOST_LINE], Some(Kind::BadTarget)),
    ("GET", "/v1/models/..", &[HOST_LINE], Some(Kind::BadTarget)),
    ("GET", "/v1/models/a..b", &[HOST_LINE], None),
    ("GET", "/v1/models/org/name", &[HOST_LINE], None),
    ("GET", "/v1/models/a%2fb", &[HOST_LINE], None),
    ("GET", "/models/a%2fb", &[HOST_LINE], None),
    ("POST", "/v1/chat%2fcompletions", &[HOST_LINE], Some(Kind::BadTarget)),
    ("GET", "/v1/models\\x", &[HOST_LINE], Some(Kind::BadTarget)),
    ("GET", "/v1/models;a=b", &[HOST_LINE], Some(Kind::BadTarget)),
    ("GET", "/v1/models/é", &[HOST_LINE], Some(Kind::BadTarget)),
];

#[test]
fn a_body_with_two_lengths_or_an_unseen_head_is_refused() {
    let parts = parts("POST", "/", &[("host", "a"), ("transfer-encoding", "chunked")]);
    for framing in [Framing::Both, Framing::Unseen, Framing::Plain] {
        assert_eq!(check(&parts, framing, LIMITS).unwrap_err().kind(), Kind::BadFraming, "{framing:?}");
    }
}

#[test]
fn a_head_has_a_size() {
    let fits = "x".repeat(16384 - 100);
    assert_eq!(verdict("GET", "/", &[("host", "a"), ("a", &fits)]), None);
    let long = "x".repeat(17 * 1024);
    assert_eq!(verdict("GET", "/", &[("host", "a"), ("a", &long)]), Some(Kind::HeadersTooLarge));
    let path = format!("/{long}");
    assert_eq!(verdict("GET", &path, &[("host", "a")]), Some(Kind::HeadersTooLarge));
    let mut many = vec![("a", "b"); 63];
    many.push(("host", "a"));
    assert_eq!(verdict("GET", "/", &many), None);
    many.push(("a", "b"));
    assert_eq!(verdict("GET", "/", &many), Some(Kind::HeadersTooLarge));
}

#[test]
fn http2_and_http10_name_their_host_in_their_own_way() {
    let mut two = parts("GET", "http://a.example/v1/models", &[]);
    two.version = Version::HTTP_2;
    assert!(check(&two, Framing::Unseen, LIMITS).is_ok());
    assert_eq!(host_of(&two).unwrap(), "a.example");
    two.headers.insert(HOST, HeaderValue::from_static("b.example"));
    assert_eq!(check(&two, Framing::Unseen, LIMITS).unwrap_err().kind(), Kind::BadHost);
    let mut old = parts("GET", "/", &[]);
    old.version = Version::HTTP_10;
    assert!(check(&old, Framing::Plain, LIMITS).is_ok());
}

#[test]
fn the_refused_type_is_named() {
    let parts = parts("POST", "/", &[("content-type", "text/plain; a=b")]);
    let said = |form| {
        let refusal = check_media(&parts.headers, form).unwrap_err();
        String::from_utf8(refusal.body(levada_core::endpoint::Dialect::Chunks).to_vec()).unwrap()
    };
    assert!(said(Form::Json).contains("'text/plain'. This API method only accepts 'application/json'"));
    assert!(
        said(Form::Multipart).contains("'text/plain'. This API method only accepts 'multipart/form-data'")
    );
}

#[test]
fn a_form_says_its_boundary() {
    for (value, fits) in [
        (Some("multipart/form-data; boundary=x"), true),
        (Some("multipart/form-data"), false),
        (Some("application/json"), false),
        (None, false),
    ] {
        let headers: Vec<_> = value.map(|value| ("content-type", value)).into_iter().collect();
        let parts = parts("POST", "/", &headers);
        assert_eq!(check_media(&parts.headers, Form::Multipart).is_ok(), fits, "{value:?}");
    }
}
