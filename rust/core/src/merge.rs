//! Several answers of one choice each as one answer of several choices.
//!
//! Law: it is made of the answers' own bytes. Written anew are only the indexes, the sums of tokens, and the id and
//! time that all chunks of one answer share: those of the first chunk that came. The prompt is counted once.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::json::{Kind, Scanner, Wrong};
use crate::relay::{DONE, edited};
use crate::splice::{self, Edit};
use crate::sse;

/// Whole answers as one; of what is no choice and no sum, the first one's stands.
///
/// # Errors
/// One of them is no JSON object, or has no choices.
pub fn bodies(bodies: &[Bytes]) -> Result<Bytes, Wrong> {
    let mut choices: Vec<(u64, Bytes)> = Vec::new();
    let mut parts = Vec::with_capacity(bodies.len());
    for (at, body) in bodies.iter().enumerate() {
        let part = read(body, |choice| {
            let (index, edit) = choice.of_whole(at, bodies.len());
            let edits = edit.into_iter().map(|edit| shifted(edit, choice.span.start)).collect();
            choices.push((index, splice::apply(body.slice(choice.span), edits)));
        })?;
        parts.push(part);
    }
    choices.sort_by_key(|(index, _)| *index);
    let usages = bodies.iter().zip(&parts).filter_map(|(body, part)| body.get(part.usage.clone()?));
    let sums = summed(&usages.collect::<Vec<_>>());
    let (Some(body), Some(part)) = (bodies.first(), parts.first()) else { return Err(Wrong::Syntax(0)) };
    if parts.iter().any(|part| part.choices.is_none()) {
        return Err(Wrong::Syntax(0));
    }
    let place = part.choices.clone().unwrap_or_default();
    let (mut before, mut after) = (body.slice(..place.start), body.slice(place.end..));
    // A first answer that told no usage has no place for the sum.
    match &part.usage {
        Some(usage) if usage.start < place.start => {
            let edits = sums.into_iter().map(|edit| moved(edit, usage.start)).collect();
            before = splice::apply(before, edits);
        }
        Some(usage) => {
            let edits =
                sums.into_iter().map(|edit| moved(edit, usage.start.saturating_sub(place.end))).collect();
            after = splice::apply(after, edits);
        }
        None => {}
    }
    let length: usize = choices.iter().map(|(_, choice)| choice.len() + 1).sum();
    let mut out = BytesMut::with_capacity(before.len() + length + after.len() + 2);
    out.extend_from_slice(&before);
    out.extend_from_slice(b"[");
    for (at, (_, choice)) in choices.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"" } else { b"," });
        out.extend_from_slice(choice);
    }
    out.extend_from_slice(b"]");
    out.extend_from_slice(&after);
    Ok(out.freeze())
}

/// Several streams as one, whatever the order in which their events come.
#[derive(Debug)]
pub struct Streams {
    /// `id` and `created` of the first chunk, as JSON texts; empty where it has none.
    shared: Option<[Box<str>; 2]>,
    /// Of each stream, the last chunk that told its usage.
    told: Vec<Option<Bytes>>,
}

