//! From a backend's stream to the client's: whole events, the model under its public name, usage held back when it
//! was not asked for, and an honest end when the stream breaks.
//!
//! Law: an event is passed, dropped or renamed, never invented, but for the one error event of a broken stream, the
//! `[DONE]` of a finished one whose backend sends none, and the usage chunk of one whose backend tells usage elsewhere.
//! Nothing follows an end. What is told as a response goes through all of this first.

mod last;

use bytes::{Bytes, BytesMut};

use crate::chunk::{self, Chunk, Style};
use crate::endpoint::Dialect;
use crate::refusal::{Kind, Refusal};
use crate::responses::Stream;
use crate::splice::{self, Edit};
use crate::sse::{self, Reframer};
use crate::upstream;
use crate::usage::Meter;
use last::Last;

pub(crate) const DONE: &[u8] = b"data: [DONE]\n\n";

/// What a relay does beyond passing events on.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What the stream speaks.
    pub dialect: Dialect,
    /// The client asked for the usage chunk.
    pub include_usage: bool,
    /// The client asked for more than one choice.
    pub several: bool,
    /// What is changed in its events.
    pub style: Style,
    /// The largest event, in bytes.
    pub event_bytes: usize,
}

/// What comes after the bytes of a [`Pushed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// More of the stream.
    More,
    /// Nothing: the stream has ended as it should.
    Done,
    /// Nothing: the stream is broken, for this reason. The error event is not in the bytes.
    Broken(Refusal),
}

/// The result of one push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Whole events for the client; may be empty.
    pub events: Bytes,
    /// What comes after them.
    pub then: Then,
}

/// What becomes of one event.
enum Act {
    Keep,
    Drop,
    Put(Vec<u8>),
    /// This, or the event as it is, is the last.
    Last(Option<Vec<u8>>),
    Stop(Then),
}

impl Act {
    /// The event with these edits.
    fn with(event: &[u8], data: &[u8], edits: Vec<Edit>) -> Self {
        if edits.is_empty() { Self::Keep } else { Self::Put(edited(event, data, edits)) }
    }
}

/// The state of one stream.
#[derive(Debug)]
pub struct Relay {
    reframer: Reframer,
    options: Options,
    begun: bool,
    finished: bool,
    last: Last,
    events: u64,
    /// The client gets these events made into those of a response.
    translation: Option<Box<Stream>>,
    /// The tokens so far.
    pub meter: Meter,
}

