//! The address of a backend: scheme, host, port; nothing else may stand in it.
//!
//! Law: what is read here is connected to and written into a `Host` header, so only characters of host names pass.

use std::net::Ipv6Addr;

/// What belongs in the field.
pub(super) const FORM: &str =
    "must be http:// or https://, a host and perhaps a port, without user, path or query";

/// A checked address.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub secure: bool,
    pub host: Box<str>,
    pub port: u16,
    pub authority: Box<str>,
}

/// Reads `scheme://host[:port]`. The text may hold a password, so the error says nothing of it.
pub(super) fn read(text: &str) -> Result<Target, ()> {
    let (scheme, authority) = text.split_once("://").ok_or(())?;
    let (secure, usual) = match scheme {
        "http" => (false, 80),
        "https" => (true, 443),
        _ => return Err(()),
    };
    let (host, rest) = match authority.strip_prefix('[') {
        Some(inside) => inside.split_once(']').ok_or(())?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let bracketed = authority.starts_with('[');
    let valid = if bracketed { host.parse::<Ipv6Addr>().is_ok() } else { is_host(host) };
    let port = match rest.strip_prefix(':') {
        Some(digits) => port(digits).ok_or(())?,
        None if rest.is_empty() => usual,
        None => return Err(()),
    };
    if !valid {
        return Err(());
    }
    let shown = if bracketed { format!("[{host}]") } else { host.to_owned() };
    let authority = if port == usual { shown } else { format!("{shown}:{port}") };
    Ok(Target { secure, host: host.into(), port, authority: authority.into() })
}

pub(crate) const PATH: &str = "must be empty or a path that starts and does not end with '/'";

/// Whether `text` may be put before `/chat/completions` in a request line.
pub(crate) fn is_path(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'\\');
    text.is_empty() || (text.starts_with('/') && !text.ends_with('/') && text.bytes().all(plain))
}

fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=253).contains(&text.len()) && text.bytes().all(plain)
}

fn port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|&port| plain && port != 0)
}

#[cfg(test)]
mod tests {
    use super::{is_path, read};

    #[test]
    fn addresses() {
        let rows = [
            ("http://gpu-1", false, "gpu-1", 80, "gpu-1"),
            ("http://127.0.0.1:8000", false, "127.0.0.1", 8000, "127.0.0.1:8000"),
            ("https://gpu_1.example.org", true, "gpu_1.example.org", 443, "gpu_1.example.org"),
            ("https://gpu-1:443", true, "gpu-1", 443, "gpu-1"),
            ("http://gpu-1:443", false, "gpu-1", 443, "gpu-1:443"),
            ("http://[::1]", false, "::1", 80, "[::1]"),
            ("https://[fe80::1]:8443", true, "fe80::1", 8443, "[fe80::1]:8443"),
        ];
        for (text, secure, host, port, authority) in rows {
            let target = read(text).unwrap();
            let seen = (target.secure, &*target.host, target.port, &*target.authority);
            assert_eq!(seen, (secure, host, port, authority), "{text}");
        }
    }

    #[test]
    fn what_is_no_address() {
        let rows = [
            "",
            "gpu-1",
            "gpu-1:8000",
            "ftp://gpu-1",
            "http://",
            "http://:80",
            "http:/gpu-1",
            "http://gpu-1/",
            "http://gpu-1/v1",
            "http://gpu-1?x",
            "http://gpu-1#x",
            "http://me:pw@gpu-1",
            "http://me@gpu-1",
            "http://gpu-1:",
            "http://gpu-1:0",
            "http://gpu-1:65536",
            "http://gpu-1:+80",
            "http://gpu-1:80:80",
            "http://::1",
            "http://[::1",
            "http://[::1]x",
            "http://[gpu-1]",
            "http://[fe80::1%eth0]",
            "http://gpu 1",
            "http://gpu-1\r\nx: y",
            "http://gpü",
            " http://gpu-1",
            "HTTP://gpu-1",
        ];
        for text in rows {
            assert_eq!(read(text), Err(()), "{text:?}");
        }
    }

    #[test]
    fn paths() {
        for text in ["", "/v1", "/api/v1", "/a%20b"] {
            assert!(is_path(text), "{text}");
        }
        for text in ["/", "v1", "/v1/", "/v1?x", "/v1#x", "/a b", "/a\r\nb", "/ü", "/a\\b"] {
            assert!(!is_path(text), "{text}");
        }
    }
}
