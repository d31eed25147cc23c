//! Any bytes as a backend's chat that is told as a response, and any bytes as a request for one: any split gives the
//! same events, named twice and numbered without a gap; what becomes of a request is JSON.
#![no_main]

use bytes::BytesMut;
use levada_core::counts::Counts;
use levada_core::chunk::Style;
use levada_core::json;
use levada_core::lacks::Lacks;
use levada_core::relay::{Options, Relay, Then};
use levada_core::responses::{Heading, Made, Stream, to_chat};
use levada_core::sse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for one_call in [false, true] {
        let whole = client([bytes], one_call);
        for size in [1, 3 + bytes.len() % 61] {
            assert_eq!(whole, client(bytes.chunks(size), one_call));
        }
    }
    if json::check(bytes) == Ok(json::Kind::Object)
        && let Ok(chat) = to_chat(bytes, Lacks { null: true, ..Lacks::default() }, Counts::Usage)
    {
        assert!(readable(&chat.body));
        assert!(readable(format!("{{{}}}", chat.echo).as_bytes()) && !chat.echo.contains('\n'));
        let heading = Heading { echo: chat.echo, ..heading() };
        if let Ok(made) = Made::new(heading).answer(br#"{"choices":[{"message":{"content":"x"}}]}"#, None) {
            assert!(readable(&made));
        }
    }
});

/// JSON; a value may stand deeper than it stood before.
fn readable(text: &[u8]) -> bool {
    !matches!(json::check(text), Err(json::Wrong::Syntax(_)))
}

fn heading() -> Heading {
    Heading { seed: "5eed".into(), model: "\"m\"".into(), echo: "\"x\":1".into(), ..Heading::default() }
}

/// What the client gets, how it ends, and the tokens metered.
fn client<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, one_call: bool) -> (Vec<u8>, Then, String) {
    let style = Style { one_call, ..Style::default() };
    let options = Options { style, event_bytes: 1 << 20, ..Options::default() };
    let mut relay = Relay::translated(options, Stream::new(Made::new(heading())));
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
    check(&events, &then, relay.events());
    (events, then, format!("{:?}", relay.meter.read()))
}

fn check(events: &[u8], then: &Then, count: u64) {
    assert!(events.is_empty() || events.ends_with(b"\n\n"));
    let (mut number, mut last) = (0, Vec::new());
    for event in sse::split(events) {
        let Some(data) = sse::data(event) else { continue };
        let name = sse::fields(event).find(|field| field.name == b"event").unwrap().value;
        let start = format!("{{\"type\":\"{}\",\"sequence_number\":{number}", String::from_utf8_lossy(name));
        assert!(data.starts_with(start.as_bytes()));
        assert!(std::str::from_utf8(&data).is_err() || readable(&data));
        number += 1;
        last = name.to_vec();
    }
    assert_eq!(number, count);
    let ended = last == b"response.completed" || last == b"response.incomplete";
    assert_eq!(ended, *then == Then::Done);
}