impl Streams {
    /// The beginning of `count` streams.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { shared: None, told: vec![None; count] }
    }

    /// Events of the stream `at` as events of the whole; its end and its usage chunk are held back.
    pub fn take(&mut self, at: usize, events: Bytes) -> Bytes {
        // As long as every event is kept, the bytes go on as they are; the first that is not starts a copy.
        let mut copy: Option<BytesMut> = None;
        let mut kept = 0;
        for event in sse::split(&events) {
            let instead = self.event(at, event);
            match (&mut copy, &instead) {
                (None, Cow::Borrowed(same)) if same.len() == event.len() => kept += event.len(),
                (None, other) => {
                    let mut begun = BytesMut::from(events.get(..kept).unwrap_or_default());
                    begun.extend_from_slice(other);
                    copy = Some(begun);
                }
                (Some(copy), other) => copy.extend_from_slice(other),
            }
        }
        copy.map_or(events, BytesMut::freeze)
    }

    /// The last events, when all streams have ended: the usage of all, if they told theirs, and `[DONE]`.
    #[must_use]
    pub fn end(&self) -> Bytes {
        let told = self.told.iter().flatten();
        let read: Vec<_> = told.filter_map(|data| Some((data, read(data, drop).ok()?))).collect();
        let usages = read.iter().filter_map(|(data, parts)| data.get(parts.usage.clone()?));
        let sums = summed(&usages.collect::<Vec<_>>());
        let mut out = BytesMut::new();
        if let Some((data, parts)) = read.first() {
            let start = parts.usage.as_ref().map_or(0, |usage| usage.start);
            let mut edits: Vec<_> = sums.into_iter().map(|edit| moved(edit, start)).collect();
            edits.extend(parts.choices.clone().map(|span| Edit { span, with: "[]".into() }));
            edits.extend(self.shared_edits(data, parts));
            out.extend_from_slice(&edited(b"", data, edits));
        }
        out.extend_from_slice(DONE);
        out.freeze()
    }

    /// What becomes of one event: nothing where it is held back.
    fn event<'a>(&mut self, at: usize, event: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(data) = data(event) else { return Cow::Borrowed(event) };
        if &*data == b"[DONE]" {
            return Cow::Borrowed(b"");
        }
        let (mut edits, mut choices, count) = (Vec::new(), 0, self.told.len());
        let parts = read(&data, |choice| {
            choices += 1;
            edits.extend(choice.of_whole(at, count).1);
        });
        let Ok(parts) = parts else { return Cow::Borrowed(event) };
        if let (Some(_), Some(told)) = (&parts.usage, self.told.get_mut(at)) {
            *told = Some(Bytes::copy_from_slice(&data));
            if choices == 0 {
                return Cow::Borrowed(b"");
            }
        }
        if self.shared.is_none() && parts.id.is_some() {
            self.shared = Some([&parts.id, &parts.created].map(|span| text(&data, span.as_ref()).into()));
        }
        edits.extend(self.shared_edits(&data, &parts));
        if edits.is_empty() { Cow::Borrowed(event) } else { Cow::Owned(edited(event, &data, edits)) }
    }

    /// The edits that give a chunk the id and time of the first.
    fn shared_edits(&self, data: &[u8], parts: &Parts) -> impl Iterator<Item = Edit> {
        let edit = |span: &Option<Range<usize>>, with: &str| {
            let span = span.clone().filter(|span| !with.is_empty() && text(data, Some(span)) != with)?;
            Some(Edit { span, with: with.into() })
        };
        let [id, created] = self.shared.as_ref().map_or(["", ""], |[id, created]| [id, created]);
        [edit(&parts.id, id), edit(&parts.created, created)].into_iter().flatten()
    }
}

/// Where those members of an answer stand that are changed.
#[derive(Debug, Default)]
struct Parts {
    id: Option<Range<usize>>,
    created: Option<Range<usize>>,
    /// If it is an object.
    usage: Option<Range<usize>>,
    choices: Option<Range<usize>>,
}

/// One choice of an answer.
#[derive(Debug)]
struct Choice {
    span: Range<usize>,
    /// Its index, or its place where it tells none.
    number: u64,
    /// Where the index stands, or would go.
    index: Option<Range<usize>>,
    told: bool,
}

impl Choice {
    /// Its index in the whole, and the edit that says so. A list of prompts has several choices in each answer: those
    /// of one prompt stand together.
    fn of_whole(&self, at: usize, count: usize) -> (u64, Option<Edit>) {
        let index = self.number.saturating_mul(count as u64).saturating_add(at as u64);
        let edit = self.index.clone().filter(|_| !self.told || index != self.number).map(|span| {
            let with = if self.told { index.to_string() } else { format!("\"index\":{index},") };
            Edit { span, with: with.into() }
        });
        (index, edit)
    }
}

/// Reads an answer or a chunk; each of its choices goes to `choice`.
fn read(text: &[u8], mut choice: impl FnMut(Choice)) -> Result<Parts, Wrong> {
    let mut parts = Parts::default();
    let mut scanner = Scanner::new(text);
    scanner.object::<Wrong>(|key, scanner| {
        if key.raw == b"choices" && scanner.peek() == Some(b'[') {
            let span = scanner.array(|place, scanner| one(place, scanner).map(&mut choice))?;
            parts.choices = Some(span);
            return Ok(());
        }
        let (kind, span) = scanner.value()?;
        match (key.raw, kind) {
            (b"id", _) => parts.id = Some(span),
            (b"created", _) => parts.created = Some(span),
            (b"usage", Kind::Object) => parts.usage = Some(span),
            _ => {}
        }
        Ok(())
    })?;
    scanner.end()?;
    Ok(parts)
}

