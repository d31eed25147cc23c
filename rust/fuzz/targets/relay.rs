//! Any bytes as a backend's stream: any split gives the client the same whole events and the same honest end.
#![no_main]

use bytes::BytesMut;
use levada_core::relay::{Options, Relay, Then};
use levada_core::sse;
use libfuzzer_sys::fuzz_target;

const DONE: &[u8] = b"data: [DONE]\n\n";

fuzz_target!(|bytes: &[u8]| {
    for include_usage in [false, true] {
        for rename in [None, Some(r#""public""#)] {
            for event_bytes in [64, 1 << 20] {
                let options = || Options { include_usage, rename: rename.map(Into::into), event_bytes };
                let whole = client([bytes], options());
                for size in [1, 2, 3 + bytes.len() % 61] {
                    compare(&whole, &client(bytes.chunks(size), options()));
                }
            }
        }
    }
});

/// What the client gets, how it ends, and the tokens metered.
struct Seen {
    events: Vec<u8>,
    then: Then,
    metered: String,
}

fn client<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, options: Options) -> Seen {
    let mut relay = Relay::new(options);
    let mut events = Vec::new();
    let mut then = Then::More;
    for piece in pieces {
        let pushed = relay.push(BytesMut::from(piece));
        events.extend_from_slice(&pushed.events);
        then = pushed.then;
        if then != Then::More {
            break;
        }
    }
    if then == Then::More {
        let pushed = relay.end(true);
        events.extend_from_slice(&pushed.events);
        then = pushed.then;
    }
    check(&events, &then);
    Seen { events, then, metered: format!("{:?}", relay.meter.read()) }
}

fn check(events: &[u8], then: &Then) {
    assert!(events.is_empty() || events.ends_with(b"\n\n"));
    assert_ne!(*then, Then::More);
    let dones = sse::split(events).filter(|event| *event == DONE).count();
    assert_eq!(dones, usize::from(*then == Then::Done));
    assert_eq!(*then == Then::Done, sse::split(events).last() == Some(DONE));
}

fn compare(whole: &Seen, split: &Seen) {
    assert_eq!(whole.then, split.then);
    assert_eq!((&whole.events, &whole.metered), (&split.events, &split.metered));
}
