//! The events of a chat as the events of a response.
//!
//! Law: what is pushed are whole events and the honest end that the relay has found; for each token little is done: its
//! text is copied into one event and kept for the last ones. Numbers run from 0 without a gap. A stream that breaks
//! is not completed.

use std::io::Write;

use bytes::Bytes;

use super::chat::{self, Piece};
use super::made::{Made, Sort, Status, one_line, said};
use crate::bounds;
use crate::refusal::{Kind, Refusal};
use crate::relay::{Pushed, Then};
use crate::sse;
use crate::usage::{Meter, Source, Usage};

/// A response that is told as it is made.
#[derive(Debug)]
pub struct Stream {
    made: Made,
    begun: bool,
    sequence: u64,
    /// The events of one push.
    out: Vec<u8>,
}

impl Stream {
    /// A stream of which nothing has been told.
    #[must_use]
    pub fn new(made: Made) -> Self {
        Self { made, begun: false, sequence: 0, out: Vec::new() }
    }

    /// How many events have been told.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.sequence
    }

    /// What the client gets for what it would have got of the chat.
    pub fn push(&mut self, pushed: Pushed, meter: &Meter) -> Pushed {
        let mut then = pushed.then;
        for event in sse::split(&pushed.events) {
            if let Err(refusal) = self.event(event) {
                then = Then::Broken(refusal);
                break;
            }
        }
        if then == Then::Done {
            then = self.finish(meter);
        }
        Pushed { events: self.take(), then }
    }

    /// What waits for a slow client keeps no more memory than it has bytes; the buffer stays for the next push.
    fn take(&mut self) -> Bytes {
        if self.out.capacity() > bounds::JOIN_BYTES {
            let mut out = std::mem::take(&mut self.out);
            out.shrink_to_fit();
            return out.into();
        }
        let events = Bytes::copy_from_slice(&self.out);
        self.out.clear();
        events
    }

    fn event(&mut self, event: &[u8]) -> Result<(), Refusal> {
        match sse::data(event) {
            // A comment keeps the connection alive on its whole way.
            None => self.out.extend_from_slice(event),
            Some(data) if *data == *b"[DONE]" => {}
            Some(data) => {
                let piece = chat::read(&data).map_err(|_| Refusal::of(Kind::UpstreamError))?;
                if let Some(piece) = piece {
                    self.piece(&piece)?;
                }
            }
        }
        Ok(())
    }

    fn piece(&mut self, piece: &Piece<'_>) -> Result<(), Refusal> {
        self.begin();
        for (sort, text) in said(piece) {
            let last = self.made.items.last().is_some_and(|item| item.open && item.sort == sort);
            let at = if last { self.made.items.len() - 1 } else { self.open(sort) };
            let logprobs = if sort == Sort::Text { piece.logprobs } else { b"" };
            self.made.append(at, text, logprobs)?;
            self.delta(at, text, logprobs);
        }
        for call in &piece.calls {
            let (at, new) = self.made.call(call);
            if new {
                // Calls stay open beside each other: their pieces may come in turns.
                self.close(|sort| sort != Sort::Call);
                self.added(at);
            }
            self.made.append(at, &call.arguments, b"")?;
            if !call.arguments.is_empty() {
                self.delta(at, &call.arguments, b"");
            }
        }
        // Only now: what was closed on the way was whole.
        self.made.finish = piece.finish.or(self.made.finish);
        Ok(())
    }

    fn begin(&mut self) {
        if !std::mem::replace(&mut self.begun, true) {
            self.whole("created", Status::InProgress, None);
            self.whole("in_progress", Status::InProgress, None);
        }
    }

    fn finish(&mut self, meter: &Meter) -> Then {
        if self.made.finish.is_none() {
            return Then::Broken(Refusal::of(Kind::UpstreamBroken));
        }
        self.close(|_| true);
        let (usage, source) = meter.read();
        let status = self.made.ended();
        self.whole(status.name(), status, (source >= Source::EngineRunning).then_some(usage));
        Then::Done
    }

    /// Opens an item that is no call.
    fn open(&mut self, sort: Sort) -> usize {
        self.close(|_| true);
        let at = self.made.open(sort);
        self.added(at);
        self.start("response.content_part.added", at, true);
        self.out.extend_from_slice(b",\"part\":");
        self.made.part(&mut self.out, at, true);
        self.end();
        at
    }

    fn added(&mut self, at: usize) {
        self.start("response.output_item.added", at, false);
        self.out.extend_from_slice(b",\"item\":");
        self.made.item(&mut self.out, at, Status::InProgress);
        self.end();
    }

    fn delta(&mut self, at: usize, text: &[u8], logprobs: &[u8]) {
        let sort = self.sort(at);
        self.start(names(sort).0, at, sort != Sort::Call);
        self.out.extend_from_slice(b",\"delta\":\"");
        self.out.extend_from_slice(text);
        self.out.push(b'"');
        if sort == Sort::Text {
            self.out.extend_from_slice(b",\"logprobs\":[");
            one_line(&mut self.out, logprobs);
            self.out.push(b']');
        }
        self.end();
    }

    /// Closes the open items of these sorts.
    fn close(&mut self, sorts: impl Fn(Sort) -> bool) {
        for at in 0..self.made.items.len() {
            let Some(item) = self.made.items.get_mut(at) else { break };
            if sorts(item.sort) && std::mem::replace(&mut item.open, false) {
                self.done(at);
            }
        }
    }

    fn done(&mut self, at: usize) {
        let sort = self.sort(at);
        let (_, name, member) = names(sort);
        self.start(name, at, sort != Sort::Call);
        let _ = write!(self.out, ",\"{member}\":\"");
        if let Some(item) = self.made.items.get(at) {
            self.out.extend_from_slice(&item.text);
            self.out.push(b'"');
            if sort == Sort::Text {
                self.out.extend_from_slice(b",\"logprobs\":[");
                self.out.extend_from_slice(&item.logprobs);
                self.out.push(b']');
            }
        }
        self.end();
        if sort != Sort::Call {
            self.start("response.content_part.done", at, true);
            self.out.extend_from_slice(b",\"part\":");
            self.made.part(&mut self.out, at, false);
            self.end();
        }
        self.start("response.output_item.done", at, false);
        self.out.extend_from_slice(b",\"item\":");
        let status = self.made.ended_at(at);
        self.made.item(&mut self.out, at, status);
        self.end();
    }

    fn sort(&self, at: usize) -> Sort {
        self.made.items.get(at).map_or(Sort::Text, |item| item.sort)
    }

    /// An event that is about the whole response.
    fn whole(&mut self, name: &str, status: Status, usage: Option<Usage>) {
        self.named(&format!("response.{name}"));
        self.out.extend_from_slice(b",\"response\":");
        self.made.write(&mut self.out, status, usage);
        self.end();
    }

    /// Begins an event about an item, or about the part that it consists of.
    fn start(&mut self, name: &str, at: usize, part: bool) {
        self.named(name);
        let _ = write!(self.out, ",\"output_index\":{at}");
        // The two events of an item carry it with its id.
        if !name.starts_with("response.output_item.") {
            self.out.extend_from_slice(b",\"item_id\":\"");
            self.made.id(&mut self.out, at);
            self.out.push(b'"');
        }
        if part {
            self.out.extend_from_slice(b",\"content_index\":0");
        }
    }

    fn named(&mut self, name: &str) {
        let _ = write!(
            self.out,
            "event: {name}\ndata: {{\"type\":\"{name}\",\"sequence_number\":{}",
            self.sequence
        );
        self.sequence += 1;
    }

    fn end(&mut self) {
        self.out.extend_from_slice(b"}\n\n");
    }
}

/// An item's events: of its pieces, of its whole, and the member that has the whole.
fn names(sort: Sort) -> (&'static str, &'static str, &'static str) {
    match sort {
        Sort::Reasoning => ("response.reasoning_text.delta", "response.reasoning_text.done", "text"),
        Sort::Text => ("response.output_text.delta", "response.output_text.done", "text"),
        Sort::Refusal => ("response.refusal.delta", "response.refusal.done", "refusal"),
        Sort::Call => {
            ("response.function_call_arguments.delta", "response.function_call_arguments.done", "arguments")
        }
    }
}

#[cfg(test)]
mod tests;
