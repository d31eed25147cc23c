//! Bytes in, whole server-sent events out, at any chunking.
//!
//! Law: nothing but whole events leaves; each ends with one blank line, every line end is LF, a leading byte order
//! mark and stray blank lines are dropped, and all other bytes are the backend's own. What waits is bounded. A
//! piece that is already so is handed on without a copy.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

/// An event grew beyond the bound before it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooLarge {
    /// The whole events that came before it: what a client gets must not depend on how the bytes were cut.
    pub before: Bytes,
}

/// Gathers pieces of a stream and gives back whole events.
#[derive(Debug)]
pub struct Reframer {
    held: BytesMut,
    limit: usize,
    /// How many bytes of a byte order mark have been seen at the very start; `None` once past it.
    mark: Option<usize>,
    after_cr: bool,
    line_empty: bool,
    event_empty: bool,
}

const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

impl Reframer {
    /// A reframer whose events may have up to `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            held: BytesMut::new(),
            limit,
            mark: Some(0),
            after_cr: false,
            line_empty: true,
            event_empty: true,
        }
    }

    /// Takes the next piece; gives all events that are whole now, or nothing (empty).
    ///
    /// # Errors
    /// An event is larger than the limit.
    pub fn push(&mut self, mut piece: BytesMut) -> Result<Bytes, TooLarge> {
        if self.mark == Some(0) && piece.len() >= MARK.len() {
            if piece.starts_with(&MARK) {
                bytes::Buf::advance(&mut piece, MARK.len());
            }
            self.mark = None;
        }
        if self.mark.is_none() && self.held.is_empty() && !self.after_cr && is_canonical(&piece) {
            return self.bounded(piece.freeze());
        }
        self.gather(&piece)
    }

    /// Bytes of an event that has not ended.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.held.len()
    }

    fn bounded(&self, events: Bytes) -> Result<Bytes, TooLarge> {
        // One read may bring many events; only a read larger than the bound can hold one that is too large.
        if events.len() > self.limit {
            let mut end = 0;
            for event in split(&events) {
                if event.len() > self.limit {
                    return Err(TooLarge { before: events.slice(..end) });
                }
                end += event.len();
            }
        }
        Ok(events)
    }

    fn gather(&mut self, piece: &[u8]) -> Result<Bytes, TooLarge> {
        let mut rest = self.past_mark(piece);
        let mut whole = 0;
        while let Some((&first, after)) = rest.split_first() {
            if self.after_cr {
                self.after_cr = false;
                if first == b'\n' {
                    rest = after;
                    continue;
                }
            }
            let run = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            if run > 0 {
                self.held.extend_from_slice(rest.get(..run).unwrap_or_default());
                self.line_empty = false;
                self.event_empty = false;
            }
            let Some(&end) = rest.get(run) else { break };
            self.after_cr = end == b'\r';
            rest = rest.get(run + 1..).unwrap_or_default();
            if !self.event_empty {
                self.held.extend_from_slice(b"\n");
                if self.line_empty {
                    if self.held.len() - whole > self.limit {
                        return Err(TooLarge { before: self.take(whole) });
                    }
                    whole = self.held.len();
                    self.event_empty = true;
                }
            }
            self.line_empty = true;
        }
        let fits = self.held.len() - whole <= self.limit;
        let events = self.take(whole);
        if fits { Ok(events) } else { Err(TooLarge { before: events }) }
    }

    /// The first `whole` bytes that are held, as a copy of their own: a slice would keep all of the buffer alive for as
    /// long as a slow client keeps the slice.
    fn take(&mut self, whole: usize) -> Bytes {
        let events = Bytes::copy_from_slice(self.held.get(..whole).unwrap_or_default());
        bytes::Buf::advance(&mut self.held, whole);
        events
    }

    /// Skips a byte order mark that comes in pieces.
    fn past_mark<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let mut rest = piece;
        while let (Some(seen), Some((&first, after))) = (self.mark, rest.split_first()) {
            match MARK.get(seen) {
                Some(&byte) if byte == first => {
                    rest = after;
                    self.mark = (seen + 1 < MARK.len()).then_some(seen + 1);
                }
                _ => {
                    // Not a mark after all: what looked like one belongs to the first line.
                    let looked = MARK.get(..seen).unwrap_or_default();
                    self.held.extend_from_slice(looked);
                    if seen > 0 {
                        self.line_empty = false;
                        self.event_empty = false;
                    }
                    self.mark = None;
                }
            }
        }
        rest
    }
}

/// Whether `piece` is whole events already, each ending with one blank line, without CR and without stray blank lines.
fn is_canonical(piece: &[u8]) -> bool {
    let mut line = 0;
    let mut event = 0;
    for at in memchr::memchr2_iter(b'\n', b'\r', piece) {
        if piece.get(at) == Some(&b'\r') {
            return false;
        }
        if at == line {
            if line == event {
                return false;
            }
            event = at + 1;
        }
        line = at + 1;
    }
    event == piece.len() && event > 0
}

