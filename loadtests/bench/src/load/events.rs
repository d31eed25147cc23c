//! Reads a stream of server-sent events and checks it: order and number of the chunks, `[DONE]`, and
//! nothing after it.

use crate::tally::Tally;
use levada_bench::{clock, stamp};
use memchr::{memchr, memmem};

/// The longest event that is read; a longer one is an error.
const EVENT_LIMIT: usize = 1 << 20;

/// One stream.
#[derive(Default)]
pub struct EventReader {
    event: Vec<u8>,
    line: usize,
    last: Option<(u64, u64)>,
    done: bool,
    fault: Option<&'static str>,
    stamps: stamp::Reader,
}

impl EventReader {
    /// Makes ready for the next stream; buffers are kept.
    pub fn reset(&mut self) {
        self.event.clear();
        self.line = 0;
        self.last = None;
        self.done = false;
        self.fault = None;
    }

    /// Takes the next bytes; `started` is when the request was sent.
    pub fn feed(&mut self, mut bytes: &[u8], started: u64, tally: &mut Tally) {
        while let Some(end) = memchr(b'\n', bytes) {
            let line = &bytes[..end];
            bytes = &bytes[end + 1..];
            self.event.extend_from_slice(line);
            if self.event[self.line..].ends_with(b"\r") {
                self.event.pop();
            }
            if self.event.len() > self.line {
                self.event.push(b'\n');
                self.line = self.event.len();
            } else {
                self.whole(started, tally);
                self.event.clear();
                self.line = 0;
            }
        }
        if self.event.len() + bytes.len() > EVENT_LIMIT {
            self.fault.get_or_insert("event_too_long");
        } else {
            self.event.extend_from_slice(bytes);
        }
    }

    /// One event, its lines each with their end.
    fn whole(&mut self, started: u64, tally: &mut Tally) {
        if self.event.is_empty() || self.event.starts_with(b":") {
            return;
        }
        if self.done {
            self.fault.get_or_insert("after_done");
        }
        let mut rest = self.event.as_slice();
        while let Some((sequence, written, after)) = self.stamps.next(rest) {
            let now = clock::now();
            tally.chunks += 1;
            tally.transit.add(now.saturating_sub(written));
            match self.last {
                None => tally.ttft.add(now.saturating_sub(started)),
                Some((_, before)) => tally.gap.add(now.saturating_sub(before)),
            }
            if sequence != self.last.map_or(1, |(before, _)| before + 1) {
                self.fault.get_or_insert("order");
            }
            self.last = Some((sequence, now));
            rest = after;
        }
        if self.event == b"data: [DONE]\n" {
            self.done = true;
        } else if memmem::find(&self.event[..self.event.len().min(64)], b"\"error\"").is_some() {
            self.fault.get_or_insert("error_event");
        }
    }

    /// What is wrong with the stream, now that it has ended.
    pub fn verdict(&self, chunks: Option<u64>) -> Option<&'static str> {
        let seen = self.last.map_or(0, |(sequence, _)| sequence);
        self.fault
            .or((!self.event.is_empty()).then_some("half_event"))
            .or((!self.done).then_some("no_done"))
            .or(chunks.filter(|wanted| *wanted != seen).map(|_| "chunks_missing"))
    }
}

#[cfg(test)]
mod tests {
    use super::EventReader;
    use crate::tally::Tally;

    fn chunk(sequence: u64) -> String {
        format!("data: {{\"content\":\"@t{sequence:06}.0000000000000000009 \"}}\n\n")
    }

    fn read(text: &str, cut: usize) -> (Option<&'static str>, u64) {
        let (mut reader, mut tally) = (EventReader::default(), Tally::default());
        text.as_bytes().chunks(cut).for_each(|piece| reader.feed(piece, 1, &mut tally));
        (reader.verdict(Some(2)), tally.chunks)
    }

    #[test]
    fn a_good_stream_is_good_at_any_cut() {
        let text = format!(": hello\n\n{}{}data: [DONE]\n\n", chunk(1), chunk(2));
        for cut in 1..text.len() {
            assert_eq!(read(&text, cut), (None, 2), "{cut}");
            assert_eq!(read(&text.replace('\n', "\r\n"), cut), (None, 2), "{cut}");
        }
    }

    #[test]
    fn every_fault_has_its_name() {
        let (one, two, done) = (chunk(1), chunk(2), "data: [DONE]\n\n");
        for (text, fault) in [
            (format!("{one}{two}"), "no_done"),
            (format!("{one}{done}"), "chunks_missing"),
            (format!("{two}{one}{done}"), "order"),
            (format!("{one}{two}{two}{done}"), "order"),
            (format!("{one}{two}{done}{two}"), "after_done"),
            (format!("{one}{two}{done}data: x"), "half_event"),
            (format!("{one}data: {{\"error\":{{}}}}\n\n"), "error_event"),
            ("x".repeat(super::EVENT_LIMIT + 1), "event_too_long"),
        ] {
            assert_eq!(read(&text, 4096).0, Some(fault));
        }
    }
}
