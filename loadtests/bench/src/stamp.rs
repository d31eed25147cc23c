//! The text of every streamed chunk: its number and the moment it was written, so that the reader
//! can check order and completeness and measure how long the chunk was under way.
//!
//! `@t000042.0000123456789012345 `: six digits of sequence number (from 1), nineteen of [`crate::clock::now`].

use memchr::memmem::Finder;

const SEQUENCE: usize = 6;
const TIME: usize = 19;

/// A stamp without its digits, to be placed in a template and filled by [`write`].
pub const BLANK: &str = "@t000000.0000000000000000000 ";

/// Fills the stamp that starts at the beginning of `at`.
pub fn write(at: &mut [u8], sequence: u64, time: u64) {
    if at.len() >= BLANK.len() {
        digits(&mut at[2..2 + SEQUENCE], sequence);
        digits(&mut at[3 + SEQUENCE..3 + SEQUENCE + TIME], time);
    }
}

fn digits(at: &mut [u8], mut value: u64) {
    for place in at.iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Finds the stamps in a text, in order.
pub struct Reader(Finder<'static>);

impl Default for Reader {
    fn default() -> Self {
        Reader(Finder::new("@t"))
    }
}

impl Reader {
    /// The first stamp in `text` (its sequence number and its time) and what follows it.
    pub fn next<'t>(&self, mut text: &'t [u8]) -> Option<(u64, u64, &'t [u8])> {
        loop {
            let stamp = text.get(self.0.find(text)?..)?;
            if stamp.len() < BLANK.len() {
                return None;
            }
            let sequence = number(&stamp[2..2 + SEQUENCE]);
            let time = number(&stamp[3 + SEQUENCE..3 + SEQUENCE + TIME]);
            match (sequence, time, stamp[2 + SEQUENCE]) {
                (Some(sequence), Some(time), b'.') => {
                    return Some((sequence, time, &stamp[BLANK.len()..]));
                }
                _ => text = &stamp[2..],
            }
        }
    }
}

fn number(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |sum, c| {
        c.is_ascii_digit().then(|| sum.wrapping_mul(10).wrapping_add(u64::from(c - b'0')))
    })
}

#[cfg(test)]
mod tests {
    use super::{BLANK, Reader, write};

    #[test]
    fn what_is_written_is_read() {
        let mut text = format!("x{BLANK}y{BLANK}").into_bytes();
        write(&mut text[1..], 7, 123_456_789_012_345);
        write(&mut text[2 + BLANK.len()..], 8, u64::from(u32::MAX));
        let reader = Reader::default();
        let Some((7, 123_456_789_012_345, rest)) = reader.next(&text) else { unreachable!() };
        let Some((8, 4_294_967_295, rest)) = reader.next(rest) else { unreachable!() };
        assert!(reader.next(rest).is_none());
    }

    #[test]
    fn what_only_looks_like_a_stamp_is_passed_over() {
        let mut text = format!("@the @t12345x.0000000000000000000 {BLANK}").into_bytes();
        let at = text.len() - BLANK.len();
        write(&mut text[at..], 1, 2);
        assert_eq!(Reader::default().next(&text).map(|(s, t, _)| (s, t)), Some((1, 2)));
        assert!(Reader::default().next(b"@t000001.12").is_none());
    }
}
