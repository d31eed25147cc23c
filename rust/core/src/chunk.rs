//! Reads one streamed chunk: usage, finish reason, whether it carries text; the rest is skipped.
//!
//! Law: it allocates nothing. A chunk that is not JSON is an error; one that is JSON of another shape passes.

use std::ops::Range;

use crate::json::{Kind, Scanner, Wrong};
use crate::usage::{self, Usage};

/// What a chunk says, as far as the relay needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The token counts, when it tells them.
    pub usage: Option<Usage>,
    /// It has a `usage` member, be it null.
    pub has_usage: bool,
    /// Some choice has a finish reason.
    pub finish: bool,
    /// It has at least one choice.
    pub choices: bool,
    /// Some choice carries a piece of the answer.
    pub content: bool,
    /// It is an error object instead of a chunk.
    pub error: bool,
    /// Where its `model` string stands.
    pub model: Option<Range<usize>>,
}

/// Reads the data of one event.
///
/// # Errors
/// It is not JSON.
pub fn read(data: &[u8]) -> Result<Chunk, Wrong> {
    let mut chunk = Chunk::default();
    let mut scanner = Scanner::new(data);
    if scanner.peek() != Some(b'{') {
        scanner.value()?;
        scanner.end()?;
        return Ok(chunk);
    }
    scanner.object(|key, scanner| member(&mut chunk, key.raw, scanner))?;
    scanner.end()?;
    Ok(chunk)
}

fn member(chunk: &mut Chunk, key: &[u8], scanner: &mut Scanner<'_>) -> Result<(), Wrong> {
    match key {
        b"choices" if scanner.peek() == Some(b'[') => {
            scanner.array(|_, scanner| choice(chunk, scanner))?;
        }
        b"usage" => {
            chunk.has_usage = true;
            chunk.usage = usage::member(scanner)?;
        }
        b"error" => chunk.error |= scanner.value()?.0 != Kind::Null,
        b"object" => {
            let (kind, span) = scanner.value()?;
            chunk.error |= kind == Kind::String && scanner.text(&span) == "\"error\"";
        }
        b"model" => {
            let (kind, span) = scanner.value()?;
            chunk.model = (kind == Kind::String).then_some(span);
        }
        _ => {
            scanner.value()?;
        }
    }
    Ok(())
}

fn choice(chunk: &mut Chunk, scanner: &mut Scanner<'_>) -> Result<(), Wrong> {
    chunk.choices = true;
    if scanner.peek() != Some(b'{') {
        scanner.value()?;
        return Ok(());
    }
    scanner.object::<Wrong>(|key, scanner| {
        match key.raw {
            b"finish_reason" => chunk.finish |= scanner.value()?.0 != Kind::Null,
            b"text" => chunk.content |= says(scanner)?,
            b"delta" if scanner.peek() == Some(b'{') => {
                scanner.object::<Wrong>(|key, scanner| {
                    // The role alone, and what is null or empty, is no token.
                    let says = says(scanner)?;
                    chunk.content |= says && key.raw != b"role";
                    Ok(())
                })?;
            }
            _ => {
                scanner.value()?;
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// Whether the value that follows says anything: a string, array or object that is not empty.
fn says(scanner: &mut Scanner<'_>) -> Result<bool, Wrong> {
    let (kind, span) = scanner.value()?;
    Ok(matches!(kind, Kind::String | Kind::Array | Kind::Object) && span.len() > 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Chunk {
        read(text.as_bytes()).unwrap()
    }

    #[test]
    fn reads_what_engines_send() {
        let role = of(
            r#"{"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
        );
        assert_eq!((role.choices, role.content, role.finish, role.model), (true, false, false, Some(9..12)));
        assert!(of(r#"{"choices":[{"delta":{"content":"x"}}]}"#).content);
        assert!(of(r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#).content);
        assert!(of(r#"{"choices":[{"text":"x","finish_reason":"stop"}]}"#).finish);
        let last = of(r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#);
        assert_eq!((last.choices, last.has_usage, last.usage.map(|u| u.completion)), (false, true, Some(2)));
        let null = of(r#"{"choices":[{"delta":{}}],"usage":null}"#);
        assert_eq!((null.has_usage, null.usage), (true, None));
    }

    #[test]
    fn knows_errors_from_chunks() {
        assert!(of(r#"{"error":{"message":"x"}}"#).error);
        assert!(of(r#"{"object":"error","message":"x"}"#).error);
        assert!(!of(r#"{"error":null,"choices":[]}"#).error);
        assert_eq!(of("null"), Chunk::default());
    }

    #[test]
    fn refuses_what_is_not_json() {
        for bad in ["", "{", "{\"choices\":[}", "data", "{} {}", "{\"a\":NaN}"] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
