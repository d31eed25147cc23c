//! A strict RFC 8259 scanner: it finds values and keeps their places, and builds nothing.
//!
//! Law: one pass, no recursion, no allocation but for an escaped key; text that a strict reader would refuse is
//! refused here, so that no backend ever reads another meaning into it than we did. The input is valid UTF-8.

use std::borrow::Cow;
use std::ops::Range;

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

/// A string as it stands in the text: the bytes between the quotes, and whether an escape is among them.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// The bytes between the quotes.
    pub raw: &'a [u8],
    /// Whether `raw` holds a backslash.
    pub escaped: bool,
}

impl<'a> Text<'a> {
    /// What the string says.
    #[must_use]
    pub fn decode(&self) -> Cow<'a, str> {
        if self.escaped { Cow::Owned(unescape(self.raw)) } else { String::from_utf8_lossy(self.raw) }
    }

    /// Whether the string says `name`; escapes do not hide a key from us.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        if self.escaped { unescape(self.raw) == name } else { self.raw == name.as_bytes() }
    }
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
}

impl<'a> Scanner<'a> {
    /// Starts at the first byte of `text`.
    #[must_use]
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// How many bytes have been read.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// The text at `span`.
    #[must_use]
    pub fn text(&self, span: &Range<usize>) -> &'a str {
        self.text.get(span.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
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
            let key = self.string()?;
            self.expect(b':')?;
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

fn unit(hex: &[u8]) -> Option<u16> {
    hex.iter().take(4).try_fold(0u16, |sum, &byte| {
        let digit = char::from(byte).to_digit(16)?;
        Some(sum << 4 | u16::try_from(digit).ok()?)
    })
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// How many bytes from the start need no look: no quote, no backslash, no control character.
#[inline]
fn plain(text: &[u8]) -> usize {
    let mut at = 0;
    // Short strings, keys above all, end within the first words; the exact place comes from the word itself.
    while at < 16 {
        let Some(mask) = word(text, at) else { return at + slow(text.get(at..).unwrap_or_default()) };
        if mask != 0 {
            return at + (mask.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    // Long text: the compiler turns this loop into vector instructions.
    for block in text.get(at..).unwrap_or_default().chunks_exact(64) {
        let mut found = 0u8;
        for &byte in block {
            found |= u8::from(byte == b'"') | u8::from(byte == b'\\') | u8::from(byte < 0x20);
        }
        if found != 0 {
            break;
        }
        at += 64;
    }
    while let Some(mask) = word(text, at) {
        if mask != 0 {
            return at + (mask.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    at + slow(text.get(at..).unwrap_or_default())
}

/// The eight bytes at `at` as a mask: the lowest set bit marks the first byte that needs a look.
#[inline]
fn word(text: &[u8], at: usize) -> Option<u64> {
    let bytes: [u8; 8] = text.get(at..at + 8)?.try_into().ok()?;
    let word = u64::from_le_bytes(bytes);
    let zero = |x: u64| x.wrapping_sub(ONES) & !x;
    let quote = zero(word ^ (ONES * u64::from(b'"')));
    let slash = zero(word ^ (ONES * u64::from(b'\\')));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    Some((quote | slash | control) & HIGHS)
}

fn slow(text: &[u8]) -> usize {
    text.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20).unwrap_or(text.len())
}

/// What an escaped string says; the scanner has checked it.
fn unescape(raw: &[u8]) -> String {
    let mut out: Vec<u8> = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some((&kind, after)) = rest.split_first() else { break };
        rest = after;
        let plain = match kind {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                rest = character(rest, &mut out);
                continue;
            }
            other => other,
        };
        out.push(plain);
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Appends the character of a `\u` escape (its four digits come first in `rest`) and returns what follows it.
fn character<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let (high, mut rest) = (unit(rest).unwrap_or(0xfffd), rest.get(4..).unwrap_or_default());
    let mut pair = [high, 0];
    let mut units = 1;
    if (0xd800..=0xdbff).contains(&high) {
        pair = [high, rest.get(2..).and_then(unit).unwrap_or(0)];
        rest = rest.get(6..).unwrap_or_default();
        units = 2;
    }
    for decoded in char::decode_utf16(pair.into_iter().take(units)) {
        let mut buffer = [0; 4];
        out.extend_from_slice(decoded.unwrap_or('\u{fffd}').encode_utf8(&mut buffer).as_bytes());
    }
    rest
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

    #[test]
    fn escapes_do_not_hide_keys() {
        let mut scanner = Scanner::new(b"\"mod\\u0065l\"");
        let text = scanner.string().unwrap();
        assert!(text.is("model"));
        assert_eq!(Scanner::new(b"\"\\ud83d\\ude00\\n\"").string().unwrap().decode(), "\u{1f600}\n");
    }

    #[test]
    fn places_are_exact_at_every_length() {
        for length in 0..200 {
            for stop in [b'"', b'\\', 0x1f] {
                let mut text = vec![b'a'; length];
                text.push(stop);
                text.extend_from_slice(&[b'b'; 70]);
                assert_eq!(plain(&text), length);
            }
            assert_eq!(plain(&vec![0xc3; length]), length);
        }
    }
}
