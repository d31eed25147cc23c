//! Vectors as base64: each number as four bytes, the lowest first, which is how OpenAI's clients ask for them.
//!
//! Law: every number is rounded once, to the nearest 32-bit float. What is no array of numbers is left as it is.

use crate::json::{Kind, Scanner, Wrong};
use crate::splice::Edit;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Takes one entry of an answer's `data`, and notes the edit that turns its `embedding` into base64.
///
/// # Errors
/// The text is broken.
pub fn in_base64(scanner: &mut Scanner<'_>, edits: &mut Vec<Edit>) -> Result<(), Wrong> {
    if scanner.peek() != Some(b'{') {
        return scanner.value().map(drop);
    }
    scanner.object(|key, scanner| {
        if key.raw != b"embedding" || scanner.peek() != Some(b'[') {
            return scanner.value().map(drop);
        }
        let (mut bytes, mut numbers) = (Vec::new(), true);
        let span = scanner.array::<Wrong>(|_, scanner| {
            let (kind, span) = scanner.value()?;
            let number = Some(scanner.text(&span)).filter(|_| matches!(kind, Kind::Integer | Kind::Decimal));
            match number.and_then(|text| text.parse::<f32>().ok()) {
                Some(number) => bytes.extend_from_slice(&number.to_le_bytes()),
                None => numbers = false,
            }
            Ok(())
        })?;
        if numbers {
            edits.push(Edit { span, with: quoted(&bytes) });
        }
        Ok(())
    })?;
    Ok(())
}

/// The bytes in base64, as a JSON string.
fn quoted(bytes: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4 + 2);
    text.push('"');
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = ALPHABET.get((bits >> (18 - 6 * place) & 63) as usize);
            // A letter that no byte stands behind is padding.
            text.push(letter.filter(|_| place <= three.len()).map_or('=', |letter| char::from(*letter)));
        }
    }
    text.push('"');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::splice;

    fn turned(text: &str) -> String {
        let mut edits = Vec::new();
        in_base64(&mut Scanner::new(text.as_bytes()), &mut edits).unwrap();
        String::from_utf8(splice::apply(text.to_owned().into(), edits).to_vec()).unwrap()
    }

    #[test]
    fn padding_is_as_everywhere() {
        for (bytes, wanted) in [
            (&b""[..], "\"\""),
            (b"M", "\"TQ==\""),
            (b"Ma", "\"TWE=\""),
            (b"Man", "\"TWFu\""),
            (&[0xfb, 0xff, 0xfe, 0xff], "\"+//+/w==\""),
        ] {
            assert_eq!(&*quoted(bytes), wanted);
        }
    }

    #[test]
    fn only_arrays_of_numbers_are_turned() {
        assert_eq!(
            turned(r#"{"index":0, "embedding": [1, -2.5e0,0.1] ,"object":"embedding"}"#),
            r#"{"index":0, "embedding": "AACAPwAAIMDNzMw9" ,"object":"embedding"}"#
        );
        for other in
            [r#"{"embedding":"AACAPw=="}"#, r#"{"embedding":[[1.0]]}"#, r#"{"embedding":[null]}"#, "3"]
        {
            assert_eq!(turned(other), other);
        }
    }
}
