//! Any bytes as an event stream: any split gives the same events, each whole, within the bound and in LF alone.
#![no_main]

use bytes::BytesMut;
use levada_core::sse::{self, Reframer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for limit in [12, 1 << 20] {
        let whole = events([bytes], limit);
        check(&whole, limit);
        for size in [1, 2, 3 + bytes.len() % 61] {
            let split = events(bytes.chunks(size), limit);
            check(&split, limit);
            assert_eq!(whole, split);
        }
    }
});

/// The events, and whether all of them were within the limit.
fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> (Vec<u8>, bool) {
    let mut reframer = Reframer::new(limit);
    let mut out = Vec::new();
    for piece in pieces {
        match reframer.push(BytesMut::from(piece)) {
            Ok(events) => out.extend_from_slice(&events),
            Err(too_large) => {
                out.extend_from_slice(&too_large.before);
                return (out, false);
            }
        }
        assert!(reframer.pending() <= limit);
    }
    (out, true)
}

fn check((events, _): &(Vec<u8>, bool), limit: usize) {
    assert!(!events.contains(&b'\r'));
    for event in sse::split(events) {
        assert!(event.len() <= limit && event.ends_with(b"\n\n") && !event.starts_with(b"\n"));
        assert!(!event[..event.len() - 2].windows(2).any(|pair| pair == b"\n\n"));
        assert!(sse::fields(event).all(|field| !field.value.contains(&b'\n')));
    }
    assert_eq!(sse::split(events).map(<[u8]>::len).sum::<usize>(), events.len());
}
