//! How many tokens a prompt may have, before anybody has counted them.
//!
//! Law: a guess, used only until the backend has told; what is no text (a picture, a sound) is not taken for text.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::bounds::{MEDIA_TOKENS, TOKEN_BYTES};

/// What stands before the content of a data URL.
static MARK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b";base64,"));

/// A token for each four bytes of a JSON body, rounded up, but so many for each picture or sound in it.
#[must_use]
pub fn estimate(body: &[u8]) -> u64 {
    let (mut media, mut content, mut from) = (0, 0, 0);
    while let Some(rest) = body.get(from..)
        && let Some(at) = MARK.find(rest)
    {
        let begin = from + at + MARK.needle().len();
        let tail = body.get(begin..).unwrap_or_default();
        let length = memchr::memchr(b'"', tail).unwrap_or(tail.len());
        content += length;
        media += 1;
        from = begin + length;
    }
    ((body.len() - content) as u64).div_ceil(TOKEN_BYTES) + media * MEDIA_TOKENS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_by_its_bytes_and_pictures_by_their_number() {
        assert_eq!([estimate(b""), estimate(b"x"), estimate(b"xxxx"), estimate(b"xxxxx")], [0, 1, 1, 2]);
        let picture = format!(r#"["data:image/png;base64,{}","x"]"#, "A".repeat(1_000_000));
        assert_eq!(estimate(picture.as_bytes()), 8 + MEDIA_TOKENS);
        let two = format!("{picture}{picture}");
        assert_eq!(estimate(two.as_bytes()), 15 + 2 * MEDIA_TOKENS);
        // One that never ends is none that a backend will see.
        assert_eq!(estimate(b";base64,AAAA"), 2 + MEDIA_TOKENS);
    }
}
