//! Any bytes as a form: its parts lie in order, within the body and apart, and what a profile takes out or puts in leaves a
//! form again.
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use levada_core::counts::Counts;
use levada_core::endpoint::{Endpoint, Form};
use levada_core::form;
use levada_core::lacks::Lacks;
use levada_core::profile::Profile;
use levada_core::request::{self, Name};
use levada_core::splice;
use libfuzzer_sys::fuzz_target;

const BOUNDARY: &str = "b";

/// The base profile, as the control plane compiles it.
static PROFILE: LazyLock<Profile> = LazyLock::new(|| {
    let text = include_str!("../../../tests/vectors/profiles.json");
    let all: serde_json::Value = serde_json::from_str(text).expect("the vectors are JSON");
    Profile::parse(all["openai"].to_string().as_bytes()).expect("a profile")
});

fuzz_target!(|body: &[u8]| {
    let Ok(parts) = form::parts(BOUNDARY, body) else { return };
    let mut end = 0;
    for part in &parts {
        assert!(part.whole.start >= end && part.whole.start < part.content.start);
        assert!(part.content.start <= part.content.end && part.content.end <= part.whole.end);
        assert!(part.whole.end <= body.len() && !part.name.is_empty());
        end = part.whole.end;
    }
    for endpoint in Endpoint::all().filter(|endpoint| endpoint.form() == Form::Multipart) {
        let Some(rules) = PROFILE.rules(endpoint) else { continue };
        let Ok(request) = request::read_form(&PROFILE, rules, BOUNDARY, body) else { continue };
        let edits = request.edits(Some(Name { plain: "up", json: "\"up\"" }), Some(Counts::Usage), &Lacks::default());
        let edited = splice::apply(Bytes::copy_from_slice(body), edits);
        let again = request::read_form(&PROFILE, rules, BOUNDARY, &edited).expect("an edited form is a form");
        assert_eq!(again.model.as_deref(), Some("up"));
        assert_eq!(again.stream, request.stream);
        let count = form::parts(BOUNDARY, &edited).expect("it was read").len();
        assert_eq!(count, parts.len() + usize::from(request.model.is_none()));
    }
});
