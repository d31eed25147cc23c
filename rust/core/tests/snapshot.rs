//! The snapshot document: what a good one means, and that a bad one is refused with every problem and no secret.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use levada_core::bounds;
use levada_core::breaker::Rules;
use levada_core::profile::Profile;
use levada_core::snapshot::{Deadlines, Snapshot};
use proptest::prelude::*;
use serde_json::{Value, json};

fn document() -> Value {
    json!({
        "version": 3,
        "auth": {"pepper": "5a".repeat(32)},
        "backends": [
            {"name": "gpu-1", "url": "http://127.0.0.1:8000", "path": "/v1", "key": null, "verify": true, "ca": null},
            {"name": "gpu-2", "url": "https://[::1]", "path": "", "key": "hidden-key", "verify": false,
             "ca": "-----BEGIN CERTIFICATE-----\nhidden-ca"},
            {"name": "spare", "url": "http://spare", "path": "/api", "key": null, "verify": true, "ca": null},
        ],
        "models": [
            {"name": "smol\"lm", "created": 1_700_000_000, "owned_by": "levada", "pool": [
                {"backend": "gpu-2", "upstream": "smol\"lm"}, {"backend": "gpu-1", "upstream": "Smol\\LM2"}]},
            {"name": "empty", "created": 0, "owned_by": "nobody", "pool": []},
        ],
        "deadlines": {"connect": 2.0, "first_byte": 120.0, "idle": 0.5, "total": 3600},
        "limits": {"body_bytes": 20_971_520, "event_bytes": 1_048_576},
        "retry": {"ratio": 0.1, "per_second": 3.0},
        "breaker": {"failures": 3, "open_seconds": 5.0},
        "profiles": [{"name": "p", "base_paths": ["/v1"], "denied": [], "null_counts": false, "severs": false, "schema_fallback": "none", "lists_category": false, "lists_live": true, "endpoints": {},
            "errors": {"code_null": false, "no_retry_after": false, "flat_overflow": false, "code_keep": []}}],
        "hosts": {"api.flex.example": 0},
        "origins": [],
        "tls": {"certificate": "-----BEGIN CERTIFICATE-----\nx", "key": "-----BEGIN PRIVATE KEY-----\nhidden-tls"},
    })
}

fn problems(document: &Value) -> Vec<String> {
    Snapshot::parse(document.to_string().as_bytes()).unwrap_err()
}

/// The problems of the good document with one value changed.
fn changed(pointer: &str, value: Value) -> Vec<String> {
    let mut document = document();
    *document.pointer_mut(pointer).unwrap() = value;
    problems(&document)
}

#[test]
fn a_document_is_read() {
    let snapshot = Snapshot::parse(document().to_string().as_bytes()).unwrap();
    assert_eq!(
        (snapshot.version, snapshot.body_bytes, snapshot.event_bytes),
        (3, Some(20_971_520), 1_048_576)
    );
    assert_eq!((snapshot.retry_ratio, snapshot.retry_per_second), (0.1, 3.0));
    assert_eq!(snapshot.breaker, Rules { failures: 3, open_ms: 5_000 });
    let deadlines = Deadlines {
        connect: Duration::from_secs(2),
        first_byte: Duration::from_secs(120),
        idle: Duration::from_millis(500),
        total: Duration::from_secs(3600),
    };
    assert_eq!(snapshot.deadlines, deadlines);
    let tls = snapshot.tls.as_ref().unwrap();
    assert!(tls.certificate.ends_with('x') && tls.key.reveal().ends_with("hidden-tls"));
}

#[test]
fn backends_are_read() {
    let snapshot = Snapshot::parse(document().to_string().as_bytes()).unwrap();
    let [first, second, _] = snapshot.backends.as_slice() else { panic!("three backends") };
    assert_eq!((&*first.name, first.secure, &*first.host, first.port), ("gpu-1", false, "127.0.0.1", 8000));
    assert_eq!((&*first.authority, &*first.path, first.verify), ("127.0.0.1:8000", "/v1", true));
    assert!(first.key.is_none() && first.ca.is_none());
    assert_eq!((&*second.name, second.secure, &*second.host, second.port), ("gpu-2", true, "::1", 443));
    assert_eq!((&*second.authority, &*second.path, second.verify), ("[::1]", "", false));
    assert_eq!(second.key.as_ref().unwrap().reveal(), "hidden-key");
    assert!(second.ca.is_some());
}

