//! Where a caller stands in its limits, as every answer tells it.
//!
//! Law: of the rules that hold for a call the one with the least left is told: one of requests, one of tokens.

use http::{HeaderName, HeaderValue};
use levada_core::limit::cell::Room;
use levada_core::limit::{Measure, Rule};
use levada_core::profile::rate::Headers;

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

    /// The headers that tell of it.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        const REQUESTS: [HeaderName; 3] = [
            HeaderName::from_static("x-ratelimit-limit-requests"),
            HeaderName::from_static("x-ratelimit-remaining-requests"),
            HeaderName::from_static("x-ratelimit-reset-requests"),
        ];
        const TOKENS: [HeaderName; 3] = [
            HeaderName::from_static("x-ratelimit-limit-tokens"),
            HeaderName::from_static("x-ratelimit-remaining-tokens"),
            HeaderName::from_static("x-ratelimit-reset-tokens"),
        ];
        let (at_ms, headers) = (self.at_ms, self.headers);
        let all = [self.requests.map(|told| (REQUESTS, told)), self.tokens.map(|told| (TOKENS, told))];
        let shown = all.into_iter().flatten().filter(move |_| headers != Headers::None);
        shown.flat_map(move |(names, told)| {
            let reset = match headers {
                Headers::Epoch => (at_ms + told.clear_ms).div_ceil(1000).into(),
                Headers::None | Headers::Span => {
                    HeaderValue::try_from(span(told.clear_ms)).unwrap_or(HeaderValue::from_static("0ms"))
                }
            };
            names.into_iter().zip([told.most.into(), told.left.into(), reset])
        })
    }
}

/// A time as OpenAI's headers have it: `120ms`, `20s`, `1m30s`, `2h0m0s`.
pub fn span(ms: u64) -> String {
    if ms < 1000 {
        return format!("{ms}ms");
    }
    let seconds = ms.div_ceil(1000);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use levada_core::limit::Window;

    use super::*;

    #[test]
    fn headers_tell_of_the_reset() {
        let mut standing = Standing::new(1_000_000, Headers::Span);
        let room = |left, clear_ms| Room { left, used: 0, reserved: 0, clear_ms };
        let requests = Rule::Window(Window::a_minute(3));
        standing.add(&requests, &room(1, 20_500));
        standing.add(&Rule::Window(Window::a_minute(9)), &room(2, 7));
        standing.add(&Rule::Concurrency(1), &room(0, 0));
        let told = |standing: Standing| standing.headers().map(|(_, value)| value).collect::<Vec<_>>();
        assert_eq!(told(standing), ["3", "1", "21s"]);
        assert_eq!(told(Standing { headers: Headers::Epoch, ..standing })[2], "1021");
        assert!(told(Standing { headers: Headers::None, ..standing }).is_empty());
        let tokens = Window::new(Measure::Tokens, 90, 1000);
        standing.add(&Rule::Window(tokens), &room(80, 900));
        assert_eq!(told(standing)[3..], ["90", "80", "900ms"]);
        assert_eq!(standing.headers().last().unwrap().0, "x-ratelimit-reset-tokens");
    }

    #[test]
    fn spans_have_their_units() {
        assert_eq!([0, 999, 1000, 90_000, 7_200_001].map(span), ["0ms", "999ms", "1s", "1m30s", "2h0m1s"]);
    }
}
