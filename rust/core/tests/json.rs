//! The shared corpus over RFC 8259: what is JSON is accepted, alone and inside a request, and nothing else is.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::LazyLock;

use levada_core::json;
use levada_core::profile::Profile;
use levada_core::request::{self, Endpoint};
use proptest::prelude::*;

/// A chat request under the base profile.
fn read(body: &[u8]) -> Result<request::Request, levada_core::refusal::Refusal> {
    static BASE: LazyLock<Profile> = LazyLock::new(|| {
        let all: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/vectors/profiles.json")).unwrap();
        Profile::parse(all["openai"].to_string().as_bytes()).unwrap()
    });
    request::read(&BASE, BASE.rules(Endpoint::Chat).unwrap(), body)
}

fn corpus() -> Vec<(bool, &'static str, Vec<u8>)> {
    let unhex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let lines = include_str!("../../../tests/vectors/json.tsv").lines();
    lines
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let columns: Vec<_> = line.split('\t').collect();
            (columns[0] == "accept", columns[1], unhex(columns.get(2).unwrap_or(&"")))
        })
        .collect()
}

#[test]
fn the_corpus_is_judged_right() {
    let corpus = corpus();
    let accepted = corpus.iter().filter(|(accept, ..)| *accept).count();
    assert!(accepted >= 95 && corpus.len() - accepted >= 188);
    for (accept, name, text) in &corpus {
        assert_eq!(json::check(text).is_ok(), *accept, "{name}");
        let around =
            [&br#"{"model":"m","messages":[{"role":"user","content":"x"}],"x":"#[..], text, b"}"].concat();
        if *accept && text.len() < 60 {
            assert!(read(&around).is_ok(), "{name}, inside a request");
        }
        if !*accept {
            assert!(read(text).is_err(), "{name}, as a request");
        }
    }
}

proptest! {
    /// A slow, obvious reader agrees on everything but lone surrogates and depth, where it is laxer or stricter.
    #[test]
    fn serde_json_agrees(text in r#"[\[\]{},:"0-9eE+.\\untrufalsb -]{0,24}"#) {
        let ours = json::check(text.as_bytes()).is_ok();
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        if ours {
            prop_assert!(theirs, "{}", text);
        } else if theirs {
            // IgnoredAny does not look into escapes.
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_err(), "{}", text);
        }
    }
}
