//! Any lines as the answers and chunks of several backends: merged, JSON is JSON, and each event is one event.
#![no_main]

use bytes::Bytes;
use levada_core::{merge, sse};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;

fuzz_target!(|input: &[u8]| {
    let all: Vec<Bytes> = input.split(|&byte| byte == b'\n').take(8).map(Bytes::copy_from_slice).collect();
    let good: Vec<Bytes> = all.iter().filter(|text| is_json(text)).cloned().collect();
    let _ = merge::bodies(&all);
    if let Ok(body) = merge::bodies(&good) {
        assert!(is_json(&body));
    }
    let mut streams = merge::Streams::new(good.len());
    for (at, data) in good.iter().enumerate() {
        for event in sse::split(&streams.take(at, event(data))) {
            assert!(is_json(&event[6..]));
        }
    }
    let end = streams.end();
    let events: Vec<_> = sse::split(&end).collect();
    let (done, usage) = events.split_last().expect("an end");
    assert!(*done == b"data: [DONE]\n\n" && usage.iter().all(|event| is_json(&event[6..])));
    // What is no JSON never comes here from a relay; it must do no harm.
    let mut streams = merge::Streams::new(all.len());
    all.iter().enumerate().for_each(|(at, data)| drop(streams.take(at, event(data))));
    drop(streams.end());
});

fn event(data: &[u8]) -> Bytes {
    [b"data: ", data, b"\n\n"].concat().into()
}

fn is_json(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok() && serde_json::from_slice::<IgnoredAny>(text).is_ok()
}
