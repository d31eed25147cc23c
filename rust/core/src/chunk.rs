//! Reads one piece of an answer, a streamed event or a whole body: usage, finish reason, whether it carries text; and
//! finds what has to be changed in it. The rest is skipped.
//!
//! Law: nothing is allocated unless something must be changed. A chunk that is not JSON is an error; one that is JSON of
//! another shape passes.

use std::ops::Range;

use crate::json::{Kind, Scanner, Wrong};
use crate::planted;
use crate::splice::Edit;
use crate::usage::{self, Usage};
use crate::vector;

/// What is changed in answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Style {
    /// The public model name as JSON text, where the backend uses another.
    pub rename: Option<Box<str>>,
    /// What becomes of `system_fingerprint`.
    pub fingerprint: Fingerprint,
    /// Usage has `cache_read_input_tokens` and `cache_creation_input_tokens`.
    pub cache_counters: bool,
    /// A chunk with choices tells no usage: the client has not asked for it.
    pub hide_usage: bool,
    /// A chunk with choices tells no timings before the end: the client has not asked for them.
    pub hide_timings: bool,
    /// Of several tool calls only the first is passed on.
    pub one_call: bool,
    /// Vectors of numbers become base64.
    pub base64: bool,
    /// Reasoning is told under both of its names.
    pub both_reasonings: bool,
}

/// What becomes of `system_fingerprint`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fingerprint {
    /// As the backend has it.
    #[default]
    Keep,
    /// Taken out.
    Remove,
    /// Null where the backend has none.
    Ensure,
}

impl Style {
    /// Whether nothing is changed.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// What a chunk says, as far as the relay needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The token counts, when it tells them.
    pub usage: Option<Usage>,
    /// What llama.cpp's timings tell of the tokens so far.
    pub timings: Option<Usage>,
    /// How long a sound was that was heard, in milliseconds.
    pub duration_ms: Option<u64>,
    /// It has a `usage` member, be it null.
    pub has_usage: bool,
    /// Some choice has a finish reason, or an image is complete.
    pub finish: bool,
    /// It has at least one choice.
    pub choices: bool,
    /// The number of its last choice.
    pub choice: u64,
    /// It carries a piece of the answer.
    pub content: bool,
    /// It is an error object instead of a chunk.
    pub error: bool,
    /// It is an event after which no other comes.
    pub ends: bool,
    /// It carried tool calls, and none of them is passed on.
    pub hushed: bool,
    /// What has to be changed.
    pub edits: Vec<Edit>,
    /// Where the value of `created` stands.
    pub created_at: Range<usize>,
    /// Where the value of `choices` stands.
    pub choices_at: Range<usize>,
    /// Where the value of `timings` stands.
    pub timings_at: Range<usize>,
    /// Where the value of `system_fingerprint` stands.
    pub fingerprint_at: Range<usize>,
    /// Where `usage` stands, with one comma beside it, and its value.
    pub usage_at: (Range<usize>, Range<usize>),
}

/// Reads the data of one event, or a whole body.
///
/// # Errors
/// It is not JSON.
pub fn read(data: &[u8], style: &Style) -> Result<Chunk, Wrong> {
    let mut reader = Reader { chunk: Chunk::default(), style };
    let mut scanner = Scanner::new(data);
    if scanner.peek() != Some(b'{') {
        scanner.value()?;
        scanner.end()?;
        return Ok(reader.chunk);
    }
    let (mut fingerprint, mut usage, mut timings) = (Place::default(), Place::default(), Place::default());
    let span = scanner.object(|key, scanner| {
        fingerprint.member(key.raw == b"system_fingerprint", scanner.key_at());
        usage.member(key.raw == b"usage", scanner.key_at());
        timings.member(key.raw == b"timings", scanner.key_at());
        reader.member(key.raw, scanner)?;
        fingerprint.end(scanner.at());
        usage.end(scanner.at());
        timings.end(scanner.at());
        Ok(())
    })?;
    scanner.end()?;
    if let Some(whole) = usage.found(span.end - 1) {
        reader.chunk.usage_at.0 = whole;
    }
    if style.hide_usage
        && !planted::is("usage_unasked")
        && reader.chunk.choices
        && reader.chunk.usage.is_some()
    {
        reader.chunk.edits = reader.chunk.without_usage();
    }
    let early = reader.chunk.choices && !reader.chunk.finish;
    if let Some(span) = timings.found(span.end - 1).filter(|_| style.hide_timings && early) {
        reader.chunk.edits.push(Edit { span, with: "".into() });
    }
    let edits = &mut reader.chunk.edits;
    match (style.fingerprint, fingerprint.found(span.end - 1)) {
        (Fingerprint::Remove, Some(span)) => edits.push(Edit { span, with: "".into() }),
        (Fingerprint::Ensure, None) if reader.chunk.choices => {
            let with = ",\"system_fingerprint\":null".into();
            edits.push(Edit { span: span.end - 1..span.end - 1, with });
        }
        _ => {}
    }
    Ok(reader.chunk)
}

