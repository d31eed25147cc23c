//! Where a caller stands in its limits, as every answer tells it.
//!
//! Law: of the rules that hold for a call the one with the least left is told: one of requests, one of tokens.

use levada_core::limit::cell::Room;
use levada_core::limit::{Measure, Rule};
use levada_core::profile::rate::Headers;

use crate::head::{Field, Sheet};

/// One rule: how much in all, how much is left, how long until all is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    most: u64,
    left: u64,
    clear_ms: u64,
}

/// Where a caller stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    requests: Option<Told>,
    tokens: Option<Told>,
    at_ms: u64,
    headers: Headers,
}

impl Standing {
    /// Of nothing yet, at this time of the wall clock.
    #[must_use]
    pub fn new(at_ms: u64, headers: Headers) -> Self {
        Self { requests: None, tokens: None, at_ms, headers }
    }

    /// There is so much room under a rule.
    pub fn add(&mut self, rule: &Rule, room: &Room) {
        let Rule::Window(window) = rule else { return };
        let place = if window.measure == Measure::Requests { &mut self.requests } else { &mut self.tokens };
        if place.is_none_or(|told| room.left < told.left) {
            *place = Some(Told { most: rule.most(), left: room.left, clear_ms: room.clear_ms });
        }
    }

    /// Says it in the head of an answer.
    pub fn tell(&self, sheet: &mut Sheet) {
        const REQUESTS: [Field; 3] = [Field::LimitRequests, Field::RemainingRequests, Field::ResetRequests];
        const TOKENS: [Field; 3] = [Field::LimitTokens, Field::RemainingTokens, Field::ResetTokens];
        for ([limit, remaining, reset], told) in [(REQUESTS, self.requests), (TOKENS, self.tokens)] {
            let Some(told) = told else { continue };
            match self.headers {
                Headers::None => return,
                Headers::Epoch => sheet.count(reset, (self.at_ms + told.clear_ms).div_ceil(1000)),
                Headers::Span => sheet.say(reset, &span(told.clear_ms)),
            }
            sheet.count(limit, told.most);
            sheet.count(remaining, told.left);
        }
    }
}

/// A time as OpenAI's headers have it: `120ms`, `20s`, `1m30s`, `2h0m0s`.
pub fn span(ms: u64) -> String {
    let mut text = String::with_capacity(32);
    let mut say = |number: u64, unit| {
        text.push_str(itoa::Buffer::new().format(number));
        text.push_str(unit);
    };
    if ms < 1000 {
        say(ms, "ms");
        return text;
    }
    let seconds = ms.div_ceil(1000);
    if seconds >= 3600 {
        say(seconds / 3600, "h");
    }
    if seconds >= 60 {
        say(seconds / 60 % 60, "m");
    }
    say(seconds % 60, "s");
    text
}

#[cfg(test)]
pub(super) mod tests {
    use levada_core::limit::Window;

    use super::*;

    /// What is told: most, left and when all is back, of requests and of tokens.
    pub fn told(standing: &Standing) -> Vec<String> {
        let mut sheet = Sheet::default();
        standing.tell(&mut sheet);
        let headers = sheet.head(200, http::HeaderValue::from_static("text/plain")).headers;
        let of = |measure: &str| {
            ["limit", "remaining", "reset"].map(|what| headers.get(format!("x-ratelimit-{what}-{measure}")))
        };
        let values = [of("requests"), of("tokens")].into_iter().flatten().flatten();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn headers_tell_of_the_reset() {
        let mut standing = Standing::new(1_000_000, Headers::Span);
        let room = |left, clear_ms| Room { left, used: 0, reserved: 0, clear_ms };
        let requests = Rule::Window(Window::a_minute(3));
        standing.add(&requests, &room(1, 20_500));
        standing.add(&Rule::Window(Window::a_minute(9)), &room(2, 7));
        standing.add(&Rule::Concurrency(1), &room(0, 0));
        assert_eq!(told(&standing), ["3", "1", "21s"]);
        assert_eq!(told(&Standing { headers: Headers::Epoch, ..standing })[2], "1021");
        assert!(told(&Standing { headers: Headers::None, ..standing }).is_empty());
        let tokens = Window::new(Measure::Tokens, 90, 1000);
        standing.add(&Rule::Window(tokens), &room(80, 900));
        assert_eq!(told(&standing), ["3", "1", "21s", "90", "80", "900ms"]);
    }

    #[test]
    fn spans_have_their_units() {
        assert_eq!([0, 999, 1000, 90_000, 7_200_001].map(span), ["0ms", "999ms", "1s", "1m30s", "2h0m1s"]);
    }
}
