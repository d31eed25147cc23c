//! The relay: whole events at any chunking, honest ends, one date.

use super::*;
use crate::usage::{Source, Usage};

fn options(include_usage: bool, rename: Option<&str>) -> Options {
    let style = Style { rename: rename.map(Into::into), ..Style::default() };
    Options { include_usage, style, event_bytes: 1 << 20, ..Options::default() }
}

/// The whole stream through a relay in pieces of `size`: the client's bytes, how it ended, and what was metered.
fn run(input: &str, size: usize, options: Options) -> (String, Then, (Usage, Source)) {
    let mut relay = Relay::new(options);
    let mut out = Vec::new();
    for piece in input.as_bytes().chunks(size) {
        let pushed = relay.push(BytesMut::from(piece));
        out.extend_from_slice(&pushed.events);
        if pushed.then != Then::More {
            return (String::from_utf8(out).unwrap(), pushed.then, relay.meter.read());
        }
    }
    let pushed = relay.end(true);
    out.extend_from_slice(&pushed.events);
    (String::from_utf8(out).unwrap(), pushed.then, relay.meter.read())
}

const TEXT: &str =
    "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}\n\n";
const STOP: &str = "data: {\"model\":\"m\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str =
    "data: {\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n";
const END: &str = "data: [DONE]\n\n";

#[test]
fn any_chunking_gives_the_same() {
    let input = [": hello\n\n", TEXT, STOP, USAGE, END, "data: after\n\n"].concat();
    let counted = (Usage { prompt: 3, completion: 1, ..Usage::default() }, Source::EngineFinal);
    for (include, wanted) in [
        (true, [": hello\n\n", TEXT, STOP, USAGE, END].concat()),
        (false, [": hello\n\n", TEXT, STOP, END].concat()),
    ] {
        for size in [1, 2, 3, 7, 64, 4096] {
            let (out, then, metered) = run(&input, size, options(include, None));
            assert_eq!((out.as_str(), then, metered), (wanted.as_str(), Then::Done, counted), "{size}");
        }
    }
}

#[test]
fn whole_pieces_are_not_copied() {
    let mut relay = Relay::new(options(false, None));
    let piece = BytesMut::from([TEXT, TEXT].concat().as_bytes());
    let at = piece.as_ptr();
    assert_eq!(relay.push(piece).events.as_ptr(), at);
}

#[test]
fn the_public_name_is_put_in() {
    let (out, ..) = run(
        &[TEXT, "event: x\ndata: {\"model\":\ndata: \"m\"}\n\n", STOP, END].concat(),
        9,
        options(false, Some("\"pub\"")),
    );
    assert_eq!(
        out,
        [
            &TEXT.replace("\"m\"", "\"pub\""),
            "event: x\ndata: {\"model\": \"pub\"}\n\n",
            &STOP.replace("\"m\"", "\"pub\""),
            END
        ]
        .concat()
    );
}

#[test]
fn all_chunks_have_the_date_of_the_first() {
    let at = |second: u32| TEXT.replace("\"model\"", &format!("\"created\":{second},\"model\""));
    let usage = USAGE.replace("\"model\"", "\"created\": 9, \"model\"");
    let (out, ..) = run(&[&at(7), &at(7), &at(8), STOP, &usage, END].concat(), 64, options(true, None));
    let last = USAGE.replace("\"model\"", "\"created\": 7, \"model\"");
    assert_eq!(out, [&at(7), &at(7), &at(7), STOP, &last, END].concat());
}

#[test]
fn ends_are_honest() {
    let ends = |input: &str| {
        let (out, then, _) = run(input, 4096, options(false, None));
        (out, then)
    };
    assert_eq!(ends(&[TEXT, STOP].concat()), ([TEXT, STOP, END].concat(), Then::Done));
    assert_eq!(ends(&[TEXT, END].concat()), (TEXT.into(), Then::Broken(Refusal::of(Kind::UpstreamBroken))));
    assert_eq!(ends(TEXT), (TEXT.into(), Then::Broken(Refusal::of(Kind::UpstreamBroken))));
    assert_eq!(ends(""), (String::new(), Then::Broken(Refusal::of(Kind::UpstreamBroken))));
    assert_eq!(
        ends(&[TEXT, STOP, "data: {\"half"].concat()).1,
        Then::Broken(Refusal::of(Kind::UpstreamBroken))
    );
    assert_eq!(
        ends(&[TEXT, "data: {broken\n\n", END].concat()),
        (TEXT.into(), Then::Broken(Refusal::of(Kind::UpstreamError)))
    );
    let error = "data: {\"error\":{\"message\":\"engine at 10.0.0.7:8000 died\",\"code\":500}}\n\n";
    assert_eq!(
        ends(&[TEXT, error, END].concat()),
        (TEXT.into(), Then::Broken(Refusal::of(Kind::UpstreamError)))
    );
}