/// The events of what [`Reframer::push`] gave, each with its blank line.
pub fn split(events: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = events;
    std::iter::from_fn(move || {
        // Most events are one line, so the first line end is nearly always the right one.
        let mut lines = memchr::memchr_iter(b'\n', rest);
        let end = lines.find(|at| rest.get(at + 1) == Some(&b'\n'))? + 2;
        let (event, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(event)
    })
}

/// The data of an event, lines joined; nothing where it has none.
#[must_use]
pub fn data(event: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut data: Option<Cow<'_, [u8]>> = None;
    for field in fields(event).filter(|field| field.name == b"data") {
        match &mut data {
            None => data = Some(field.value.into()),
            Some(data) => {
                let data = data.to_mut();
                data.push(b'\n');
                data.extend_from_slice(field.value);
            }
        }
    }
    data
}

/// One field of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// `data`, `event`, `id`, `retry`; empty for a comment.
    pub name: &'a [u8],
    /// What follows the colon and one space.
    pub value: &'a [u8],
}

/// The fields of one event.
pub fn fields(event: &[u8]) -> impl Iterator<Item = Field<'_>> {
    event.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(|line| {
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let name = line.get(..colon).unwrap_or_default();
        let value = line.get(colon + 1..).unwrap_or_default();
        Field { name, value: value.strip_prefix(b" ").unwrap_or(value) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 1 << 20;

    fn run(pieces: &[&[u8]]) -> Vec<u8> {
        let mut reframer = Reframer::new(LIMIT);
        pieces.iter().flat_map(|piece| reframer.push(BytesMut::from(*piece)).unwrap().to_vec()).collect()
    }

    fn bytewise(input: &[u8]) -> Vec<u8> {
        run(&input.chunks(1).collect::<Vec<_>>())
    }

    #[test]
    fn the_shared_vectors_hold_whole_and_byte_by_byte() {
        let unhex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let vectors = include_str!("../../../tests/vectors/sse.tsv");
        let rows: Vec<_> =
            vectors.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        assert!(rows.len() >= 20);
        for row in rows {
            let mut columns = row.split('\t');
            let (name, input, output) =
                (columns.next().unwrap(), columns.next().unwrap(), columns.next().unwrap_or(""));
            let (input, output) = (unhex(input), unhex(output));
            assert_eq!(run(&[&input]), output, "{name}");
            assert_eq!(bytewise(&input), output, "{name}, byte by byte");
        }
    }

    #[test]
    fn what_is_whole_is_not_copied() {
        let mut reframer = Reframer::new(LIMIT);
        let piece = BytesMut::from(&b"data: 1\n\ndata: 2\n\n"[..]);
        let at = piece.as_ptr();
        assert_eq!(reframer.push(piece).unwrap().as_ptr(), at);
    }

    #[test]
    fn bounded_and_what_came_before_is_given() {
        let pushed = |limit: usize, piece: &'static [u8]| Reframer::new(limit).push(BytesMut::from(piece));
        let too_large = |before: &'static [u8]| Err(TooLarge { before: Bytes::from_static(before) });
        assert_eq!(pushed(10, b"data: 123456"), too_large(b""));
        assert_eq!(pushed(8, b"data: 1\n\n"), too_large(b""));
        assert!(pushed(9, b"data: 1\n\ndata: 2\n\n").is_ok());
        for piece in [
            &b"data: 1\n\ndata: 23\n\n"[..],
            b"data: 1\r\n\r\ndata: 23\r\n\r\n",
            b"data: 1\n\ndata: 2345",
            b"data: 1\n\ndata: 23\n\ndata: 4\n\n",
        ] {
            assert_eq!(pushed(9, piece), too_large(b"data: 1\n\n"));
        }
    }

    #[test]
    fn fields_are_read() {
        let read: Vec<_> =
            fields(b"event: a\ndata:b\n: c\nid\n\n").map(|f| (f.name.to_vec(), f.value.to_vec())).collect();
        let row = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        assert_eq!(read, [row("event", "a"), row("data", "b"), row("", "c"), row("id", "")]);
    }

    proptest! {
        #[test]
        fn whole_is_byte_by_byte(pieces in proptest::collection::vec("[a\u{e9}\u{feff}:\n\r ]{0,8}", 0..8)) {
            let input = pieces.concat().into_bytes();
            let split: Vec<&[u8]> = pieces.iter().map(String::as_bytes).collect();
            let whole = run(&[&input]);
            prop_assert_eq!(&run(&split), &whole);
            prop_assert_eq!(&bytewise(&input), &whole);
            prop_assert!(!whole.contains(&b'\r'));
            if !whole.starts_with(&MARK) {
                prop_assert_eq!(run(&[&whole]), whole.clone());
            }
        }
    }
}
