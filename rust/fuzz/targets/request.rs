//! Any bytes as a request body: what is accepted is JSON, and the edited body says the same but for the edits.
#![no_main]

use bytes::Bytes;
use levada_core::request::{self, Endpoint};
use levada_core::splice;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;

fuzz_target!(|body: &[u8]| {
    for endpoint in Endpoint::ALL {
        let Ok(request) = request::read(endpoint, body) else { continue };
        assert!(is_json(body));
        for upstream in [None, Some(r#""up\"stream""#)] {
            for ask_usage in [false, true] {
                let edits = request.edits(upstream, ask_usage);
                let unchanged = edits.is_empty();
                let edited = splice::apply(Bytes::copy_from_slice(body), edits);
                assert!(is_json(&edited));
                assert!(!unchanged || edited == body);
                let again = request::read(endpoint, &edited).expect("an edited request is a request");
                let model = upstream.map_or(&*request.model, |_| "up\"stream");
                assert_eq!(&*again.model, model);
                assert_eq!(again.include_usage, request.include_usage || (ask_usage && request.stream));
                let rest = |request: &request::Request| (request.stream, request.n, request.max_tokens);
                assert_eq!(rest(&again), rest(&request));
            }
        }
    }
});

fn is_json(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok() && serde_json::from_slice::<IgnoredAny>(text).is_ok()
}
