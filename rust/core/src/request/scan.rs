//! The one pass over a request body: which members we read, of what kind, and where.
//!
//! Law: it judges nothing but the JSON itself and a member that is said twice.

use std::ops::Range;

use crate::json::{Kind as Json, Scanner, Text, Wrong};
use crate::refusal::{Kind, Refusal};

/// The members we read, with the kind and place of each.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) fields: [Option<(Json, Range<usize>)>; FIELDS.len()],
    pub(super) model: Option<Box<str>>,
    pub(super) first_bad_message: Option<(usize, Json)>,
    pub(super) list_empty: bool,
    pub(super) include_usage: Option<(Json, Range<usize>)>,
    pub(super) options_empty: bool,
    pub(super) integers: [Option<i128>; FIELDS.len()],
}

pub(super) const MODEL: usize = 0;
pub(super) const MESSAGES: usize = 1;
pub(super) const INPUT: usize = 2;
pub(super) const N: usize = 3;
pub(super) const MAX_COMPLETION: usize = 4;
pub(super) const MAX_TOKENS: usize = 5;
pub(super) const STREAM: usize = 6;
pub(super) const OPTIONS: usize = 7;
pub(super) const PROMPT: usize = 8;
pub(super) const FIELDS: [&str; 9] = [
    "model",
    "messages",
    "input",
    "n",
    "max_completion_tokens",
    "max_tokens",
    "stream",
    "stream_options",
    "prompt",
];

/// A fault found while scanning.
pub(super) enum Stop {
    Json(Wrong),
    Twice(&'static str),
}

impl From<Wrong> for Stop {
    fn from(wrong: Wrong) -> Self {
        Self::Json(wrong)
    }
}

/// Scans the whole body; gives what was seen and where the object ends.
pub(super) fn scan(body: &[u8]) -> Result<(Seen, usize), Refusal> {
    let mut scanner = Scanner::new(body);
    let mut seen = Seen::default();
    let whole = scanner
        .object(|key, scanner| member(&mut seen, key, scanner))
        .and_then(|span| scanner.end().map(|()| span).map_err(Stop::from))
        .map_err(refuse)?;
    Ok((seen, whole.end))
}

fn refuse(stop: Stop) -> Refusal {
    match stop {
        Stop::Json(Wrong::Syntax(_)) => Refusal::of(Kind::BadJson),
        Stop::Json(Wrong::Depth(_)) => Refusal::of(Kind::TooDeep),
        Stop::Twice(name) => Refusal::of(Kind::DuplicateParameter)
            .message(format!("Duplicate parameter: '{name}'."))
            .param(name),
    }
}

/// Takes one member of the body.
fn member(seen: &mut Seen, key: Text<'_>, scanner: &mut Scanner<'_>) -> Result<(), Stop> {
    let Some(field) = FIELDS.iter().position(|name| key.is(name)) else {
        scanner.value()?;
        return Ok(());
    };
    if seen.fields.get(field).is_some_and(Option::is_some) {
        return Err(Stop::Twice(FIELDS.get(field).copied().unwrap_or_default()));
    }
    let place = match (field, scanner.peek()) {
        (MODEL, Some(b'"')) => {
            let start = scanner.at();
            let name = scanner.string()?;
            seen.model = Some(name.decode().into());
            (Json::String, start..scanner.at())
        }
        (MESSAGES | INPUT, Some(b'[')) => (Json::Array, list(seen, field, scanner)?),
        (OPTIONS, Some(b'{')) => (Json::Object, options(seen, scanner)?),
        _ => scanner.value()?,
    };
    if let (Json::Integer, Some(slot)) = (place.0, seen.integers.get_mut(field)) {
        *slot = Some(integer(scanner, &place.1));
    }
    if let Some(slot) = seen.fields.get_mut(field) {
        *slot = Some(place);
    }
    Ok(())
}

/// Takes the array of `messages` or `input`, noting whether it is empty and the first message that is no object.
fn list(seen: &mut Seen, field: usize, scanner: &mut Scanner<'_>) -> Result<Range<usize>, Wrong> {
    let mut count = 0usize;
    let span = scanner.array::<Wrong>(|index, scanner| {
        count = index + 1;
        let (kind, _) = scanner.value()?;
        if field == MESSAGES && kind != Json::Object && seen.first_bad_message.is_none() {
            seen.first_bad_message = Some((index, kind));
        }
        Ok(())
    })?;
    seen.list_empty |= count == 0;
    Ok(span)
}

/// Takes the `stream_options` object.
fn options(seen: &mut Seen, scanner: &mut Scanner<'_>) -> Result<Range<usize>, Stop> {
    seen.options_empty = true;
    scanner.object(|key, scanner| {
        seen.options_empty = false;
        let place = scanner.value()?;
        if key.is("include_usage") {
            if seen.include_usage.is_some() {
                return Err(Stop::Twice("stream_options.include_usage"));
            }
            seen.include_usage = Some(place);
        }
        Ok(())
    })
}

fn integer(scanner: &Scanner<'_>, span: &Range<usize>) -> i128 {
    // Longer than any i128 is out of every range: its sign is all that matters.
    let text = scanner.text(span);
    text.parse().unwrap_or(if text.starts_with('-') { i128::MIN } else { i128::MAX })
}
