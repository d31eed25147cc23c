//! Any bytes as a backend's stream: any split gives the client the same whole events and the same honest end.
#![no_main]

use bytes::BytesMut;
use levada_core::chunk::{self, Fingerprint, Style};
use levada_core::endpoint::Dialect;
use levada_core::relay::{Options, Relay, Then};
use levada_core::sse;
use libfuzzer_sys::fuzz_target;

const DONE: &[u8] = b"data: [DONE]\n\n";

fuzz_target!(|bytes: &[u8]| {
    let styles = [
        Style::default(),
        Style { rename: Some(r#""public""#.into()), hide_usage: true, ..Style::default() },
        Style { fingerprint: Fingerprint::Remove, cache_counters: true, one_call: true, ..Style::default() },
        Style { fingerprint: Fingerprint::Ensure, both_reasonings: true, ..Style::default() },
    ];
    for dialect in [Dialect::Chunks, Dialect::Typed, Dialect::Anthropic] {
        for (at, style) in styles.iter().enumerate() {
            let event_bytes = if at == 0 { 64 } else { 1 << 20 };
            let several = at == 3;
            let options =
                || {
                    let include_usage = at % 2 == 1;
                    let hold_finish = !include_usage && at % 4 == 0;
                    Options { dialect, include_usage, hold_finish, several, style: style.clone(), event_bytes, ..Options::default() }
                };
            let whole = client([bytes], options());
            for size in [1, 3 + bytes.len() % 61] {
                assert_eq!(whole, client(bytes.chunks(size), options()));
            }
        }
    }
});

/// What the client gets, how it ends, and the tokens metered.
#[derive(Debug, PartialEq)]
struct Seen {
    events: Vec<u8>,
    then: Then,
    metered: String,
}

fn client<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, options: Options) -> Seen {
    let chunks = options.dialect == Dialect::Chunks;
    let once = options.several && options.include_usage && chunks;
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
    check(&events, &then, chunks);
    // However often a backend tells the usage of several choices, the client is told once.
    assert!(!once || sse::split(&events).filter(|event| tells_usage(event)).count() <= 1);
    Seen { events, then, metered: format!("{:?}", relay.meter.read()) }
}

/// Whether an event is a usage chunk.
fn tells_usage(event: &[u8]) -> bool {
    let data: Vec<&[u8]> =
        sse::fields(event).filter(|field| field.name == b"data").map(|field| field.value).collect();
    chunk::read(&data.join(&b'\n'), &Style::default())
        .is_ok_and(|chunk| chunk.usage.is_some() && !chunk.choices)
}

fn check(events: &[u8], then: &Then, chunks: bool) {
    assert!(events.is_empty() || events.ends_with(b"\n\n"));
    assert_ne!(*then, Then::More);
    // Where chunks end well, `[DONE]` stands there once and last; elsewhere it need not stand at all.
    let dones = sse::split(events).filter(|event| *event == DONE).count();
    if chunks {
        assert_eq!(dones, usize::from(*then == Then::Done));
        assert_eq!(*then == Then::Done, sse::split(events).last() == Some(DONE));
    }
    assert!(dones <= 1);
}
