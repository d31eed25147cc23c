//! Usage: how many tokens a call cost, and how we know.
//!
//! Law: the backend's own numbers first, then what was counted on the way; the record says which. Never a guess
//! that looks like a count.

use crate::bounds;
use crate::json::{Kind, Scanner, Wrong};
use crate::planted;

/// Token counts of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Tokens of the answer.
    pub completion: u64,
    /// Those of the prompt that came from the backend's cache.
    pub cached: u64,
    /// Those of the prompt that were put into it.
    pub created: u64,
    /// Those of the answer that were spent on reasoning.
    pub reasoning: u64,
    /// Sound that was heard, in milliseconds.
    pub audio_ms: u64,
    /// The backend told the cached ones beside the others, as Anthropic does.
    pub flat: bool,
    /// It told something that cannot be: a count that is none, is absurd, or that has fallen.
    pub suspect: bool,
}

/// How the counts are known, the least sure first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nothing is known.
    #[default]
    None,
    /// The number of content events that passed: a lower bound of the answer's tokens; the prompt may be unknown.
    Estimated,
    /// A tokenizer has counted the texts.
    Counted,
    /// The backend said so while the answer was running; what it said last.
    EngineRunning,
    /// The backend said so at the end.
    EngineFinal,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::None, Self::Estimated, Self::Counted, Self::EngineRunning, Self::EngineFinal];

    /// The word in records and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Estimated => "estimated",
            Self::Counted => "counted",
            Self::EngineRunning => "engine_running",
            Self::EngineFinal => "engine_final",
        }
    }
}

/// Gathers the usage of one call as its answer passes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Meter {
    total: Option<Usage>,
    finished: Option<Usage>,
    running: Option<Usage>,
    counted: Option<Usage>,
    events: u64,
    /// It is the sum of several answers: how sure the least sure of them is.
    least: Option<Source>,
}

impl Meter {
    /// The sum of answers to one prompt: what they cost adds up, the prompt is that of the first which tells it.
    #[must_use]
    pub fn sum(answers: impl Iterator<Item = Self>) -> Self {
        let (mut sum, mut all, mut told) = (Self::default(), None::<Usage>, false);
        for answer in answers {
            told |= answer.told();
            let (usage, source) = answer.read();
            sum.least = Some(sum.least.map_or(source, |least| least.min(source)));
            sum.events += answer.events;
            let Some(known) = &mut all else {
                all = (source != Source::None).then_some(usage);
                continue;
            };
            let (completion, reasoning, suspect) = (known.completion, known.reasoning, known.suspect);
            if known.prompt == 0 {
                *known = usage;
            }
            known.completion = completion.saturating_add(usage.completion);
            if planted::is("choices_largest") {
                known.completion = completion.max(usage.completion)
            }
            if planted::is("prompt_per_choice") {
                known.prompt += usage.prompt
            }
            known.reasoning = reasoning.saturating_add(usage.reasoning);
            known.suspect = suspect || usage.suspect;
        }
        // Where no answer told anything there is nothing to be believed but what we count ourselves.
        sum.total = all.filter(|_| told);
        sum.least = sum.least.filter(|_| told);
        sum
    }

    /// An event with a piece of the answer has passed.
    pub fn event(&mut self) {
        self.events += 1;
    }

    /// How many events carried a piece of the answer.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The backend told a count while the answer still runs. Counts only grow, and one event may tell only some.
    pub fn running(&mut self, usage: Usage) {
        let before = self.running.unwrap_or_default();
        // A prompt may be told once and not again; an answer never gets shorter.
        let fallen = usage.completion < before.completion && usage.completion > 0;
        self.running =
            Some(Usage { suspect: fallen || usage.suspect || before.suspect, ..most(before, usage) });
    }

    /// The backend told a final count. llama.cpp tells one for each of `n` choices: answers add up, the prompt is one.
    pub fn total(&mut self, usage: Usage) {
        if !planted::is("final_ignored") {
            self.total = Some(added(self.total, usage));
        }
    }

