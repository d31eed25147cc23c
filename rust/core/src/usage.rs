//! Usage: how many tokens a call cost, and how we know.
//!
//! Law: the backend's own numbers first, then what was counted on the way; the record says which. Never a guess
//! that looks like a count.

use crate::json::{Kind, Scanner, Wrong};

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
    /// The backend told the cached ones beside the others, as Anthropic does.
    pub flat: bool,
}

/// How the counts are known, the surer the greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nothing is known.
    #[default]
    None,
    /// The number of content events that passed: a lower bound of the answer's tokens; the prompt may be unknown.
    Estimated,
    /// We have counted the text ourselves, with the model's own tokenizer.
    Counted,
    /// The backend said so while the answer was running.
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
    /// It is the sum of several answers, and not all have told their count yet.
    partly: bool,
}

impl Meter {
    /// The sum of answers to one prompt: what they cost adds up, the prompt is that of the first which tells it.
    #[must_use]
    pub fn sum(answers: impl Iterator<Item = Self>) -> Self {
        let (mut sum, mut all) = (Self::default(), None::<Usage>);
        for answer in answers {
            let (usage, source) = answer.read();
            sum.partly |= source < Source::EngineRunning;
            sum.events += answer.events;
            let Some(known) = &mut all else {
                all = (source != Source::None).then_some(usage);
                continue;
            };
            let (completion, reasoning) = (known.completion, known.reasoning);
            if known.prompt == 0 {
                *known = usage;
            }
            known.completion = completion.saturating_add(usage.completion);
            known.reasoning = reasoning.saturating_add(usage.reasoning);
        }
        sum.total = all;
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
        self.running = Some(Usage {
            prompt: before.prompt.max(usage.prompt),
            completion: before.completion.max(usage.completion),
            cached: before.cached.max(usage.cached),
            created: before.created.max(usage.created),
            reasoning: before.reasoning.max(usage.reasoning),
            flat: usage.flat,
        });
    }

    /// The backend told a final count. llama.cpp tells one for each of `n` choices: answers add up, the prompt is one.
    pub fn total(&mut self, usage: Usage) {
        self.total = Some(added(self.total, usage));
    }

