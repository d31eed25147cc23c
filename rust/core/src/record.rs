//! Record: the line that a finished call leaves, whoever ended it and however.
//!
//! Law: every call leaves exactly one. It names no prompt, no answer, no key and no address.

#[cfg(test)]
use serde::Serialize;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(test, derive(Serialize), serde(rename_all = "snake_case"))]
pub enum End {
    /// The client has the whole answer.
    Done,
    /// The client has a refusal.
    Refused,
    /// The client left.
    Cancelled,
    /// The backend broke off after the first byte.
    Broken,
    /// A shutdown did not wait for it.
    Cut,
    /// Its process died under it.
    Interrupted,
}

impl End {
    /// All of them, in the order of the metrics.
    pub const ALL: [Self; 6] =
        [Self::Done, Self::Refused, Self::Cancelled, Self::Broken, Self::Cut, Self::Interrupted];

    /// The word in records, metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::Broken => "broken",
            Self::Cut => "cut",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Most records are shorter.
const USUAL_BYTES: usize = 768;

/// One finished call.
#[derive(Debug, Clone)]
#[cfg_attr(test, derive(Serialize))]
pub struct Record<'a> {
    /// Its number in its journal.
    pub call: u64,
    /// The request id that the client saw.
    pub id: &'a str,
    /// When the call was opened, in Unix milliseconds. A label: order and durations do not depend on it.
    pub at_ms: u64,
    /// The key's id, or nothing for a call without a valid key.
    pub key: Option<&'a str>,
    /// The endpoint's name, or nothing for other paths.
    pub endpoint: Option<&'static str>,
    /// The model's public name, when it is one of ours.
    pub model: Option<&'a str>,
    /// The backend of the last attempt.
    pub backend: Option<&'a str>,
    /// How many backends were tried.
    pub attempts: u32,
    /// Whether the answer was streamed.
    pub stream: bool,
    /// The status that the client saw.
    pub status: u16,
    /// How it ended.
    pub end: End,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// How the counts are known: `engine_final`, `engine_running`, `counted`, `estimated` or `none`.
    pub usage: &'static str,
    /// Prompt tokens from the backend's cache.
    pub cached_tokens: u64,
    /// Prompt tokens put into it.
    pub created_tokens: u64,
    /// Answer tokens spent on reasoning.
    pub reasoning_tokens: u64,
    /// The backend told something that cannot be.
    #[cfg_attr(test, serde(skip_serializing_if = "std::ops::Not::not"))]
    pub suspect: bool,
    /// Images that were made.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub images: Option<u64>,
    /// Sound that was heard, in milliseconds.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub audio_ms: Option<u64>,
    /// Characters that were spoken.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub characters: Option<u64>,
    /// From opening to the first byte for the client, in microseconds.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub first_byte_us: Option<u64>,
    /// From opening to the end, in microseconds.
    pub total_us: u64,
}

impl Record<'_> {
    /// The record as JSON, without what is not known or is nothing. Every call writes two, and names of members need
    /// no escaping: this takes a third of the time that serde takes.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut line = Line(Vec::with_capacity(USUAL_BYTES));
        line.number(r#"{"call":"#, self.call);
        line.string(r#","id":"#, Some(self.id));
        line.number(r#","at_ms":"#, self.at_ms);
        line.string(r#","key":"#, self.key);
        line.string(r#","endpoint":"#, self.endpoint);
        line.string(r#","model":"#, self.model);
        line.string(r#","backend":"#, self.backend);
        line.number(r#","attempts":"#, u64::from(self.attempts));
        line.word(r#","stream":"#, if self.stream { "true" } else { "false" });
        line.number(r#","status":"#, u64::from(self.status));
        line.string(r#","end":"#, Some(self.end.name()));
        line.number(r#","prompt_tokens":"#, self.prompt_tokens);
        line.number(r#","completion_tokens":"#, self.completion_tokens);
        line.string(r#","usage":"#, Some(self.usage));
        for (name, count) in [
            (r#","cached_tokens":"#, self.cached_tokens),
            (r#","created_tokens":"#, self.created_tokens),
            (r#","reasoning_tokens":"#, self.reasoning_tokens),
        ] {
            if count > 0 {
                line.number(name, count);
            }
        }
        if self.suspect {
            line.word(r#","suspect":"#, "true");
        }
        for (name, count) in [
            (r#","images":"#, self.images),
            (r#","audio_ms":"#, self.audio_ms),
            (r#","characters":"#, self.characters),
            (r#","first_byte_us":"#, self.first_byte_us),
        ] {
            if let Some(count) = count {
                line.number(name, count);
            }
        }
        line.number(r#","total_us":"#, self.total_us);
        line.word("}", "");
        line.0
    }
}

/// A record as it is written: each member with all that stands before its value.
struct Line(Vec<u8>);

impl Line {
    fn word(&mut self, before: &str, word: &str) {
        self.0.extend_from_slice(before.as_bytes());
        self.0.extend_from_slice(word.as_bytes());
    }

    fn number(&mut self, before: &str, number: u64) {
        self.word(before, itoa::Buffer::new().format(number));
    }

    fn string(&mut self, before: &str, text: Option<&str>) {
        // All bytes are looked at, for the compiler makes vector instructions of that.
        let is_special = |byte| u8::from(byte == b'"') | u8::from(byte == b'\\') | u8::from(byte < 0x20);
        match text {
            Some(text) if text.bytes().fold(0, |found, byte| found | is_special(byte)) == 0 => {
                self.word(before, "\"");
                self.word(text, "\"");
            }
            _ => {
                self.word(before, "");
                // A write into memory does not fail.
                let _ = serde_json::to_writer(&mut self.0, &text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// What serde tells of a record, but for counts that are nothing.
    fn told(record: &Record<'_>) -> Value {
        const SILENT: [&str; 3] = ["cached_tokens", "created_tokens", "reasoning_tokens"];
        let mut told = serde_json::to_value(record).unwrap();
        told.as_object_mut().unwrap().retain(|name, value| *value != 0 || !SILENT.contains(&&**name));
        told
    }

    #[test]
    fn a_text_says_what_serde_does() {
        let bare = Record {
            call: 3,
            id: "req_1",
            at_ms: 5,
            key: Some("k"),
            endpoint: Some("chat.completions"),
            model: None,
            backend: None,
            attempts: 0,
            stream: true,
            status: 200,
            end: End::Broken,
            prompt_tokens: 1,
            completion_tokens: 2,
            cached_tokens: 0,
            created_tokens: 0,
            reasoning_tokens: 0,
            usage: "engine_final",
            suspect: false,
            images: None,
            audio_ms: None,
            characters: None,
            first_byte_us: None,
            total_us: 9,
        };
        let full = Record {
            model: Some("a \"b\"\n\u{1}\\ é"),
            backend: Some("one"),
            key: None,
            stream: false,
            prompt_tokens: u64::MAX,
            suspect: true,
            images: Some(1),
            audio_ms: Some(2),
            characters: Some(3),
            first_byte_us: Some(0),
            ..bare.clone()
        };
        for record in [bare, full] {
            for end in End::ALL {
                let record = Record { end, ..record.clone() };
                assert_eq!(serde_json::from_slice::<Value>(&record.text()).unwrap(), told(&record));
            }
        }
    }
}
