//! A JSON string as it stands in the text, and what it says.
//!
//! Law: it allocates only to resolve an escape. The scanner has checked what is read here.

use std::borrow::Cow;

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

/// The UTF-16 unit that four hexadecimal digits say.
pub(super) fn unit(hex: &[u8]) -> Option<u16> {
    hex.iter().take(4).try_fold(0u16, |sum, &byte| {
        let digit = char::from(byte).to_digit(16)?;
        Some(sum << 4 | u16::try_from(digit).ok()?)
    })
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
    use crate::json::Scanner;

    #[test]
    fn escapes_do_not_hide_keys() {
        let mut scanner = Scanner::new(b"\"mod\\u0065l\"");
        let text = scanner.string().unwrap();
        assert!(text.is("model"));
        assert_eq!(Scanner::new(b"\"\\ud83d\\ude00\\n\"").string().unwrap().decode(), "\u{1f600}\n");
    }
}
