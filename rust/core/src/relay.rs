//! From a backend's stream to the client's: whole events, the model under its public name, usage held back when it
//! was not asked for, and an honest end when the stream breaks.
//!
//! Law: an event is passed, dropped or renamed, never invented, but for the one error event of a broken stream, the
//! `[DONE]` of a finished one whose backend sends none, and the usage chunk of one whose backend tells usage elsewhere.
//! Nothing follows an end. What is told as a response goes through all of this first.

mod finish;
mod last;

use bytes::{Bytes, BytesMut};

use crate::chunk::{self, Chunk, Style};
use crate::endpoint::Dialect;
use crate::planted;
use crate::refusal::{Kind, Refusal};
use crate::responses::Stream;
use crate::splice::{self, Edit};
use crate::sse::{self, Reframer};
use crate::upstream;
use crate::usage::{Choices, Meter};
use crate::words::{Gather, Words};
use finish::Finish;
use last::Last;

pub(crate) const DONE: &[u8] = b"data: [DONE]\n\n";

/// What a relay does beyond passing events on.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What the stream speaks.
    pub dialect: Dialect,
    /// The client asked for the usage chunk.
    pub include_usage: bool,
    /// The usage chunk is asked for by the gateway alone: what an engine moves into it is put back where it stands
    /// without one.
    pub hold_finish: bool,
    /// The client asked for more than one choice.
    pub several: bool,
    /// What is changed in its events.
    pub style: Style,
    /// The largest event, in bytes.
    pub event_bytes: usize,
    /// How its text is gathered to be counted.
    pub gather: Gather,
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
    finish: Finish,
    choices: Choices,
    /// The backend tells usage all along.
    often: bool,
    events: u64,
    /// When the answer was made, as its first chunk says.
    created: Option<Box<[u8]>>,
    /// The client gets these events made into those of a response.
    translation: Option<Box<Stream>>,
    /// The tokens so far.
    pub meter: Meter,
    /// The text that is not counted yet.
    pub words: Words,
}