impl Relay {
    /// A relay at the start of a stream.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            reframer: Reframer::new(options.event_bytes),
            options,
            begun: false,
            finished: false,
            last: Last::default(),
            events: 0,
            translation: None,
            meter: Meter::default(),
        }
    }

    /// The same, for a stream of chat that is told as a response.
    #[must_use]
    pub fn translated(options: Options, translation: Stream) -> Self {
        Self { translation: Some(Box::new(translation)), ..Self::new(options) }
    }

    /// Takes the next piece of the backend's body.
    pub fn push(&mut self, piece: BytesMut) -> Pushed {
        let pushed = self.pass(piece);
        self.told(pushed)
    }

    fn told(&mut self, pushed: Pushed) -> Pushed {
        match &mut self.translation {
            None => pushed,
            Some(translation) => translation.push(pushed, &self.meter),
        }
    }

    fn pass(&mut self, piece: BytesMut) -> Pushed {
        let (events, after) = match self.reframer.push(piece) {
            Ok(events) => (events, Then::More),
            Err(sse::TooLarge { before }) => (before, Then::Broken(Refusal::of(Kind::UpstreamError))),
        };
        // As long as every event is kept, the piece goes on as it is; the first that is not starts a copy.
        let mut copy: Option<BytesMut> = None;
        let mut kept = 0;
        let so_far = |kept: usize| BytesMut::from(events.get(..kept).unwrap_or_default());
        for event in sse::split(&events) {
            match self.event(event) {
                Act::Keep => match &mut copy {
                    Some(copy) => copy.extend_from_slice(event),
                    None => kept += event.len(),
                },
                Act::Drop => {
                    copy.get_or_insert_with(|| so_far(kept));
                }
                Act::Put(bytes) => copy.get_or_insert_with(|| so_far(kept)).extend_from_slice(&bytes),
                Act::Last(instead) => {
                    let mut out = copy.unwrap_or_else(|| so_far(kept));
                    out.extend_from_slice(instead.as_deref().unwrap_or(event));
                    return Pushed { events: out.freeze(), then: Then::Done };
                }
                Act::Stop(then) => {
                    let mut out = copy.unwrap_or_else(|| so_far(kept));
                    if then == Then::Done {
                        out.extend_from_slice(self.last.event());
                        out.extend_from_slice(DONE);
                    }
                    return Pushed { events: out.freeze(), then };
                }
            }
            self.events += 1;
        }
        Pushed { events: copy.map_or(events, BytesMut::freeze), then: after }
    }

    /// How many events have been passed on.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.translation.as_ref().map_or(self.events, |translation| translation.events())
    }

    /// The backend's body has ended (cleanly, or by a fault of the connection) without `[DONE]`.
    ///
    /// A model that gave its finish reason has said everything: the client gets the `[DONE]` that some engines never
    /// send. Anything else is a broken answer, however cleanly the connection was closed.
    #[must_use]
    pub fn end(&mut self, clean: bool) -> Pushed {
        if self.finished && clean && self.reframer.pending() == 0 {
            let done = if self.options.dialect == Dialect::Chunks { DONE } else { b"" };
            let events = [self.last.event(), done].concat().into();
            return self.told(Pushed { events, then: Then::Done });
        }
        Pushed { events: Bytes::new(), then: Then::Broken(Refusal::of(Kind::UpstreamBroken)) }
    }

    fn event(&mut self, event: &[u8]) -> Act {
        // The common event is one data line; anything else takes the longer way.
        let single =
            event.strip_prefix(b"data:").filter(|rest| memchr::memchr(b'\n', rest) == Some(rest.len() - 2));
        match single {
            Some(rest) => {
                let data = rest.get(..rest.len() - 2).unwrap_or_default();
                self.data(event, data.strip_prefix(b" ").unwrap_or(data), false)
            }
            None => self.fields(event),
        }
    }

    fn fields(&mut self, event: &[u8]) -> Act {
        let mut data: Option<Vec<u8>> = None;
        let mut named_error = false;
        for field in sse::fields(event) {
            match field.name {
                b"data" => match &mut data {
                    Some(data) => {
                        data.push(b'\n');
                        data.extend_from_slice(field.value);
                    }
                    None => data = Some(field.value.to_vec()),
                },
                b"event" => named_error |= field.value == b"error",
                _ => {}
            }
        }
        match data {
            Some(data) => self.data(event, &data, named_error),
            None => Act::Keep,
        }
    }

    /// Judges an event by its data.
    fn data(&mut self, event: &[u8], data: &[u8], named_error: bool) -> Act {
        if data == b"[DONE]" {
            // An engine that was interrupted says so too; a model that has finished gave its reason before.
            return Act::Stop(if self.finished || !self.begun {
                Then::Done
            } else {
                Then::Broken(Refusal::of(Kind::UpstreamBroken))
            });
        }
        let Ok(chunk) = chunk::read(data, &self.options.style) else {
            return Act::Stop(Then::Broken(Refusal::of(Kind::UpstreamError)));
        };
        if chunk.error || named_error {
            return Act::Stop(Then::Broken(upstream::in_stream(data)));
        }
        let chunks = self.options.dialect == Dialect::Chunks;
        self.begun |= chunk.choices || !chunks;
        self.finished |= chunk.finish || chunk.ends;
        if chunk.content {
            self.meter.event();
        }
        self.count(&chunk);
        if chunks && chunk.has_usage && !chunk.choices && !self.options.include_usage {
            return Act::Drop;
        }
        if chunk.hushed && !chunk.content && !chunk.finish {
            return Act::Drop;
        }
        let Options { include_usage, several, style, .. } = &self.options;
        if chunks && *include_usage && chunk.usage.is_some() && (chunk.finish || !chunk.choices) {
            return self.last.take((event, data), &chunk, (*several, style, &self.meter));
        }
        match Act::with(event, data, chunk.edits) {
            Act::Put(instead) if chunk.ends && !chunks => Act::Last(Some(instead)),
            Act::Keep if chunk.ends && !chunks => Act::Last(None),
            act => act,
        }
    }

    /// Counts what a chunk tells of the usage.
    fn count(&mut self, chunk: &Chunk) {
        let chunks = self.options.dialect == Dialect::Chunks;
        match chunk.usage {
            Some(usage) if !chunks || chunk.choices && !chunk.finish => self.meter.running(usage),
            Some(usage) if chunk.choices => self.meter.finished(usage),
            Some(usage) => self.meter.total(usage),
            None => {}
        }
    }
}

/// The event with edited data. Data in one line stands in the event as it is; data in several lines is put into one,
/// which says the same.
pub(crate) fn edited(event: &[u8], data: &[u8], edits: Vec<Edit>) -> Vec<u8> {
    let mut out = Vec::with_capacity(event.len() + 64);
    for field in sse::fields(event).filter(|field| field.name != b"data") {
        out.extend_from_slice(field.name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(field.value);
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    let start = out.len();
    out.extend_from_slice(&splice::apply(Bytes::copy_from_slice(data), edits));
    for byte in out.iter_mut().skip(start).filter(|byte| **byte == b'\n') {
        *byte = b' ';
    }
    out.extend_from_slice(b"\n\n");
    out
}

#[cfg(test)]
mod tests {
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
        let counted = (Usage { prompt: 3, completion: 1, ..Usage::default() }, Source::Backend);
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
    fn ends_are_honest() {
        let ends = |input: &str| {
            let (out, then, _) = run(input, 4096, options(false, None));
            (out, then)
        };
        assert_eq!(ends(&[TEXT, STOP].concat()), ([TEXT, STOP, END].concat(), Then::Done));
        assert_eq!(
            ends(&[TEXT, END].concat()),
            (TEXT.into(), Then::Broken(Refusal::of(Kind::UpstreamBroken)))
        );
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
            (
                [TEXT, &huge, "\n\n", END].concat(),
                Then::Broken(Refusal::of(Kind::UpstreamError)),
                TEXT.into(),
            ),
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
        assert_eq!(
            with_usage(&[TEXT, STOP, STOP, USAGE, END], true).0,
            [TEXT, STOP, STOP, USAGE, END].concat()
        );
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
}