    /// The backend told a count with the end of a choice. A count of its own, where one follows, says it again.
    pub fn finished(&mut self, usage: Usage) {
        self.finished = Some(added(self.finished, usage));
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
        let told = self.total.or(self.finished);
        match told.or(self.running).or(self.counted) {
            Some(usage) if self.partly => (usage, Source::Estimated),
            Some(usage) if told.is_some() => (usage, Source::EngineFinal),
            Some(usage) if self.running.is_some() => (usage, Source::EngineRunning),
            Some(usage) => (usage, Source::Counted),
            None if self.events > 0 => {
                (Usage { completion: self.events, ..Usage::default() }, Source::Estimated)
            }
            None => (Usage::default(), Source::None),
        }
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
        flat: usage.flat,
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
    let mut apart = false;
    scanner.object::<Wrong>(|key, scanner| {
        // Chat says prompt and completion, Responses and Anthropic say input and output.
        match key.raw {
            b"prompt_tokens" => usage.prompt = number(scanner)?,
            b"input_tokens" => {
                apart = true;
                usage.prompt = number(scanner)?;
            }
            b"completion_tokens" | b"output_tokens" => usage.completion = number(scanner)?,
            b"prompt_tokens_details" | b"input_tokens_details" => {
                usage.cached = detail(scanner, "cached_tokens")?;
            }
            b"completion_tokens_details" | b"output_tokens_details" => {
                usage.reasoning = detail(scanner, "reasoning_tokens")?;
            }
            b"cache_read_input_tokens" => {
                usage.flat = true;
                usage.cached = number(scanner)?;
            }
            b"cache_creation_input_tokens" => {
                usage.flat = true;
                usage.created = number(scanner)?;
            }
            _ => {
                scanner.value()?;
            }
        }
        Ok(())
    })?;
    // Anthropic counts what the cache gave or took apart from the input.
    if apart && usage.flat {
        usage.prompt = usage.prompt.saturating_add(usage.cached).saturating_add(usage.created);
    }
    Ok(Some(usage))
}

/// A count; what is no count (negative, absurd, a string) counts nothing.
fn number(scanner: &mut Scanner<'_>) -> Result<u64, Wrong> {
    let (kind, span) = scanner.value()?;
    let count = if kind == Kind::Integer { scanner.text(&span).parse::<u64>().ok() } else { None };
    Ok(count.filter(|&count| count <= u64::from(u32::MAX)).unwrap_or_default())
}

fn detail(scanner: &mut Scanner<'_>, name: &str) -> Result<u64, Wrong> {
    if scanner.peek() != Some(b'{') {
        scanner.value()?;
        return Ok(0);
    }
    let mut count = 0;
    scanner.object::<Wrong>(|key, scanner| {
        if key.is(name) {
            count = number(scanner)?;
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
mod tests {
    use super::*;

    const TEXT: &str = r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":2},
        "completion_tokens_details":{"reasoning_tokens":1},"prompt_tokens_x":null}"#;
    const USAGE: Usage = Usage { prompt: 3, completion: 4, cached: 2, created: 0, reasoning: 1, flat: false };

    #[test]
    fn reads_a_window() {
        let tail = format!(r#"0.25]}}],"text":"\"usage\": {{}}","usage" : {TEXT}}}"#);
        assert_eq!(of_window(tail.as_bytes()), Some(USAGE));
        assert_eq!(of_window(b"\"usage\""), None);
        assert_eq!(of_window(b"\"x\":\"usage\",\"y\":{}"), None);
        assert_eq!(of_window(b"\"usage\":{\"prompt_tokens\":5"), None);
    }

    #[test]
    fn absurd_numbers_count_nothing() {
        for text in ["-1", "1.5", "\"7\"", "18446744073709551615", "null", "99999999999999999999"] {
            let body = format!(r#"{{"usage":{{"prompt_tokens":{text},"completion_tokens":2}}}}"#);
            assert_eq!(
                of_window(body.as_bytes()),
                Some(Usage { completion: 2, ..Usage::default() }),
                "{text}"
            );
        }
    }

    #[test]
    fn what_it_writes_it_reads() {
        for (usage, flat) in
            [(USAGE, false), (Usage { flat: true, ..USAGE }, true), (Usage::default(), false)]
        {
            assert_eq!(of_window(format!("\"usage\":{}", usage.json(flat)).as_bytes()), Some(usage));
        }
        assert_eq!(
            Usage::default().json(false),
            r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#
        );
    }

    #[test]
    fn the_meter_prefers_the_backend() {
        let mut meter = Meter::default();
        assert_eq!(meter.read().1, Source::None);
        meter.event();
        meter.event();
        assert_eq!(meter.read(), (Usage { completion: 2, ..Usage::default() }, Source::Estimated));
        meter.counted(USAGE);
        assert_eq!((meter.read(), meter.told()), ((USAGE, Source::Counted), false));
        meter.running(Usage { prompt: 3, completion: 1, ..Usage::default() });
        meter.running(Usage { prompt: 3, completion: 2, ..Usage::default() });
        assert_eq!((meter.read().0.completion, meter.read().1), (2, Source::EngineRunning));
        meter.finished(USAGE);
        assert_eq!(meter.read().0, USAGE);
        meter.total(USAGE);
        meter.total(USAGE);
        assert_eq!(meter.read(), (Usage { completion: 8, reasoning: 2, ..USAGE }, Source::EngineFinal));
    }

    #[test]
    fn a_sum_has_one_prompt_and_is_as_sure_as_its_least_sure_part() {
        let (mut told, mut counted) = (Meter::default(), Meter::default());
        told.total(USAGE);
        counted.event();
        let sum = |parts: &[Meter]| Meter::sum(parts.iter().copied()).read();
        let both = Usage { completion: 8, reasoning: 2, ..USAGE };
        assert_eq!(sum(&[told, told]), (both, Source::EngineFinal));
        let part = Usage { completion: 5, ..USAGE };
        assert_eq!(sum(&[told, counted]), (part, Source::Estimated));
        assert_eq!(sum(&[counted, told, Meter::default()]), (part, Source::Estimated));
        assert_eq!(
            sum(&[counted, counted]),
            (Usage { completion: 2, ..Usage::default() }, Source::Estimated)
        );
        assert_eq!(sum(&[Meter::default(); 2]).1, Source::None);
    }
}
