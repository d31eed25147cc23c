//! Usage: how many tokens a call cost, as backends tell it and as we do.
//!
//! Law: an explicit 0 is 0, what is missing is missing; what is no count is told as suspect, never as a number.

mod meter;

pub use meter::{Choices, Meter, Source};

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
