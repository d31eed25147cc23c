//! Record: the line that a finished call leaves, whoever ended it and however.
//!
//! Law: every call leaves exactly one. It names no prompt, no answer, no key and no address.

use serde::Serialize;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Debug, Clone, Serialize)]
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
    /// Prompt tokens from the backend's cache.
    pub cached_tokens: u64,
    /// Prompt tokens put into it.
    pub created_tokens: u64,
    /// Answer tokens spent on reasoning.
    pub reasoning_tokens: u64,
    /// How the counts are known: `engine_final`, `engine_running`, `counted`, `estimated` or `none`.
    pub usage: &'static str,
    /// From opening to the first byte for the client, in microseconds.
    pub first_byte_us: Option<u64>,
    /// From opening to the end, in microseconds.
    pub total_us: u64,
}

impl Record<'_> {
    /// The record as JSON.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(USUAL_BYTES);
        // A write into memory does not fail.
        let _ = serde_json::to_writer(&mut text, self);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_json() {
        let record = Record {
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
            first_byte_us: None,
            total_us: 9,
        };
        let value: serde_json::Value = serde_json::from_slice(&record.text()).unwrap();
        assert_eq!((value["end"].as_str(), value["stream"].as_bool()), (Some("broken"), Some(true)));
        assert!(End::ALL.iter().all(|end| serde_json::to_value(end).unwrap() == end.name()));
    }
}
