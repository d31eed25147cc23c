//! What the operator set for the edge, as one checked value.
//!
//! Law: the only reader of the edge document. Descriptors in it are adopted by the caller, not here.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use serde::Deserialize;

use crate::app::cidr::Cidr;
use crate::guard::Patience;
use crate::upload::Pace;

/// The document as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, rename = "public")]
    _public: Vec<i32>,
    #[serde(default, rename = "admin")]
    _admin: Vec<i32>,
    app: PathBuf,
    door_token: String,
    #[serde(default)]
    trusted_proxies: Vec<String>,
    #[serde(default = "yes")]
    drain_notice: bool,
    limits: Numbers,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    header_bytes: usize,
    headers: usize,
    head_seconds: f64,
    body_seconds: f64,
    body_rate: u64,
    keep_alive_seconds: f64,
    write_seconds: f64,
    connections: usize,
    connections_per_ip: usize,
}

/// The edge's settings, checked.
pub struct Settings {
    /// The app's unix socket.
    pub app: PathBuf,
    /// What tells the app that a request came through the admin listener.
    pub door_token: HeaderValue,
    /// Peers whose `x-forwarded-*` are believed.
    pub trusted_proxies: Vec<Cidr>,
    /// Whether draining turns readiness off.
    pub drain_notice: bool,
    /// The largest request head, in bytes.
    pub header_bytes: usize,
    /// The most header lines.
    pub headers: usize,
    /// The deadlines of a connection.
    pub patience: Patience,
    /// The deadlines of a request body.
    pub pace: Pace,
    /// The most connections held at once by one kind of listener.
    pub connections: usize,
    /// The most connections of one address; 0 means no such limit. Loopback is exempt.
    pub connections_per_ip: usize,
}

impl Settings {
    /// Reads and checks the document; every problem at once.
    pub fn read(document: &[u8]) -> Result<Self, Vec<String>> {
        let document: Document =
            serde_json::from_slice(document).map_err(|error| vec![format!("edge: {error}")])?;
        let limits = document.limits;
        let mut problems = Vec::new();
        let mut seconds = |name: &str, value: f64| {
            Duration::try_from_secs_f64(value).ok().filter(|time| !time.is_zero()).unwrap_or_else(|| {
                problems.push(format!("edge.limits.{name}: {value} is not a positive number of seconds"));
                Duration::ZERO
            })
        };
        let patience = Patience {
            head: seconds("head_seconds", limits.head_seconds),
            idle: seconds("keep_alive_seconds", limits.keep_alive_seconds),
            write: seconds("write_seconds", limits.write_seconds),
        };
        let pace =
            Pace { total: seconds("body_seconds", limits.body_seconds), bytes_per_second: limits.body_rate };
        for (name, value) in [
            ("header_bytes", limits.header_bytes),
            ("headers", limits.headers),
            ("connections", limits.connections),
        ] {
            if value == 0 {
                problems.push(format!("edge.limits.{name}: must be at least 1"));
            }
        }
        let mut trusted_proxies = Vec::new();
        for text in &document.trusted_proxies {
            match text.parse() {
                Ok(cidr) => trusted_proxies.push(cidr),
                Err(problem) => problems.push(format!("edge.trusted_proxies: {problem}")),
            }
        }
        let door_token = HeaderValue::from_str(&document.door_token).unwrap_or_else(|_| {
            problems.push("edge.door_token: not a header value".to_owned());
            HeaderValue::from_static("")
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            app: document.app,
            door_token,
            trusted_proxies,
            drain_notice: document.drain_notice,
            header_bytes: limits.header_bytes,
            headers: limits.headers,
            patience,
            pace,
            connections: limits.connections,
            connections_per_ip: limits.connections_per_ip,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(head_seconds: &str, proxy: &str) -> String {
        format!(
            r#"{{"public":[5],"admin":[6],"app":"/run/app.sock","door_token":"t","trusted_proxies":["{proxy}"],"drain_notice":true,
            "limits":{{"header_bytes":16384,"headers":64,"head_seconds":{head_seconds},"body_seconds":120.0,"body_rate":1024,
            "keep_alive_seconds":75.0,"write_seconds":30.0,"connections":10000,"connections_per_ip":0}}}}"#
        )
    }

    #[test]
    fn reads_the_documented_form() {
        let settings = Settings::read(document("10.0", "10.0.0.0/8").as_bytes()).unwrap();
        assert_eq!(settings.patience.head, Duration::from_secs(10));
        assert_eq!(settings.pace.bytes_per_second, 1024);
        assert_eq!(settings.trusted_proxies.len(), 1);
    }

    #[test]
    fn tells_every_problem() {
        let problems = Settings::read(document("-1", "10.0.0.0/99").as_bytes()).err().unwrap();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("head_seconds") && problems[1].contains("10.0.0.0/99"));
        assert!(Settings::read(b"{}").is_err());
    }
}
