//! The head of the client's answer.
//!
//! Law: what all answers say is a form, made once; an answer fills in its own. So no name is looked up for it, and its
//! values share one piece of memory.

use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// Most values fit in without growing.
const ROOM: usize = 160;
/// Where the form waits for the content type. What all answers say is longer than what it waits with.
const KIND: &str = "";
/// The fields an answer has of its own, and where the form waits for them.
const FIELDS: [(&str, &str); COUNT] = [
    ("content-length", "0"),
    ("openai-processing-ms", "1"),
    ("x-request-id", "2"),
    ("x-ratelimit-limit-requests", "3"),
    ("x-ratelimit-remaining-requests", "4"),
    ("x-ratelimit-reset-requests", "5"),
    ("x-ratelimit-limit-tokens", "6"),
    ("x-ratelimit-remaining-tokens", "7"),
    ("x-ratelimit-reset-tokens", "8"),
];
const COUNT: usize = 9;

/// The head of the client's answer.
#[derive(Debug)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// The headers; `date` and the framing are the door's.
    pub headers: HeaderMap,
}

/// What an answer says of its own, in the order of `FIELDS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// How many bytes the body has.
    Length,
    /// How long it took until the answer began.
    ProcessingMs,
    /// The call's id.
    RequestId,
    /// The most requests of a time.
    LimitRequests,
    /// How many are left.
    RemainingRequests,
    /// When all are back.
    ResetRequests,
    /// The most tokens of a time.
    LimitTokens,
    /// How many are left.
    RemainingTokens,
    /// When all are back.
    ResetTokens,
}

/// An answer's own values, one behind the other.
#[derive(Debug)]
pub struct Sheet {
    text: Vec<u8>,
    /// Where each lies.
    places: [(usize, usize); COUNT],
    /// Which there are, one bit each.
    said: usize,
}

impl Default for Sheet {
    fn default() -> Self {
        Self { text: Vec::with_capacity(ROOM), places: Default::default(), said: 0 }
    }
}

impl Sheet {
    /// Words of a field.
    pub fn say(&mut self, field: Field, words: &str) {
        let begin = self.text.len();
        self.text.extend_from_slice(words.as_bytes());
        if let Some(place) = self.places.get_mut(field as usize) {
            *place = (begin, self.text.len());
            self.said |= 1 << field as usize;
        }
    }

    /// A number of a field.
    pub fn count(&mut self, field: Field, number: u64) {
        self.say(field, itoa::Buffer::new().format(number));
    }

    /// The head with these values. A value that no head may carry is left empty.
    #[must_use]
    pub fn head(self, status: u16, kind: HeaderValue) -> Head {
        let (mut headers, mut kind) = (form(self.said), Some(kind));
        let text = Bytes::from(self.text);
        for value in headers.values_mut() {
            let own = match value.as_bytes() {
                [] => kind.take(),
                [number @ b'0'..=b'9'] => {
                    let place = self.places.get(usize::from(number - b'0'));
                    place
                        .and_then(|&(begin, end)| HeaderValue::from_maybe_shared(text.slice(begin..end)).ok())
                }
                _ => continue,
            };
            *value = own.unwrap_or(HeaderValue::from_static(""));
        }
        Head { status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), headers }
    }
}

/// What all answers say that have these fields.
fn form(said: usize) -> HeaderMap {
    static FORMS: [OnceLock<HeaderMap>; 1 << COUNT] = [const { OnceLock::new() }; 1 << COUNT];
    let make = || {
        let mut form = HeaderMap::new();
        form.insert(header::CONTENT_TYPE, HeaderValue::from_static(KIND));
        form.insert(header::SERVER, HeaderValue::from_static("levada"));
        form.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        form.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        for (number, (name, blank)) in FIELDS.into_iter().enumerate() {
            if said & 1 << number != 0 {
                form.insert(HeaderName::from_static(name), HeaderValue::from_static(blank));
            }
        }
        form
    };
    FORMS.get(said).map_or_else(make, |form| form.get_or_init(make).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: HeaderValue = HeaderValue::from_static("text/plain");

    fn lines(head: &Head) -> Vec<String> {
        let mut lines: Vec<_> =
            head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    const ALL: [&str; 4] = [
        "cache-control: no-store",
        "content-type: text/plain",
        "server: levada",
        "x-content-type-options: nosniff",
    ];

    #[test]
    fn an_answer_says_its_own_and_nothing_of_another() {
        let mut sheet = Sheet::default();
        sheet.say(Field::RequestId, "1");
        sheet.count(Field::ResetTokens, 20);
        let one = sheet.head(200, TEXT);
        let mut said = [&ALL[..], &["x-ratelimit-reset-tokens: 20", "x-request-id: 1"]].concat();
        said.sort_unstable();
        assert_eq!(
            (one.status, lines(&one)),
            (StatusCode::OK, said.iter().map(ToString::to_string).collect())
        );
        assert_eq!(lines(&Sheet::default().head(200, TEXT)), ALL);
    }

    #[test]
    fn each_field_has_its_name() {
        for (number, field) in [
            (0, Field::Length),
            (1, Field::ProcessingMs),
            (2, Field::RequestId),
            (3, Field::LimitRequests),
            (4, Field::RemainingRequests),
            (5, Field::ResetRequests),
            (6, Field::LimitTokens),
            (7, Field::RemainingTokens),
            (8, Field::ResetTokens),
        ] {
            let mut sheet = Sheet::default();
            sheet.count(field, 7);
            assert_eq!(sheet.head(200, TEXT).headers[FIELDS[number].0], "7");
        }
    }

    #[test]
    fn what_no_head_may_carry_is_left_out_of_it() {
        let mut sheet = Sheet::default();
        sheet.say(Field::RequestId, "a\r\nb: c");
        let head = sheet.head(99, TEXT);
        assert_eq!(head.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(head.headers["x-request-id"], "");
    }
}
