//! How far a string goes on without anything special in it.
//!
//! Law: exact at every length. This loop sees every byte of every prompt, so it looks at eight or sixty-four at a time.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// How many bytes from the start need no look: no quote, no backslash, no control character.
#[inline]
pub(super) fn plain(text: &[u8]) -> usize {
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

#[cfg(test)]
mod tests {
    use super::*;

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