impl Relay {
    /// A relay at the start of a stream.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            reframer: Reframer::new(options.event_bytes),
            words: Words::new(options.gather),
            options,
            begun: false,
            finished: false,
            last: Last::default(),
            finish: Finish::default(),
            choices: Choices::default(),
            often: false,
            events: 0,
            created: None,
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
        let (events, after) = match self.reframer.push(piece) {
            Ok(events) => (events, Then::More),
            Err(sse::TooLarge { before }) => (before, Then::Broken(Refusal::of(Kind::UpstreamError))),
        };
        if self.translation.is_none() {
            return self.pass(events, after);
        }
        // One by one: of what came behind an event that is no part of a response nothing is metered.
        let mut out = BytesMut::new();
        for event in sse::split(&events) {
            let passed = self.pass(events.slice_ref(event), Then::More);
            let told = self.told(passed);
            out.extend_from_slice(&told.events);
            if told.then != Then::More {
                return Pushed { events: out.freeze(), then: told.then };
            }
        }
        let told = self.told(Pushed { events: Bytes::new(), then: after });
        out.extend_from_slice(&told.events);
        Pushed { events: out.freeze(), then: told.then }
    }

    fn told(&mut self, pushed: Pushed) -> Pushed {
        match &mut self.translation {
            None => pushed,
            Some(translation) => translation.push(pushed, &self.meter),
        }
    }

    /// Whole events, and what comes after them.
    fn pass(&mut self, events: Bytes, after: Then) -> Pushed {
        // As long as every event is kept, the piece goes on as it is; the first that is not starts a copy.
        let mut copy: Option<BytesMut> = None;
        let mut kept = 0;
        let so_far = |kept: usize| BytesMut::from(events.get(..kept).unwrap_or_default());
        for event in sse::split(&events) {
            let mut act = self.event(event);
            if planted::is("event_lost") && self.events == 5 && matches!(act, Act::Keep) {
                act = Act::Drop
            }
            let due = self.finish.due();
            if !due.is_empty() {
                copy.get_or_insert_with(|| so_far(kept)).extend_from_slice(&due);
            }
            match act {
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
        self.finish.release();
        let held = self.finish.due();
        if planted::is("done_faked") || self.finished && clean && self.reframer.pending() == 0 {
            let done = if self.options.dialect == Dialect::Chunks { DONE } else { b"" };
            let events = [&held, self.last.event(), done].concat().into();
            return self.told(Pushed { events, then: Then::Done });
        }
        let then = Then::Broken(Refusal::of(Kind::UpstreamBroken));
        match held.is_empty() {
            true => Pushed { events: Bytes::new(), then },
            false => self.told(Pushed { events: held.into(), then }),
        }
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
        let (hold, chunks) = (self.options.hold_finish, self.options.dialect == Dialect::Chunks);
        if data == b"[DONE]" {
            self.finish.release();
            // An engine that was interrupted says so too; a model that has finished gave its reason before.
            return Act::Stop(if self.finished || !self.begun {
                Then::Done
            } else {
                Then::Broken(Refusal::of(Kind::UpstreamBroken))
            });
        }
        let Ok(mut chunk) = chunk::read(data, &self.options.style) else {
            self.finish.release();
            return Act::Stop(Then::Broken(Refusal::of(Kind::UpstreamError)));
        };
        if chunk.error || named_error {
            self.finish.release();
            return Act::Stop(Then::Broken(upstream::in_stream(data)));
        }
        self.begun |= chunk.choices || !chunks;
        self.finished |= chunk.finish || chunk.ends;
        if chunk.content {
            self.meter.event();
        }
        self.count(&chunk);
        self.words.take(data, chunk.content, self.meter.told());
        if chunks {
            self.date(data, &mut chunk);
        }
        if chunks && chunk.has_usage && !chunk.choices && !self.options.include_usage {
            self.finish.take_over(data, &chunk, &self.options.style);
            return Act::Drop;
        }
        self.finish.release();
        if chunk.hushed && !chunk.content && !chunk.finish {
            return Act::Drop;
        }
        let Options { include_usage, several, style, .. } = &self.options;
        if chunks && *include_usage && chunk.usage.is_some() && (chunk.finish || !chunk.choices) {
            return self.last.take((event, data), &chunk, (*several, self.often, style, &self.meter));
        }
        if hold && chunks && chunk.finish && (self.often || !chunk.has_usage) {
            let known = (!chunk.timings_at.is_empty(), !chunk.fingerprint_at.is_empty());
            self.finish.hold(edited(event, data, chunk.edits), known);
            return Act::Drop;
        }
        match Act::with(event, data, chunk.edits) {
            Act::Put(instead) if chunk.ends && !chunks => Act::Last(Some(instead)),
            Act::Keep if chunk.ends && !chunks => Act::Last(None),
            act => act,
        }
    }

    /// All chunks of an answer were made when the first one says; llama.cpp tells the time of each.
    fn date(&mut self, data: &[u8], chunk: &mut Chunk) {
        let span = chunk.created_at.clone();
        let Some(told) = data.get(span.clone()).filter(|told| !told.is_empty()) else { return };
        match &self.created {
            None => self.created = Some(told.into()),
            Some(first) if **first != *told => {
                let with = String::from_utf8_lossy(first).into();
                chunk.edits.push(Edit { span, with });
            }
            Some(_) => {}
        }
    }

    /// Counts what a chunk tells of the usage.
    fn count(&mut self, chunk: &Chunk) {
        let chunks = self.options.dialect == Dialect::Chunks;
        match chunk.usage {
            Some(usage) if !chunks => self.meter.running(usage),
            Some(usage) if chunk.choices => {
                self.often |= !chunk.finish;
                match self.often {
                    true => self.meter.running(self.choices.sum(chunk.choice, usage)),
                    false => self.meter.finished(usage),
                }
            }
            Some(usage) => self.meter.total(usage),
            None => {}
        }
        // llama.cpp's timings are those of the choice that the chunk is of.
        if let (Some(told), true) = (chunk.timings, chunk.choices) {
            self.meter.running(self.choices.sum(chunk.choice, told));
        }
        if chunk.ends || self.often && chunk.finish {
            self.meter.conclude();
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
mod tests;
