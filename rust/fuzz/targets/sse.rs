//! Any bytes as an event stream: any split gives the same events, each whole, within the bound and in LF alone.
#![no_main]

use bytes::BytesMut;
use levada_core::sse::{self, Reframer, TooLarge};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for limit in [12, 1 << 20] {
        let whole = events([bytes], limit);
        check(&whole, limit);
        for size in [1, 2, 3 + bytes.len() % 61] {
            let split = events(bytes.chunks(size), limit);
            check(&split, limit);
            match (&whole, &split) {
                // A piece with one event too many is refused whole, so how much came before depends on the split.
                (Err(_), Err(_)) => {}
                _ => assert_eq!(whole, split),
            }
        }
    }
});

fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> Result<Vec<u8>, TooLarge> {
    let mut reframer = Reframer::new(limit);
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&reframer.push(BytesMut::from(piece))?);
        assert!(reframer.pending() <= limit);
    }
    Ok(out)
}

fn check(events: &Result<Vec<u8>, TooLarge>, limit: usize) {
    let Ok(events) = events else { return };
    assert!(!events.contains(&b'\r'));
    for event in sse::split(events) {
        assert!(event.len() <= limit && event.ends_with(b"\n\n") && !event.starts_with(b"\n"));
        assert!(!event[..event.len() - 2].windows(2).any(|pair| pair == b"\n\n"));
        assert!(sse::fields(event).all(|field| !field.value.contains(&b'\n')));
    }
    assert_eq!(sse::split(events).map(<[u8]>::len).sum::<usize>(), events.len());
}
