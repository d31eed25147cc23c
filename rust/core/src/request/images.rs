//! Where the first image stands in a request: in a message of chat or of Anthropic's, or in the input of Responses.
//!
//! Law: looked for only where it matters; a body that speaks of no image is not read again.

use std::ops::ControlFlow;

use crate::json::{Scanner, Wrong};

/// The kinds of part that are images, and the member that holds each.
const KINDS: [(&str, &str); 3] =
    [("image_url", "image_url"), ("input_image", "image_url"), ("image", "source")];

/// Why the reading has stopped: the path has been found, or the text is broken.
type Stop = ControlFlow<String, Wrong>;

impl From<Wrong> for Stop {
    fn from(wrong: Wrong) -> Self {
        Self::Continue(wrong)
    }
}

/// The path of the first image in a body that has been read.
#[must_use]
pub fn first_image(body: &[u8]) -> Option<String> {
    // A name may be written in escapes.
    let may = ["image", "\\u"].iter().any(|word| memchr::memmem::find(body, word.as_bytes()).is_some());
    let found = may.then(|| {
        Scanner::new(body).object::<Stop>(|key, scanner| {
            match ["messages", "input"].iter().find(|name| key.is(name)) {
                Some(name) if scanner.peek() == Some(b'[') => list(scanner, name),
                _ => skip(scanner),
            }
        })
    });
    match found {
        Some(Err(ControlFlow::Break(path))) => Some(path),
        _ => None,
    }
}

/// Takes the messages.
fn list(scanner: &mut Scanner<'_>, name: &str) -> Result<(), Stop> {
    let whole = scanner.array::<Stop>(|at, scanner| {
        if scanner.peek() != Some(b'{') {
            return skip(scanner);
        }
        let message = scanner.object::<Stop>(|key, scanner| {
            if !key.is("content") || scanner.peek() != Some(b'[') {
                return skip(scanner);
            }
            scanner.array(|part, scanner| match member(scanner)? {
                Some(member) => Err(ControlFlow::Break(format!("{name}[{at}].content[{part}].{member}"))),
                None => Ok(()),
            })?;
            Ok(())
        });
        message.map(drop)
    });
    whole.map(drop)
}

/// Takes a part of a message; if it is an image, the member that holds it.
fn member(scanner: &mut Scanner<'_>) -> Result<Option<&'static str>, Stop> {
    let mut found = None;
    if scanner.peek() != Some(b'{') {
        skip(scanner)?;
        return Ok(found);
    }
    scanner.object::<Stop>(|key, scanner| {
        if !key.is("type") || scanner.peek() != Some(b'"') {
            return skip(scanner);
        }
        let kind = scanner.string()?;
        found = KINDS.iter().find(|(name, _)| kind.is(name)).map(|(_, member)| *member);
        Ok(())
    })?;
    Ok(found)
}

fn skip(scanner: &mut Scanner<'_>) -> Result<(), Stop> {
    scanner.value()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::first_image;

    #[test]
    fn the_first_image_is_found_by_its_path() {
        for (body, path) in [
            (
                r#"{"messages":[{"content":"image_url"},{"content":[{"type":"text","text":"x"},{"type":"image_url"},{"type":"image_url"}]}]}"#,
                Some("messages[1].content[1].image_url"),
            ),
            (
                r#"{"input":[{"content":[{"type":"input_\u0069mage"}]}]}"#,
                Some("input[0].content[0].image_url"),
            ),
            (
                r#"{"messages":[{"content":[{"type":"image","source":{}}]}]}"#,
                Some("messages[0].content[0].source"),
            ),
            (
                r#"{"messages":[{"content":[{"type":"text","text":"an image"},3]},3],"tools":[{"type":"image"}]}"#,
                None,
            ),
            (r#"{"input":"an image"}"#, None),
            (r#"{"messages":[{"content":[{"type":"text","text":"x"}]}]}"#, None),
        ] {
            assert_eq!(first_image(body.as_bytes()).as_deref(), path, "{body}");
        }
    }
}