    /// The backend told a count with the end of a choice. A count of its own, where one follows, says it again.
    pub fn finished(&mut self, usage: Usage) {
        self.finished = Some(added(self.finished, usage));
    }

    /// What the backend told last is all there is to come.
    pub fn conclude(&mut self) {
        self.finished = self.running.or(self.finished);
    }

    /// We have counted the text ourselves. What the backend tells goes before it.
    pub fn counted(&mut self, usage: Usage) {
        self.counted = Some(usage);
    }

    /// Whether the backend has told any count.
    #[must_use]
    pub fn told(&self) -> bool {
        self.total.or(self.finished).or(self.running).is_some()
    }

    /// Whether counts came while the answer was running.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// The best that is known.
    #[must_use]
    pub fn read(&self) -> (Usage, Source) {
        let (usage, source) = match (self.total, self.finished, self.running) {
            // What cannot be is not believed: what was told before stands.
            (Some(last), _, Some(running)) if last.suspect || last.completion < running.completion => {
                (Usage { suspect: true, ..most(running, last) }, Source::EngineFinal)
            }
            // Where nothing was told before, what has passed is a lower bound.
            (Some(last), ..) if last.suspect && last.completion < self.events => {
                (Usage { completion: self.events, ..last }, Source::Estimated)
            }
            (Some(last), ..) => (last, Source::EngineFinal),
            // One choice has ended, and others go on.
            (None, Some(ended), Some(running)) if ended.completion < running.completion => {
                (most(ended, running), Source::EngineRunning)
            }
            (None, Some(ended), _) => (ended, Source::EngineFinal),
            (None, None, Some(_)) if planted::is("events_first") => {
                (Usage { completion: self.events, ..Usage::default() }, Source::Estimated)
            }
            (None, None, Some(running)) => (running, Source::EngineRunning),
            (None, None, None) if self.counted.is_some() => {
                (self.counted.unwrap_or_default(), Source::Counted)
            }
            (None, None, None) if self.events > 0 => {
                (Usage { completion: self.events, ..Usage::default() }, Source::Estimated)
            }
            (None, None, None) => (Usage::default(), Source::None),
        };
        let suspect = usage.suspect || self.running.is_some_and(|running| running.suspect);
        let usage = Usage { suspect, ..usage };
        let least = self.least.filter(|_| source != Source::None);
        // Of several answers one may have told nothing: the sum is a lower bound.
        (usage, least.map_or(source, |least| least.max(Source::Estimated).min(source)))
    }
}

/// The larger of each count.
fn most(one: Usage, other: Usage) -> Usage {
    Usage {
        prompt: one.prompt.max(other.prompt),
        completion: one.completion.max(other.completion),
        cached: one.cached.max(other.cached),
        created: one.created.max(other.created),
        reasoning: one.reasoning.max(other.reasoning),
        audio_ms: one.audio_ms.max(other.audio_ms),
        flat: other.flat,
        suspect: one.suspect || other.suspect,
    }
}

/// What each of several choices has cost so far, as engines tell it that count each choice by itself.
#[derive(Debug, Default)]
pub struct Choices(Vec<(u64, u64)>);

impl Choices {
    /// The count of all, after this one of the choice at `at`; a choice beyond the bound counts with the last.
    pub fn sum(&mut self, at: u64, usage: Usage) -> Usage {
        let at = usize::try_from(at).unwrap_or(usize::MAX).min(bounds::CHOICES - 1);
        if self.0.len() <= at {
            self.0.resize(at + 1, (0, 0));
        }
        if let Some(choice) = self.0.get_mut(at) {
            *choice = (usage.completion, usage.reasoning);
        }
        if planted::is("choices_last") {
            return usage;
        }
        let sum = |of: fn(&(u64, u64)) -> u64| self.0.iter().map(of).fold(0, u64::saturating_add);
        Usage { completion: sum(|one| one.0), reasoning: sum(|one| one.1), ..usage }
    }
}

