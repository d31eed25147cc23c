//! A strict RFC 8259 scanner: it finds values and keeps their places, and builds nothing.
//!
//! Law: one pass, no recursion, no allocation but for an escaped key; text that a strict reader would refuse is
//! refused here, so that no backend ever reads another meaning into it than we did. The input is valid UTF-8.

mod plain;
mod text;

use std::ops::Range;

use self::plain::plain;
pub use self::text::Text;
use self::text::unit;
use crate::bounds;

/// Why a text is not JSON that we accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Not RFC 8259, at this byte.
    Syntax(usize),
    /// Nested deeper than [`bounds::JSON_DEPTH`].
    Depth(usize),
}

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction and exponent.
    Integer,
    /// Any other number.
    Decimal,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// Whether `text` is one JSON value and nothing else.
///
/// # Errors
/// The first thing wrong with it.
pub fn check(text: &[u8]) -> Result<Kind, Wrong> {
    let mut scanner = Scanner::new(text);
    if simdutf8::basic::from_utf8(text).is_err() {
        return Err(Wrong::Syntax(0));
    }
    let kind = scanner.value()?.0;
    scanner.end()?;
    Ok(kind)
}

/// A place in a text, moving forward.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    key_at: usize,
}

impl<'a> Scanner<'a> {
    /// Starts at the first byte of `text`.
    #[must_use]
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, depth: 0, key_at: 0 }
    }

    /// How many bytes have been read.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// Where the key stands that an object's `member` was called with, until it takes the value.
    #[must_use]
    pub fn key_at(&self) -> usize {
        self.key_at
    }

    /// The text at `span`.
    #[must_use]
    pub fn text(&self, span: &Range<usize>) -> &'a str {
        self.text.get(span.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// The same as it stands, of a text that is long.
    #[must_use]
    pub fn bytes(&self, span: &Range<usize>) -> &'a [u8] {
        self.text.get(span.clone()).unwrap_or_default()
    }

    /// The next value's first byte, after white space; not taken.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Nothing but white space may follow.
    ///
    /// # Errors
    /// Something does.
    pub fn end(&mut self) -> Result<(), Wrong> {
        if self.peek().is_some() { Err(self.wrong()) } else { Ok(()) }
    }

    /// Reads an object, handing each key to `member`, which must take exactly the value that follows.
    ///
    /// # Errors
    /// The text is not an object, or `member` failed.
    pub fn object<E: From<Wrong>>(
        &mut self,
        mut member: impl FnMut(Text<'a>, &mut Self) -> Result<(), E>,
    ) -> Result<Range<usize>, E> {
        let start = self.open(b'{')?;
        if self.close(b'}') {
            return Ok(start..self.at);
        }
        loop {
            self.peek();
            let begin = self.at;
            let key = self.string()?;
            self.expect(b':')?;
            self.key_at = begin;
            member(key, self)?;
            if self.close(b'}') {
                return Ok(start..self.at);
            }
            self.expect(b',')?;
        }
    }

    /// Reads an array, calling `item` before each element, which it must take.
    ///
    /// # Errors
    /// The text is not an array, or `item` failed.
    pub fn array<E: From<Wrong>>(
        &mut self,
        mut item: impl FnMut(usize, &mut Self) -> Result<(), E>,
    ) -> Result<Range<usize>, E> {
        let start = self.open(b'[')?;
        if self.close(b']') {
            return Ok(start..self.at);
        }
        let mut index = 0;
        loop {
            item(index, self)?;
            index += 1;
            if self.close(b']') {
                return Ok(start..self.at);
            }
            self.expect(b',')?;
        }
    }

    /// Takes one string.
    ///
    /// # Errors
    /// There is none, or it is broken.
    #[inline]
    pub fn string(&mut self) -> Result<Text<'a>, Wrong> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain(self.text.get(self.at..).unwrap_or_default());
            match self.text.get(self.at) {
                Some(b'"') => {
                    let raw = self.text.get(start..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(Text { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(self.wrong()),
            }
        }
    }

    /// Takes one value of any kind, however deep, and says where it stood.
    ///
    /// # Errors
    /// It is broken or too deep.
    pub fn value(&mut self) -> Result<(Kind, Range<usize>), Wrong> {
        let first = self.peek().ok_or_else(|| self.wrong())?;
        let start = self.at;
        let kind = match first {
            b'{' | b'[' => {
                self.nested()?;
                if first == b'{' { Kind::Object } else { Kind::Array }
            }
            _ => self.scalar(first)?,
        };
        Ok((kind, start..self.at))
    }

    /// Takes an object or array without recursion: one bit for each open bracket says which kind it is.
    fn nested(&mut self) -> Result<(), Wrong> {
        let floor = self.depth;
        let mut kinds: u128 = 0; // the lowest bit is the innermost: 1 for an object
        loop {
            // a value is due here
            let byte = self.peek().ok_or_else(|| self.wrong())?;
            match byte {
                b'{' => {
                    self.deeper()?;
                    kinds = kinds << 1 | 1;
                    if !self.close(b'}') {
                        self.key()?;
                        continue;
                    }
                    kinds >>= 1;
                }
                b'[' => {
                    self.deeper()?;
                    kinds <<= 1;
                    if !self.close(b']') {
                        continue;
                    }
                    kinds >>= 1;
                }
                _ => {
                    self.scalar(byte)?;
                }
            }
            // a value has ended: close what closes, or go to the next member
            loop {
                if self.depth == floor {
                    return Ok(());
                }
                let object = kinds & 1 == 1;
                if self.close(if object { b'}' } else { b']' }) {
                    kinds >>= 1;
                    continue;
                }
                self.expect(b',')?;
                if object {
                    self.key()?;
                }
                break;
            }
        }
    }

    fn key(&mut self) -> Result<(), Wrong> {
        self.string()?;
        self.expect(b':')
    }

    fn deeper(&mut self) -> Result<(), Wrong> {
        if self.depth >= bounds::JSON_DEPTH {
            return Err(Wrong::Depth(self.at));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn open(&mut self, bracket: u8) -> Result<usize, Wrong> {
        if self.peek() != Some(bracket) {
            return Err(self.wrong());
        }
        let start = self.at;
        self.deeper()?;
        Ok(start)
    }

    #[inline]
    fn close(&mut self, bracket: u8) -> bool {
        let closes = self.peek() == Some(bracket);
        if closes {
            self.at += 1;
            self.depth -= 1;
        }
        closes
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), Wrong> {
        if self.peek() != Some(byte) {
            return Err(self.wrong());
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn scalar(&mut self, first: u8) -> Result<Kind, Wrong> {
        match first {
            b'"' => self.string().map(|_| Kind::String),
            b't' => self.literal(b"true", Kind::Bool(true)),
            b'f' => self.literal(b"false", Kind::Bool(false)),
            b'n' => self.literal(b"null", Kind::Null),
            _ => self.number(),
        }
    }

    fn literal(&mut self, word: &[u8], kind: Kind) -> Result<Kind, Wrong> {
        if self.text.get(self.at..self.at + word.len()) != Some(word) {
            return Err(self.wrong());
        }
        self.at += word.len();
        Ok(kind)
    }

    fn number(&mut self) -> Result<Kind, Wrong> {
        let mut kind = Kind::Integer;
        if self.text.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.text.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
            kind = Kind::Decimal;
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.text.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
            kind = Kind::Decimal;
        }
        Ok(kind)
    }

    fn digits(&mut self) -> Result<(), Wrong> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(self.wrong()) } else { Ok(()) }
    }

    /// Takes one escape; a surrogate must come in its pair.
    fn escape(&mut self) -> Result<(), Wrong> {
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let unit = self.unit().ok_or_else(|| self.wrong())?;
                self.at += 6;
                match unit {
                    0xd800..=0xdbff => match self.unit() {
                        Some(0xdc00..=0xdfff) => {
                            self.at += 6;
                            Ok(())
                        }
                        _ => Err(self.wrong()),
                    },
                    0xdc00..=0xdfff => Err(self.wrong()),
                    _ => Ok(()),
                }
            }
            _ => Err(self.wrong()),
        }
    }

    /// The UTF-16 unit of a `\uXXXX` that begins here.
    fn unit(&self) -> Option<u16> {
        let six = self.text.get(self.at..self.at + 6)?;
        unit(six.strip_prefix(b"\\u")?)
    }

    fn wrong(&self) -> Wrong {
        Wrong::Syntax(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_refuses() {
        for good in
            ["0", "-0", "1.5e+3", "\"\"", "[]", "{}", " {\"a\":[1,{\"b\":null}]} ", "\"\\ud83d\\ude00\""]
        {
            assert!(check(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            "",
            "01",
            "1.",
            ".5",
            "+1",
            "-",
            "1e",
            "NaN",
            "tru",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "[1 2]",
            "[}",
            "{]",
            "\"\\ud83d\"",
            "\"\\udc00\"",
            "\"\\x\"",
            "\"a",
            "1 2",
            "\u{feff}1",
            "\"\n\"",
            "[",
            "{\"a\"",
            "'a'",
            "{\"a\" 1}",
        ] {
            assert!(check(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nest = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(check(nest(bounds::JSON_DEPTH).as_bytes()).is_ok());
        assert!(matches!(check(nest(bounds::JSON_DEPTH + 1).as_bytes()), Err(Wrong::Depth(_))));
        let mixed = "{\"a\":[".repeat(32) + &"]}".repeat(32);
        assert!(check(mixed.as_bytes()).is_ok());
    }
}