impl Chunk {
    /// The edits that take `usage` out too; what was to be put into it goes with it.
    #[must_use]
    pub fn without_usage(&self) -> Vec<Edit> {
        let whole = &self.usage_at.0;
        if whole.is_empty() { self.edits.clone() } else { replaced(&self.edits, whole, "".into()) }
    }

    /// The edits that leave no choice in it; `usage` stands in place of its own where that is given.
    #[must_use]
    pub fn usage_alone(&self, usage: Option<Box<str>>) -> Vec<Edit> {
        let edits = match usage {
            Some(with) => &replaced(&self.edits, &self.usage_at.1, with),
            None => &self.edits,
        };
        if self.choices { replaced(edits, &self.choices_at, "[]".into()) } else { edits.clone() }
    }
}

/// The edits with one more, which replaces those within its span.
fn replaced(edits: &[Edit], span: &Range<usize>, with: Box<str>) -> Vec<Edit> {
    let outside = edits.iter().filter(|edit| !span.contains(&edit.span.start)).cloned();
    outside.chain([Edit { span: span.clone(), with }]).collect()
}

/// The names of what a model thinks before it answers: llama.cpp's and DeepSeek's, and vLLM's.
const REASONING: [&str; 2] = ["reasoning_content", "reasoning"];

/// Where a member stands together with one comma beside it.
#[derive(Default)]
struct Place {
    before: usize,
    begun: Option<(usize, bool)>,
    over: Option<Range<usize>>,
    first_over: bool,
}

impl Place {
    /// A member begins at `at`; is it the one?
    fn member(&mut self, wanted: bool, at: usize) {
        if let (true, Some(over)) = (std::mem::take(&mut self.first_over), &mut self.over) {
            over.end = at;
        }
        if wanted {
            self.begun = Some(if self.before == 0 { (at, true) } else { (self.before, false) });
        }
    }

    /// The member has ended at `at`.
    fn end(&mut self, at: usize) {
        if let Some((from, first)) = self.begun.take() {
            self.over = Some(from..at);
            self.first_over = first;
        }
        self.before = at;
    }

    /// The span to take out; `close` is where the object closes.
    fn found(self, close: usize) -> Option<Range<usize>> {
        self.over.map(|over| if self.first_over { over.start..close } else { over })
    }
}

struct Reader<'s> {
    chunk: Chunk,
    style: &'s Style,
}

