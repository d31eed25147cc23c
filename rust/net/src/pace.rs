//! How often a stream is read: whenever something has come, but a very fast one only every few milliseconds.
//!
//! Law: an event that comes alone is never held up. Only a stream that goes on bringing more than a thousand events a
//! second, faster than anybody reads, is left to gather for a moment after each turn: then one read and one write carry
//! what would have cost several. The backend feels the same back-pressure as ever.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// How long a fast stream gathers. tokio's timer may add as much again.
const REST: Duration = Duration::from_millis(3);

/// A stream is judged by what it brought in so long a time: at once, because an answer is short. A burst that is taken
/// for a fast stream costs nothing: whatever comes later than a [`REST`] after it is not held up.
const WINDOW: Duration = Duration::from_millis(4);

/// A fast stream brings more events in a [`WINDOW`].
const FAST: u64 = 4;

/// The pace of one stream.
#[derive(Debug)]
pub struct Pace {
    since: Instant,
    events: u64,
    fast: bool,
    rest: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// A stream that begins now, an ordinary one.
    #[must_use]
    pub fn new() -> Self {
        Self { since: Instant::now(), events: 0, fast: false, rest: None }
    }

    /// Notes a turn at `now`, with which the stream has brought `events` altogether.
    pub fn turn(&mut self, now: Instant, events: u64) {
        let passed = now.duration_since(self.since);
        if passed >= WINDOW {
            let brought = u128::from(events - self.events);
            self.fast = brought * WINDOW.as_micros() > u128::from(FAST) * passed.as_micros();
            (self.since, self.events) = (now, events);
        }
        if !self.fast {
            self.rest = None;
            return;
        }
        match &mut self.rest {
            Some(rest) => rest.as_mut().reset(now + REST),
            None => self.rest = Some(Box::pin(sleep_until(now + REST))),
        }
    }

    /// Ready when the stream may be read.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.rest {
            Some(rest) if !rest.is_elapsed() => rest.as_mut().poll(cx),
            _ => Poll::Ready(()),
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// How long each rest lasts of a stream that brings `events` each `gap`.
    async fn rests(gap: Duration, events: u64, turns: u64) -> Vec<Duration> {
        let mut pace = Pace::new();
        let mut rests = Vec::new();
        for turn in 1..=turns {
            tokio::time::advance(gap).await;
            let now = Instant::now();
            pace.turn(now, turn * events);
            poll_fn(|cx| pace.poll(cx)).await;
            rests.push(now.elapsed());
        }
        rests
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_stream_that_stays_fast_rests() {
        let (none, ms) = (Duration::ZERO, Duration::from_millis(1));
        for (gap, events) in [(5 * ms, 1), (ms, 1), (20 * ms, 15)] {
            let slow = rests(gap, events, 100).await;
            assert!(slow.iter().all(|rest| *rest == none), "{gap:?} {events} {slow:?}");
        }
        for (gap, events) in [(ms / 2, 1), (ms, 3), (20 * ms, 30)] {
            let fast = rests(gap, events, 100).await;
            let begin = fast.iter().position(|rest| *rest > none).unwrap();
            assert!(begin < 40, "{fast:?}");
            assert!(fast[begin..begin + 10].iter().all(|rest| *rest <= REST * 2), "{fast:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_does_not_make_a_stream_fast() {
        let mut pace = Pace::new();
        for event in 1..=50 {
            pace.turn(Instant::now(), event);
            let before = Instant::now();
            poll_fn(|cx| pace.poll(cx)).await;
            assert_eq!(before.elapsed(), Duration::ZERO);
        }
    }
}