/// Takes one choice.
fn one(place: usize, scanner: &mut Scanner<'_>) -> Result<Choice, Wrong> {
    let mut choice = Choice { span: 0..0, number: place as u64, index: None, told: false };
    if scanner.peek() != Some(b'{') {
        choice.span = scanner.value()?.1;
        return Ok(choice);
    }
    choice.span = scanner.object::<Wrong>(|key, scanner| {
        let before = scanner.key_at();
        let span = scanner.value()?.1;
        if key.raw == b"index" {
            choice.number = scanner.text(&span).parse().unwrap_or(choice.number);
            (choice.index, choice.told) = (Some(span), true);
        } else if choice.index.is_none() {
            choice.index = Some(before..before);
        }
        Ok(())
    })?;
    Ok(choice)
}

/// One count of a usage.
struct Count<'a> {
    /// Of the details of the answer.
    detail: bool,
    name: &'a [u8],
    span: Range<usize>,
    count: u64,
}

/// The edits that make the first of some usages that of all: what the answers cost adds up, the prompt is one.
fn summed(usages: &[&[u8]]) -> Vec<Edit> {
    let Some((first, others)) = usages.split_first() else { return Vec::new() };
    let mut sums: Vec<Count<'_>> = Vec::new();
    // A text that cannot be read has told its counts up to there.
    let _ = counts(first, |count| sums.push(count));
    for other in others {
        let _ = counts(other, |count| {
            let adds = count.detail || count.name == b"completion_tokens";
            let same = |sum: &&mut Count<'_>| adds && (sum.detail, sum.name) == (count.detail, count.name);
            if let Some(sum) = sums.iter_mut().find(same) {
                sum.count = sum.count.saturating_add(count.count);
            }
        });
    }
    let of = |name: &[u8]| sums.iter().find(|sum| !sum.detail && sum.name == name).map_or(0, |sum| sum.count);
    let total = of(b"prompt_tokens").saturating_add(of(b"completion_tokens"));
    if let (Some(sum), false) =
        (sums.iter_mut().find(|sum| !sum.detail && sum.name == b"total_tokens"), others.is_empty())
    {
        sum.count = total;
    }
    sums.into_iter().map(|sum| Edit { span: sum.span, with: sum.count.to_string().into() }).collect()
}

/// Reads a usage; each count of it goes to `found`.
fn counts<'a>(usage: &'a [u8], mut found: impl FnMut(Count<'a>)) -> Result<(), Wrong> {
    Scanner::new(usage).object::<Wrong>(|key, scanner| {
        if key.raw == b"completion_tokens_details" && scanner.peek() == Some(b'{') {
            scanner.object::<Wrong>(|key, scanner| count(true, key.raw, scanner, &mut found))?;
            return Ok(());
        }
        count(false, key.raw, scanner, &mut found)
    })?;
    Ok(())
}

fn count<'a>(
    detail: bool,
    name: &'a [u8],
    scanner: &mut Scanner<'a>,
    found: &mut impl FnMut(Count<'a>),
) -> Result<(), Wrong> {
    let (kind, span) = scanner.value()?;
    if let (Kind::Integer, Ok(count)) = (kind, scanner.text(&span).parse()) {
        found(Count { detail, name, span, count });
    }
    Ok(())
}

/// The data of an event, if it has any.
fn data(event: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut lines = sse::fields(event).filter(|field| field.name == b"data").map(|field| field.value);
    let mut data = Cow::Borrowed(lines.next()?);
    for line in lines {
        let whole = data.to_mut();
        whole.push(b'\n');
        whole.extend_from_slice(line);
    }
    Some(data)
}

fn text<'a>(data: &'a [u8], span: Option<&Range<usize>>) -> &'a str {
    span.and_then(|span| std::str::from_utf8(data.get(span.clone())?).ok()).unwrap_or_default()
}

/// The same edit of a text that begins `by` bytes later.
fn shifted(edit: Edit, by: usize) -> Edit {
    Edit { span: edit.span.start.saturating_sub(by)..edit.span.end.saturating_sub(by), with: edit.with }
}

/// The same edit where its text begins `by` bytes further on.
fn moved(edit: Edit, by: usize) -> Edit {
    Edit { span: edit.span.start + by..edit.span.end + by, with: edit.with }
}
