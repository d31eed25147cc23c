//! What a backend cannot do, so that the gateway does it in its place.
//!
//! Law: one word for each thing, the same in the operator's file. What is not said here a backend can do.

/// What one backend cannot do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lacks {
    /// It has no `/responses`: they are made of chat completions.
    pub responses: bool,
    /// It makes one choice whatever `n` says: it is asked `n` times.
    pub n: bool,
    /// Its embeddings are floats only: the text form is made of them.
    pub base64: bool,
    /// It takes an explicit null for a value: nulls are taken out.
    pub null: bool,
    /// It does not know `max_tokens`: the limit is passed on as `max_completion_tokens`.
    pub max_tokens: bool,
    /// It does not know `max_completion_tokens`: the limit is passed on as `max_tokens`.
    pub max_completion_tokens: bool,
    /// It has no `guided_json`, `guided_regex`, ...: they are passed on in `structured_outputs`.
    pub guided: bool,
}

/// The words, as a problem names them.
pub const WORDS: &str = "must be a list of responses, n, base64, null, guided, max_tokens and max_completion_tokens (one of the last two)";

impl Lacks {
    /// What these words say; nothing if one of them is no such word, or the limit would have no name left.
    #[must_use]
    pub fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut lacks = Self::default();
        for word in words {
            match word {
                "responses" => lacks.responses = true,
                "n" => lacks.n = true,
                "base64" => lacks.base64 = true,
                "null" => lacks.null = true,
                "max_tokens" => lacks.max_tokens = true,
                "max_completion_tokens" => lacks.max_completion_tokens = true,
                "guided" => lacks.guided = true,
                _ => return None,
            }
        }
        (!(lacks.max_tokens && lacks.max_completion_tokens)).then_some(lacks)
    }
}

#[cfg(test)]
mod tests {
    use super::Lacks;

    #[test]
    fn words_are_read_and_others_refused() {
        assert_eq!(Lacks::of([]), Some(Lacks::default()));
        let some = Lacks::of(["n", "null"]).unwrap();
        assert!(some.n && some.null && !some.responses);
        assert_eq!(Lacks::of(["colour"]), None);
        assert_eq!(Lacks::of(["max_tokens", "max_completion_tokens"]), None);
    }
}
