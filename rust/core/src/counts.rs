//! How a backend tells what an answer has cost so far, and so how it is asked to.
//!
//! Law: one word for each way, the same in the operator's file; each is the member of a request that asks for it.

/// When a backend tells the tokens of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Counts {
    /// At the end only.
    #[default]
    Final,
    /// In every chunk as `usage`, each choice's own, where `stream_options.continuous_usage_stats` is set: vLLM, SGLang.
    Usage,
    /// In every chunk as `timings`, where `timings_per_token` is set: llama.cpp.
    Timings,
}

/// The words, as a problem names them.
pub const WORDS: &str = "must be final, continuous_usage_stats or timings_per_token";

impl Counts {
    /// What this word says.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        [Self::Final, Self::Usage, Self::Timings].into_iter().find(|one| one.word() == word)
    }

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Final => "final",
            Self::Usage => "continuous_usage_stats",
            Self::Timings => "timings_per_token",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn words_are_read_and_others_refused() {
        assert_eq!(Counts::of("timings_per_token"), Some(Counts::Timings));
        assert_eq!(Counts::of("final"), Some(Counts::default()));
        assert_eq!(Counts::of("often"), None);
    }
}