#[test]
fn an_event_too_large_takes_nothing_along_at_any_cut() {
    let bounded = || Options { event_bytes: 128, ..Options::default() };
    let huge = format!("data: {{\"x\":\"{}\"}}", "x".repeat(200));
    for (input, then, wanted) in [
        ([TEXT, STOP, END, &huge].concat(), Then::Done, [TEXT, STOP, END].concat()),
        ([TEXT, &huge, "\n\n", END].concat(), Then::Broken(Refusal::of(Kind::UpstreamError)), TEXT.into()),
    ] {
        for size in [1, 7, 4096] {
            let (out, ended, _) = run(&input, size, bounded());
            assert_eq!((&out, &ended), (&wanted, &then), "{size}");
        }
    }
}

/// A stream whose client asked for usage, and for two choices where `several`.
fn with_usage(input: &[&str], several: bool) -> (String, Usage) {
    let whole = input.concat();
    let options = || Options { several, ..options(true, None) };
    let (out, then, (usage, _)) = run(&whole, 4096, options());
    assert_eq!(then, Then::Done);
    for size in [1, 7, 64] {
        assert_eq!(run(&whole, size, options()).0, out, "{size}");
    }
    (out, usage)
}

#[test]
fn usage_beside_the_end_of_a_choice_gets_a_chunk_of_its_own() {
    let beside = "data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"stop\"}],\"model\":\"m\",\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1},\"timings\":{}}\n\n";
    let without = beside.replace(",\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}", "");
    let alone = beside.replace("[{\"text\":\"\",\"finish_reason\":\"stop\"}]", "[]");
    for end in [END, ""] {
        let (out, usage) = with_usage(&[TEXT, beside, end], false);
        assert_eq!(out, [TEXT, &without, &alone, END].concat());
        assert_eq!((usage.prompt, usage.completion), (3, 1));
    }
    // A backend that sends one of its own besides.
    let (out, usage) = with_usage(&[TEXT, beside, USAGE, END], false);
    assert_eq!(out, [TEXT, &without, USAGE, END].concat());
    assert_eq!((usage.prompt, usage.completion), (3, 1));
    // One for each choice: the answers add up.
    let (out, usage) = with_usage(&[TEXT, beside, TEXT, beside, END], true);
    let sum = "{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}";
    let both = alone.replace("{\"prompt_tokens\":3,\"completion_tokens\":1}", sum);
    assert_eq!(out, [TEXT, &without, TEXT, &without, &both, END].concat());
    assert_eq!((usage.prompt, usage.completion), (3, 2));
    // Counts all along stay where they are, and the last is told once more.
    let along = TEXT.replace("}\n", ",\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n");
    let (out, usage) = with_usage(&[&along, beside, USAGE, END], false);
    assert_eq!(out, [&along, beside, USAGE, END].concat());
    assert_eq!(usage.completion, 1);
    assert_eq!(with_usage(&[&along, beside, END], false).0, [&along, beside, &alone, END].concat());
}

#[test]
fn the_usage_of_several_choices_is_one_chunk_and_the_last() {
    let (out, usage) = with_usage(&[TEXT, STOP, USAGE, TEXT, STOP, USAGE, END], true);
    let sum = "{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}";
    let both = USAGE.replace("{\"prompt_tokens\":3,\"completion_tokens\":1}", sum);
    assert_eq!(out, [TEXT, STOP, TEXT, STOP, &both, END].concat());
    assert_eq!(usage.completion, 2);
    assert_eq!(with_usage(&[TEXT, STOP, STOP, USAGE, END], true).0, [TEXT, STOP, STOP, USAGE, END].concat());
}

#[test]
fn a_broken_stream_tells_no_usage() {
    let beside = STOP.replace("}\n", ",\"usage\":{\"prompt_tokens\":3}}\n");
    let (out, then, _) = run(&[TEXT, &beside, "data: {broken\n\n"].concat(), 4096, options(true, None));
    assert_eq!((out, then), ([TEXT, STOP].concat(), Then::Broken(Refusal::of(Kind::UpstreamError))));
}

#[test]
fn a_fault_of_the_connection_is_no_end() {
    let mut relay = Relay::new(options(false, None));
    relay.push(BytesMut::from([TEXT, STOP].concat().as_bytes()));
    assert!(matches!(relay.end(false).then, Then::Broken(_)));
    assert!(matches!(relay.end(true).then, Then::Done));
}
