//! Reads what a chat answers, a streamed chunk or the whole of it: what was said in its first choice.
//!
//! Law: a string is given as it is written between its quotes, so that it goes on without being read; nothing is
//! allocated but for tool calls. Members of other shapes say nothing.

use std::borrow::Cow;

use crate::json::{Kind, Scanner, Wrong};

/// Why the model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    /// It had said everything.
    Whole,
    /// It came to its limit.
    Length,
    /// It was stopped for what it said.
    Filtered,
}

/// A piece of the answer.
#[derive(Debug, Default)]
pub(super) struct Piece<'a> {
    pub(super) reasoning: &'a [u8],
    pub(super) text: &'a [u8],
    pub(super) refusal: &'a [u8],
    pub(super) calls: Vec<Call<'a>>,
    /// The probabilities of the text's tokens: what stands between the brackets of the array.
    pub(super) logprobs: &'a [u8],
    pub(super) finish: Option<Finish>,
}

/// A piece of a tool call.
#[derive(Debug, Default)]
pub(super) struct Call<'a> {
    pub(super) index: u64,
    pub(super) id: &'a [u8],
    pub(super) name: &'a [u8],
    pub(super) arguments: Cow<'a, [u8]>,
}

/// The piece in the first choice; nothing where there is none.
///
/// # Errors
/// It is not JSON.
pub(super) fn read(data: &[u8]) -> Result<Option<Piece<'_>>, Wrong> {
    let mut scanner = Scanner::new(data);
    if scanner.peek() != Some(b'{') {
        return Ok(None);
    }
    let mut piece = None;
    scanner.object::<Wrong>(|key, scanner| {
        if key.raw != b"choices" || scanner.peek() != Some(b'[') {
            return scanner.value().map(drop);
        }
        scanner.array(|_, scanner| {
            if scanner.peek() != Some(b'{') {
                return scanner.value().map(drop);
            }
            let (index, found) = choice(data, scanner)?;
            if index == 0 {
                piece.get_or_insert(found);
            }
            Ok(())
        })?;
        Ok(())
    })?;
    Ok(piece)
}

fn choice<'a>(data: &'a [u8], scanner: &mut Scanner<'a>) -> Result<(u64, Piece<'a>), Wrong> {
    let (mut index, mut piece) = (0, Piece::default());
    scanner.object::<Wrong>(|key, scanner| {
        match key.raw {
            b"index" => index = number(scanner)?.unwrap_or_default(),
            b"finish_reason" => {
                piece.finish = match string(scanner)? {
                    Some(b"length") => Some(Finish::Length),
                    Some(b"content_filter") => Some(Finish::Filtered),
                    Some(_) => Some(Finish::Whole),
                    None => None,
                }
            }
            b"logprobs" => piece.logprobs = logprobs(data, scanner)?,
            b"delta" | b"message" if scanner.peek() == Some(b'{') => said(data, scanner, &mut piece)?,
            _ => {
                scanner.value()?;
            }
        }
        Ok(())
    })?;
    Ok((index, piece))
}

fn said<'a>(data: &'a [u8], scanner: &mut Scanner<'a>, piece: &mut Piece<'a>) -> Result<(), Wrong> {
    scanner.object::<Wrong>(|key, scanner| {
        match key.raw {
            b"content" => piece.text = string(scanner)?.unwrap_or_default(),
            b"refusal" => piece.refusal = string(scanner)?.unwrap_or_default(),
            // Two words for the same; a server that says both says it twice.
            b"reasoning_content" | b"reasoning" => {
                let found = string(scanner)?.unwrap_or_default();
                if piece.reasoning.is_empty() {
                    piece.reasoning = found;
                }
            }
            b"tool_calls" if scanner.peek() == Some(b'[') => {
                scanner.array(|place, scanner| {
                    if scanner.peek() != Some(b'{') {
                        return scanner.value().map(drop);
                    }
                    piece.calls.push(call(data, place, scanner)?);
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

/// One call. A delta says which it belongs to; a whole answer has them in order.
fn call<'a>(data: &'a [u8], place: usize, scanner: &mut Scanner<'a>) -> Result<Call<'a>, Wrong> {
    let mut call = Call { index: place as u64, ..Call::default() };
    scanner.object::<Wrong>(|key, scanner| {
        match key.raw {
            b"index" => call.index = number(scanner)?.unwrap_or(call.index),
            b"id" => call.id = string(scanner)?.unwrap_or_default(),
            b"function" if scanner.peek() == Some(b'{') => {
                scanner.object::<Wrong>(|key, scanner| {
                    match key.raw {
                        b"name" => call.name = string(scanner)?.unwrap_or_default(),
                        b"arguments" => call.arguments = arguments(data, scanner)?,
                        _ => {
                            scanner.value()?;
                        }
                    }
                    Ok(())
                })?;
            }
            _ => {
                scanner.value()?;
            }
        }
        Ok(())
    })?;
    Ok(call)
}

/// Arguments are JSON in a string; some servers leave the string out.
fn arguments<'a>(data: &'a [u8], scanner: &mut Scanner<'a>) -> Result<Cow<'a, [u8]>, Wrong> {
    if scanner.peek() != Some(b'{') {
        return Ok(string(scanner)?.unwrap_or_default().into());
    }
    let (_, span) = scanner.value()?;
    let quoted = serde_json::to_string(&String::from_utf8_lossy(data.get(span).unwrap_or_default()));
    let quoted = quoted.unwrap_or_default();
    Ok(quoted.as_bytes().get(1..quoted.len() - 1).unwrap_or_default().to_vec().into())
}

fn logprobs<'a>(data: &'a [u8], scanner: &mut Scanner<'a>) -> Result<&'a [u8], Wrong> {
    if scanner.peek() != Some(b'{') {
        scanner.value()?;
        return Ok(b"");
    }
    let mut found = &b""[..];
    scanner.object::<Wrong>(|key, scanner| {
        let (kind, span) = scanner.value()?;
        if key.raw == b"content" && kind == Kind::Array {
            found = data.get(span.start + 1..span.end - 1).unwrap_or_default().trim_ascii();
        }
        Ok(())
    })?;
    Ok(found)
}

/// What stands between the quotes of a string; nothing of anything else.
fn string<'a>(scanner: &mut Scanner<'a>) -> Result<Option<&'a [u8]>, Wrong> {
    if scanner.peek() == Some(b'"') {
        return scanner.string().map(|text| Some(text.raw));
    }
    scanner.value().map(|_| None)
}

fn number(scanner: &mut Scanner<'_>) -> Result<Option<u64>, Wrong> {
    let (_, span) = scanner.value()?;
    Ok(scanner.text(&span).parse().ok())
}