fn added(before: Option<Usage>, usage: Usage) -> Usage {
    let before = before.unwrap_or_default();
    Usage {
        prompt: before.prompt.max(usage.prompt),
        completion: before.completion.saturating_add(usage.completion),
        cached: before.cached.max(usage.cached),
        created: before.created.max(usage.created),
        reasoning: before.reasoning.saturating_add(usage.reasoning),
        audio_ms: before.audio_ms.max(usage.audio_ms),
        flat: usage.flat,
        suspect: before.suspect || usage.suspect,
    }
}

impl Usage {
    /// As chat's `usage` member has it, with the flat counters of cached tokens or without. Details that are nought may
    /// be unknown: they are left out.
    #[must_use]
    pub fn json(&self, flat: bool) -> String {
        let Self { prompt, completion, cached, created, reasoning, .. } = *self;
        let total = prompt.saturating_add(completion);
        let mut out = format!(
            "{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\"total_tokens\":{total}"
        );
        if cached > 0 {
            out += &format!(",\"prompt_tokens_details\":{{\"cached_tokens\":{cached}}}");
        }
        if reasoning > 0 {
            out += &format!(",\"completion_tokens_details\":{{\"reasoning_tokens\":{reasoning}}}");
        }
        if flat {
            out += &Self::counters(cached, created);
        }
        out + "}"
    }

    /// The flat counters of cached tokens, after a comma.
    #[must_use]
    pub fn counters(read: u64, made: u64) -> String {
        format!(",\"cache_read_input_tokens\":{read},\"cache_creation_input_tokens\":{made}")
    }
}

/// Takes the value of a `usage` member: an object with counts, or nothing.
///
/// # Errors
/// The text is broken.
pub fn member(scanner: &mut Scanner<'_>) -> Result<Option<Usage>, Wrong> {
    if scanner.peek() != Some(b'{') {
        scanner.value()?;
        return Ok(None);
    }
    let mut usage = Usage::default();
    let (mut apart, mut told) = (false, false);
    let mut tell = |scanner: &mut Scanner<'_>, suspect: &mut bool| {
        let count = number(scanner)?;
        told |= count.is_some();
        *suspect |= count == Some(Err(Absurd));
        Ok::<u64, Wrong>(count.and_then(Result::ok).unwrap_or_default())
    };
    let (mut suspect, mut seconds) = (false, None);
    scanner.object::<Wrong>(|key, scanner| {
        // Chat says prompt and completion, Responses and Anthropic say input and output.
        match key.raw {
            b"prompt_tokens" => usage.prompt = tell(scanner, &mut suspect)?,
            b"input_tokens" => {
                apart = true;
                usage.prompt = tell(scanner, &mut suspect)?;
            }
            b"completion_tokens" | b"output_tokens" => usage.completion = tell(scanner, &mut suspect)?,
            b"prompt_tokens_details" | b"input_tokens_details" => {
                usage.cached = detail(scanner, "cached_tokens", &mut suspect)?;
            }
            b"completion_tokens_details" | b"output_tokens_details" => {
                usage.reasoning = detail(scanner, "reasoning_tokens", &mut suspect)?;
            }
            b"cache_read_input_tokens" => {
                usage.flat = true;
                usage.cached = tell(scanner, &mut suspect)?;
            }
            b"cache_creation_input_tokens" => {
                usage.flat = true;
                usage.created = tell(scanner, &mut suspect)?;
            }
            b"total_tokens" => {
                tell(scanner, &mut suspect)?;
            }
            // What a transcription costs is told in seconds, or in tokens.
            b"seconds" => seconds = millis(scanner)?,
            _ => {
                scanner.value()?;
            }
        }
        Ok(())
    })?;
    // An object that tells no count tells nothing.
    if !told && seconds.is_none() {
        return Ok(None);
    }
    usage.audio_ms = seconds.unwrap_or_default();
    // Anthropic counts what the cache gave or took apart from the input.
    if apart && usage.flat {
        usage.prompt = usage.prompt.saturating_add(usage.cached).saturating_add(usage.created);
    }
    usage.suspect = suspect;
    Ok(Some(usage))
}