impl Reader<'_> {
    fn member(&mut self, key: &[u8], scanner: &mut Scanner<'_>) -> Result<(), Wrong> {
        match key {
            b"choices" if scanner.peek() == Some(b'[') => {
                self.chunk.choices_at = scanner.array(|_, scanner| self.choice(scanner))?;
            }
            b"data" if self.style.base64 && scanner.peek() == Some(b'[') => {
                scanner.array(|_, scanner| vector::in_base64(scanner, &mut self.chunk.edits))?;
            }
            b"usage" => self.usage(scanner)?,
            b"timings" => {
                scanner.peek();
                let start = scanner.at();
                self.chunk.timings = usage::timings(scanner)?;
                self.chunk.timings_at = start..scanner.at();
            }
            // A transcription that tells no usage tells how long the sound was.
            b"duration" => self.chunk.duration_ms = usage::millis(scanner)?,
            b"system_fingerprint" => self.chunk.fingerprint_at = scanner.value()?.1,
            b"error" => self.chunk.error |= scanner.value()?.0 != Kind::Null,
            b"object" => {
                let (kind, span) = scanner.value()?;
                self.chunk.error |= kind == Kind::String && scanner.text(&span) == "\"error\"";
            }
            b"model" => self.model(scanner)?,
            b"created" => self.chunk.created_at = scanner.value()?.1,
            b"type" if scanner.peek() == Some(b'"') => {
                let span = scanner.value()?.1;
                self.event(scanner.text(&span).trim_matches('"'));
            }
            // The events of Responses and of Anthropic hold the answer in a member.
            b"response" | b"message" if scanner.peek() == Some(b'{') => {
                scanner.object(|key, scanner| match key.raw {
                    b"usage" => self.usage(scanner),
                    b"model" => self.model(scanner),
                    _ => scanner.value().map(drop),
                })?;
            }
            _ => {
                scanner.value()?;
            }
        }
        Ok(())
    }

    /// What the type of a typed event says.
    fn event(&mut self, name: &str) {
        match name {
            "error" | "response.failed" => self.chunk.error = true,
            "response.completed"
            | "response.incomplete"
            | "response.cancelled"
            | "message_stop"
            | "transcript.text.done"
            | "speech.audio.done" => self.chunk.ends = true,
            "image_generation.completed" | "image_edit.completed" => self.chunk.finish = true,
            _ => self.chunk.content |= name.ends_with(".delta") || name == "content_block_delta",
        }
    }

    fn usage(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Wrong> {
        self.chunk.has_usage = true;
        scanner.peek();
        let start = scanner.at();
        self.chunk.usage = usage::member(scanner)?;
        self.chunk.usage_at.1 = start..scanner.at();
        if let Some(usage) = self.chunk.usage.filter(|usage| self.style.cache_counters && !usage.flat) {
            let at = scanner.at() - 1;
            let with = Usage::counters(usage.cached, usage.created).into();
            self.chunk.edits.push(Edit { span: at..at, with });
        }
        Ok(())
    }

    fn model(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Wrong> {
        let (kind, span) = scanner.value()?;
        if let (Kind::String, Some(name)) = (kind, &self.style.rename) {
            self.chunk.edits.push(Edit { span, with: name.clone() });
        }
        Ok(())
    }

    fn choice(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Wrong> {
        self.chunk.choices = true;
        if scanner.peek() != Some(b'{') {
            scanner.value()?;
            return Ok(());
        }
        scanner.object::<Wrong>(|key, scanner| {
            match key.raw {
                b"finish_reason" => self.chunk.finish |= scanner.value()?.0 != Kind::Null,
                b"index" => {
                    let span = scanner.value()?.1;
                    self.chunk.choice = scanner.text(&span).parse().unwrap_or_default();
                }
                b"text" => self.chunk.content |= says(scanner)?,
                b"delta" | b"message" if scanner.peek() == Some(b'{') => self.said(scanner)?,
                _ => {
                    scanner.value()?;
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Takes what a choice says: its delta or message.
    fn said(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Wrong> {
        let mut thoughts = [None, None];
        scanner.object::<Wrong>(|key, scanner| {
            if key.raw == b"tool_calls" && self.style.one_call && scanner.peek() == Some(b'[') {
                self.chunk.content |= self.first_call(scanner)?;
                return Ok(());
            }
            // The role alone, and what is null or empty, is no token.
            scanner.peek();
            let start = scanner.at();
            let says = says(scanner)?;
            self.chunk.content |= says && key.raw != b"role";
            if self.style.both_reasonings {
                let names = REASONING.iter().zip(&mut thoughts).find(|(name, _)| key.raw == name.as_bytes());
                if let Some((_, place)) = names {
                    *place = Some((says, start..scanner.at()));
                }
            }
            Ok(())
        })?;
        match thoughts {
            [Some((true, span)), other] => self.twin(scanner, &span, REASONING[1], other),
            [other, Some((true, span))] => self.twin(scanner, &span, REASONING[0], other),
            _ => {}
        }
        Ok(())
    }

    /// Tells what stands at `span` under `name` too, unless that says something of its own.
    fn twin(
        &mut self,
        scanner: &Scanner<'_>,
        span: &Range<usize>,
        name: &str,
        other: Option<(bool, Range<usize>)>,
    ) {
        let text = scanner.text(span);
        let edit = match other {
            Some((true, _)) => return,
            Some((false, place)) => Edit { span: place, with: text.into() },
            None => Edit { span: span.end..span.end, with: format!(",\"{name}\":{text}").into() },
        };
        self.chunk.edits.push(edit);
    }

    /// Takes tool calls and cuts out all but the first of the answer; whether any is left.
    fn first_call(&mut self, scanner: &mut Scanner<'_>) -> Result<bool, Wrong> {
        let (mut kept, mut cut) = (0usize, None::<Range<usize>>);
        let mut before = None;
        scanner.array::<Wrong>(|place, scanner| {
            scanner.peek();
            let start = scanner.at();
            // A delta says which call it belongs to; a whole answer has them in order.
            let index = index(scanner)?.unwrap_or(place as u64);
            if index == 0 {
                kept += 1;
            } else {
                let from = cut.as_ref().map_or_else(|| before.unwrap_or(start), |cut| cut.start);
                cut = Some(from..scanner.at());
            }
            before = Some(scanner.at());
            Ok(())
        })?;
        if let Some(span) = cut {
            self.chunk.hushed |= kept == 0;
            self.chunk.edits.push(Edit { span, with: "".into() });
        }
        Ok(kept > 0)
    }
}

/// Takes an object; its `index`, if it has one.
fn index(scanner: &mut Scanner<'_>) -> Result<Option<u64>, Wrong> {
    if scanner.peek() != Some(b'{') {
        scanner.value()?;
        return Ok(None);
    }
    let mut index = None;
    scanner.object::<Wrong>(|key, scanner| {
        let (kind, span) = scanner.value()?;
        if key.raw == b"index" && kind == Kind::Integer {
            index = scanner.text(&span).parse().ok();
        }
        Ok(())
    })?;
    Ok(index)
}

/// Whether the value that follows says anything: a string, array or object that is not empty.
fn says(scanner: &mut Scanner<'_>) -> Result<bool, Wrong> {
    let (kind, span) = scanner.value()?;
    Ok(matches!(kind, Kind::String | Kind::Array | Kind::Object) && span.len() > 2)
}

#[cfg(test)]
mod tests;
