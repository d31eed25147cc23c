//! The meter: what is known of a call's tokens at every moment of its answer, and how.
//!
//! Law: the backend's own numbers first, then what was counted on the way; it says which. What cannot be is not
//! believed: what was told before stands.

use super::Usage;
use crate::bounds;
use crate::planted;

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