/// Takes a number of seconds as milliseconds, exactly; nothing for what is no such number.
///
/// # Errors
/// The text is broken.
pub fn millis(scanner: &mut Scanner<'_>) -> Result<Option<u64>, Wrong> {
    let span = scanner.value()?.1;
    let (whole, part) = match scanner.text(&span).split_once('.') {
        Some((whole, part)) => (whole, part),
        None => (scanner.text(&span), ""),
    };
    let (Ok(whole), true) = (whole.parse::<u64>(), part.bytes().all(|digit| digit.is_ascii_digit())) else {
        return Ok(None);
    };
    // What is shorter than a millisecond is left out.
    let part: u64 = part.chars().chain("000".chars()).take(3).collect::<String>().parse().unwrap_or_default();
    Ok(whole
        .checked_mul(1000)
        .and_then(|ms| ms.checked_add(part))
        .filter(|ms| *ms <= bounds::MOST_TOKENS * 1000))
}

/// Takes the value of llama.cpp's `timings`: the prompt's tokens, new and from the cache, and those of the answer.
///
/// # Errors
/// The text is broken.
pub fn timings(scanner: &mut Scanner<'_>) -> Result<Option<Usage>, Wrong> {
    if scanner.peek() != Some(b'{') {
        scanner.value()?;
        return Ok(None);
    }
    let (mut usage, mut told) = (Usage::default(), false);
    scanner.object::<Wrong>(|key, scanner| {
        let count = match key.raw {
            b"cache_n" => &mut usage.cached,
            b"prompt_n" => &mut usage.prompt,
            b"predicted_n" => &mut usage.completion,
            _ => return scanner.value().map(drop),
        };
        if let Some(Ok(number)) = number(scanner)? {
            *count = number;
            told = true;
        }
        Ok(())
    })?;
    usage.prompt = usage.prompt.saturating_add(usage.cached);
    if planted::is("cached_twice") {
        usage.prompt += usage.cached
    }
    Ok(told.then_some(usage))
}

/// A count; nothing for null, and an error for what is no count or absurd.
fn number(scanner: &mut Scanner<'_>) -> Result<Option<Result<u64, Absurd>>, Wrong> {
    let (kind, span) = scanner.value()?;
    if kind == Kind::Null {
        return Ok(None);
    }
    let count = if kind == Kind::Integer { scanner.text(&span).parse::<u64>().ok() } else { None };
    Ok(Some(count.filter(|&count| count <= bounds::MOST_TOKENS).ok_or(Absurd)))
}

/// No answer has so many tokens, or a count is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Absurd;

fn detail(scanner: &mut Scanner<'_>, name: &str, suspect: &mut bool) -> Result<u64, Wrong> {
    if scanner.peek() != Some(b'{') {
        scanner.value()?;
        return Ok(0);
    }
    let mut count = 0;
    scanner.object::<Wrong>(|key, scanner| {
        if key.is(name) {
            let told = number(scanner)?;
            *suspect |= told == Some(Err(Absurd));
            count = told.and_then(Result::ok).unwrap_or_default();
        } else {
            scanner.value()?;
        }
        Ok(())
    })?;
    Ok(count)
}

/// The usage in a window of a long answer (its beginning or its end) that is not read as a whole.
///
/// Inside a JSON string a quote is always escaped, so the bytes `"usage"` are a key or a whole string value; only a
/// key is followed by a colon and an object.
#[must_use]
pub fn of_window(window: &[u8]) -> Option<Usage> {
    memchr::memmem::rfind_iter(window, b"\"usage\"").find_map(|at| {
        if at.checked_sub(1).and_then(|before| window.get(before)) == Some(&b'\\') {
            return None;
        }
        let mut scanner = Scanner::new(window.get(at + 7..)?);
        if scanner.peek() != Some(b':') {
            return None;
        }
        let mut scanner = Scanner::new(window.get(at + 7 + scanner.at() + 1..)?);
        member(&mut scanner).ok().flatten()
    })
}

#[cfg(test)]
mod tests;
