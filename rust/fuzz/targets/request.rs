//! Any bytes as a request body: what is accepted is JSON, and the edited body says the same but for the edits.
#![no_main]

use bytes::Bytes;
use levada_core::counts::Counts;
use levada_core::lacks::Lacks;
use levada_core::profile::Profile;
use levada_core::endpoint::{Endpoint, Form};
use levada_core::request::{self, Name};
use levada_core::splice;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use std::sync::LazyLock;

/// The built-in profiles, as the control plane compiles them.
static PROFILES: LazyLock<Vec<Profile>> = LazyLock::new(|| {
    let text = include_str!("../../../tests/vectors/profiles.json");
    let all: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).expect("the vectors are JSON");
    all.values().map(|one| Profile::parse(one.to_string().as_bytes()).expect("a profile")).collect()
});

/// Backends that lack nothing, and others.
static LACKS: LazyLock<Vec<Lacks>> = LazyLock::new(|| {
    let words: [&[&str]; 4] = [&[], &["null", "base64", "guided"], &["max_tokens"], &["max_completion_tokens", "null"]];
    words.iter().filter_map(|words| Lacks::of(words.iter().copied())).collect()
});

/// Nothing asked for the meter, or what each kind of backend is asked.
const ASKED: [Option<Counts>; 4] = [None, Some(Counts::Final), Some(Counts::Usage), Some(Counts::Timings)];

fuzz_target!(|body: &[u8]| {
    let endpoints = PROFILES.iter().flat_map(|profile| {
        let all = Endpoint::all().filter(|endpoint| endpoint.form() == Form::Json);
        all.map(move |endpoint| (profile, endpoint))
    });
    for (profile, endpoint) in endpoints {
        let Some(rules) = profile.rules(endpoint) else { continue };
        let Ok(request) = request::read(profile, rules, body) else { continue };
        assert!(is_json(body));
        let upstreams = [None, Some(Name { plain: "up\"stream", json: r#""up\"stream""# })];
        for (upstream, lacks) in upstreams.iter().flat_map(|name| LACKS.iter().map(move |lacks| (*name, lacks))) {
            for ask in ASKED.into_iter().filter(|ask| ask.is_none() || endpoint.asks_usage()) {
                let edits = request.edits(upstream, ask, lacks);
                let unchanged = edits.is_empty();
                let edited = splice::apply(Bytes::copy_from_slice(body), edits);
                assert!(is_json(&edited));
                assert!(!unchanged || edited == body);
                // Under its other name a limit may be one that the profile checks and did not check before.
                if lacks.max_tokens || lacks.max_completion_tokens {
                    continue;
                }
                let again = request::read(profile, rules, &edited).expect("an edited request is a request");
                let model = upstream.map_or(request.model.as_deref(), |name| Some(name.plain));
                assert_eq!(again.model.as_deref(), model);
                let asked = ask.filter(|_| request.stream);
                assert!(again.include_usage() >= request.include_usage());
                assert!(again.include_usage() == request.include_usage() || asked.is_some());
                if let Some(counts) = asked.filter(|_| again.include_usage()) {
                    assert!(counts == Counts::Final || again.running(counts));
                }
                assert!(!(again.wants_base64() && lacks.base64));
                let rest = |request: &request::Request| (request.stream, request.n, request.max_tokens);
                assert_eq!(rest(&again), rest(&request));
                let mut edits = request.edits(upstream, ask, lacks);
                edits.extend(request.one_choice(7));
                let one = splice::apply(Bytes::copy_from_slice(body), edits);
                assert!(is_json(&one));
                if request.choices() > 1 {
                    assert_eq!(request::read(profile, rules, &one).expect("one choice is a request").n, 1);
                }
            }
        }
    }
});

fn is_json(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok() && serde_json::from_slice::<IgnoredAny>(text).is_ok()
}
