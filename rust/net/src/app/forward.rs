//! The headers of a relayed message: what ends at this hop, and what we say about the client.
//!
//! Law: RFC 9110 7.6.1 in both directions. `x-levada-*` is ours alone; `x-forwarded-*` is ours unless a trusted proxy sent it.

use std::net::IpAddr;

use http::header::{
    CONNECTION, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, SERVER, TE, TRANSFER_ENCODING, UPGRADE,
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Who sent a request, and by which door.
#[derive(Debug, Clone, Copy)]
pub struct Visitor {
    /// The peer of the connection.
    pub peer: IpAddr,
    /// Whether the connection is encrypted.
    pub secure: bool,
    /// Whether it came through the admin listener.
    pub admin: bool,
}

/// Makes a client's headers those of the request to the app.
pub fn to_app(headers: &mut HeaderMap, visitor: &Visitor, host: Option<HeaderValue>, trusted: bool) {
    end_here(headers);
    // It has been met: the client's body is on its way.
    headers.remove(EXPECT);
    drop_named(headers, |name| {
        name.starts_with("x-levada-")
            || (!trusted && (name.starts_with("x-forwarded-") || name == "x-real-ip"))
    });
    if !trusted {
        headers.remove(FORWARDED);
    }
    let mut way = Vec::new();
    for hop in headers.get_all(&FORWARDED_FOR) {
        way.extend_from_slice(hop.as_bytes());
        way.extend_from_slice(b", ");
    }
    way.extend_from_slice(visitor.peer.to_canonical().to_string().as_bytes());
    if let Ok(way) = HeaderValue::from_bytes(&way) {
        headers.insert(FORWARDED_FOR, way);
    }
    let proto = if visitor.secure { "https" } else { "http" };
    headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static(proto));
    match host {
        Some(host) => {
            headers.entry(FORWARDED_HOST).or_insert_with(|| host.clone());
            headers.insert(HOST, host);
        }
        // HTTP/1.0 need not name a host; HTTP/1.1, which the app is spoken to in, must.
        None => drop(headers.insert(HOST, HeaderValue::from_static("localhost"))),
    }
}

/// Makes the app's headers those of the answer to the client.
pub fn from_app(headers: &mut HeaderMap) {
    end_here(headers);
    // The product's name, and neither the host server nor its version.
    headers.insert(SERVER, HeaderValue::from_static("levada"));
    drop_named(headers, |name| name.starts_with("x-levada-"));
}

/// Removes what is meant for one hop: the fixed list and whatever `Connection` names.
fn end_here(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    let fixed = [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    for name in named.iter().chain(&fixed) {
        headers.remove(name);
    }
}

fn drop_named(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn seen(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    fn relayed(pairs: &[(&'static str, &'static str)], trusted: bool) -> Vec<String> {
        let mut headers = map(pairs);
        let visitor = Visitor { peer: "192.0.2.7".parse().unwrap(), secure: true, admin: false };
        to_app(&mut headers, &visitor, Some(HeaderValue::from_static("api.example")), trusted);
        seen(&headers)
    }

    const OURS: [&str; 4] = [
        "host: api.example",
        "x-forwarded-for: 192.0.2.7",
        "x-forwarded-host: api.example",
        "x-forwarded-proto: https",
    ];

    #[test]
    fn hop_by_hop_ends_here() {
        let sent = [
            ("connection", "close, x-private , keep-alive"),
            ("x-private", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "x"),
            ("expect", "100-continue"),
        ];
        assert_eq!(relayed(&sent, false), OURS);
        assert_eq!(relayed(&[("connection", "x-forwarded-for, host"), ("host", "a")], false), OURS);
    }

    #[test]
    fn what_a_stranger_says_of_itself_is_dropped() {
        let sent = [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-port", "1"),
            ("x-real-ip", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("x-levada-door", "guess"),
        ];
        assert_eq!(relayed(&sent, false), OURS);
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_added_to_the_way() {
        let sent =
            [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "http"), ("x-levada-door", "guess")];
        let mut expected = OURS.map(str::to_owned);
        expected[1] = "x-forwarded-for: 203.0.113.9, 192.0.2.7".to_owned();
        expected[3] = "x-forwarded-proto: http".to_owned();
        assert_eq!(relayed(&sent, true), expected);
    }

    #[test]
    fn the_answer_keeps_what_is_for_the_client() {
        let mut headers = map(&[
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("server", "granian"),
            ("transfer-encoding", "chunked"),
            ("content-type", "text/html"),
            ("set-cookie", "a=b"),
            ("x-levada-door", "t"),
        ]);
        from_app(&mut headers);
        assert_eq!(seen(&headers), ["content-type: text/html", "server: levada", "set-cookie: a=b"]);
    }
}