#[test]
fn models_are_read_and_listed() {
    let snapshot = Snapshot::parse(document().to_string().as_bytes()).unwrap();
    let model = snapshot.model("smol\"lm").unwrap();
    let [same, renamed] = model.pool.as_slice() else { panic!("two members") };
    assert_eq!((same.backend, same.renamed, &*same.upstream_json), (1, false, r#""smol\"lm""#));
    assert_eq!((renamed.backend, renamed.renamed, &*renamed.upstream), (0, true, "Smol\\LM2"));
    assert_eq!(&*renamed.upstream_json, r#""Smol\\LM2""#);
    assert!(snapshot.model("empty").unwrap().pool.is_empty());
    assert!(snapshot.model("Empty").is_none());

    let first = r#"{"id":"smol\"lm","object":"model","created":1700000000,"owned_by":"levada"}"#;
    let second = r#"{"id":"empty","object":"model","created":0,"owned_by":"nobody"}"#;
    let profile = snapshot.hosts.usual();
    assert_eq!(model.listed(profile), first);
    assert_eq!(snapshot.model("empty").unwrap().listed(profile), second);
    let mut told = Profile::clone(profile);
    told.lists_category = true;
    assert!(model.listed(&told).ends_with(br#","owned_by":"levada","category":"text"}"#));
}

#[test]
fn what_may_be_empty_or_missing() {
    let mut document = document();
    document["backends"] = json!([{"name": "b", "url": "http://b", "path": "", "verify": true}]);
    document["models"] = json!([]);
    document.as_object_mut().unwrap().remove("tls");
    let snapshot = Snapshot::parse(document.to_string().as_bytes()).unwrap();
    assert!(snapshot.models.is_empty() && snapshot.tls.is_none() && snapshot.model("").is_none());
}

#[test]
fn a_profile_has_its_own_body_limit() {
    let mut document = document();
    document["limits"]["body_bytes"] = json!(null);
    let second = document["profiles"][0].clone();
    document["profiles"].as_array_mut().unwrap().push(second);
    document["profiles"][1]["body_bytes"] = json!(5000);
    document["hosts"] = json!({"*.small.example": 1});
    let limit = |document: &Value, host: &str| {
        let snapshot = Snapshot::parse(document.to_string().as_bytes()).unwrap();
        snapshot.body_limit(snapshot.hosts.at(Some(host)))
    };
    assert_eq!(limit(&document, "api.small.example"), 5000);
    assert_eq!(limit(&document, "elsewhere.example") as u64, bounds::BODY_BYTES);
    document["limits"]["body_bytes"] = json!(7000);
    assert_eq!(limit(&document, "api.small.example"), 7000);
}

#[test]
fn secrets_do_not_show() {
    let snapshot = Snapshot::parse(document().to_string().as_bytes()).unwrap();
    let shown = format!("{snapshot:?}");
    assert!(
        !shown.contains("hidden-key") && !shown.contains("hidden-tls") && !shown.contains("5a5a"),
        "{shown}"
    );
}

#[test]
fn each_rule_has_its_problem() {
    const NAME: &str = "must be a name of 1 to 256 bytes without control characters";
    const SECONDS: &str = "must be a number from 0.001 to 604800";
    const URL: &str = "must be http:// or https://, a host and perhaps a port, without user, path or query";
    const PATH: &str = "must be empty or a path that starts and does not end with '/'";
    const HOSTS: &str = "must be names of hosts, each with the place of its profile";
    const KEY: &str = "must be printable ASCII or null";
    const HELD: &str = "must be a whole number from 1 to 1073741824";
    let rows = [
        ("/version", json!(-1), "version: must be a whole number from 0 to 18446744073709551615"),
        ("/auth/pepper", json!("5a"), "auth.pepper: must be 64 hexadecimal digits"),
        ("/auth", json!([]), "auth: must be an object"),
        ("/backends/2/name", json!("gpu-1"), "backends[2].name: 'gpu-1' is there twice"),
        ("/backends/0/url", json!("http://me:hidden@gpu-1"), &format!("backends[0].url: {URL}")),
        ("/backends/0/path", json!("v1"), &format!("backends[0].path: {PATH}")),
        ("/backends/0/key", json!("hidden\r\nX: y"), &format!("backends[0].key: {KEY}")),
        ("/backends/0/key", json!("hidden\0"), &format!("backends[0].key: {KEY}")),
        ("/backends/0/key", json!(""), &format!("backends[0].key: {KEY}")),
        ("/backends/0/verify", json!("yes"), "backends[0].verify: must be true or false"),
        ("/backends/0/ca", json!("ca.pem"), "backends[0].ca: must be PEM with a certificate"),
        ("/models/1/name", json!("smol\"lm"), "models[1].name: 'smol\"lm' is there twice"),
        ("/models/0/name", json!("a\nb"), &format!("models[0].name: {NAME}")),
        ("/models/0/name", json!("x".repeat(257)), &format!("models[0].name: {NAME}")),
        (
            "/models/0/created",
            json!(1.5),
            "models[0].created: must be a whole number from 0 to 18446744073709551615",
        ),
        ("/models/0/pool", json!({}), "models[0].pool: must be an array"),
        ("/models/0/pool/1/backend", json!("x"), "models[0].pool[1].backend: no backend is named 'x'"),
        ("/models/0/pool/1/upstream", json!(""), &format!("models[0].pool[1].upstream: {NAME}")),
        ("/models/0/pool/1", json!("gpu-1"), "models[0].pool[1]: must be an object"),
        ("/deadlines/idle", json!(0), &format!("deadlines.idle: {SECONDS}")),
        ("/deadlines/total", json!(1e300), &format!("deadlines.total: {SECONDS}")),
        ("/limits/body_bytes", json!(0), &format!("limits.body_bytes: {HELD}, or null")),
        ("/limits/event_bytes", json!("1"), &format!("limits.event_bytes: {HELD}")),
        ("/retry/ratio", json!(1.5), "retry.ratio: must be a number from 0 to 1"),
        ("/retry/per_second", json!(-1), "retry.per_second: must be a number from 0 to 1000000"),
        ("/breaker/failures", json!(0), "breaker.failures: must be a whole number from 1 to 1000000"),
        ("/breaker/open_seconds", json!(null), &format!("breaker.open_seconds: {SECONDS}")),
        ("/tls/key", json!("hidden"), "tls.key: must be PEM with a private key"),
        ("/tls/certificate", json!("x"), "tls.certificate: must be PEM with a certificate"),
        ("/profiles/0/base_paths/0", json!("v1"), &format!("profiles[0].base_paths: {PATH}")),
        ("/hosts/api.flex.example", json!(1), &format!("hosts: {HOSTS}")),
        ("/hosts", json!({"a/b": 0}), &format!("hosts: {HOSTS}")),
        ("", json!([]), "document: must be an object"),
    ];
    for (pointer, value, problem) in rows {
        assert_eq!(changed(pointer, value), [problem], "{pointer}");
    }
}

#[test]
fn every_problem_at_once() {
    let mut document = document();
    document["colour"] = json!("red");
    document["backends"][0]["weight"] = json!(1);
    document["models"][0]["pool"][0]["backend"] = json!("x");
    document["limits"] = json!({});
    document.as_object_mut().unwrap().remove("deadlines");
    let expected = [
        "backends[0].weight: is not known",
        "models[0].pool[0].backend: no backend is named 'x'",
        "deadlines: is missing",
        "limits.event_bytes: is missing",
        "colour: is not known",
    ];
    assert_eq!(problems(&document), expected);
    assert_eq!(problems(&json!({})).len(), 10);
}

#[test]
fn what_is_not_json_is_one_problem() {
    let whole = document().to_string();
    for text in ["", "{", "nul", &whole[..whole.len() - 1], &format!("{whole}x")] {
        let problems = Snapshot::parse(text.as_bytes()).unwrap_err();
        assert!(
            problems.len() == 1 && problems[0].starts_with("document: is not JSON at line 1"),
            "{problems:?}"
        );
    }
    assert_eq!(Snapshot::parse(b"\"\xff\"").unwrap_err().len(), 1);
    assert_eq!(Snapshot::parse("[".repeat(10_000).as_bytes()).unwrap_err().len(), 1);
}

/// Every place of the document that holds a value.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, inner)| pointers(inner, &format!("{at}/{name}"), found));
        }
        Value::Array(elements) => {
            elements
                .iter()
                .enumerate()
                .for_each(|(index, inner)| pointers(inner, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn a_foreign_value_anywhere_is_refused_and_not_repeated(place in any::<prop::sample::Index>()) {
        let mut document = document();
        let mut places = Vec::new();
        pointers(&document, "", &mut places);
        *document.pointer_mut(place.get::<String>(&places)).unwrap() = json!([["hidden"]]);
        let problems = problems(&document);
        prop_assert!(!problems.is_empty());
        prop_assert!(!problems.iter().any(|problem| problem.contains("hidden")));
    }
}
