//! How long a call may wait for its backend, and from when each limit counts.
//!
//! `connect` counts from the first SYN of an attempt, `first_byte` from the moment the attempt begins, `idle` from the
//! last event (or piece of a plain body) that the backend sent, `total` from the moment the call was opened.
//!
//! Law: while data flows no timer is touched; there is at most one per call, and it is armed when a read has to wait.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Watches the waits of one answer.
#[derive(Debug)]
pub struct Watch {
    idle: Duration,
    last: Instant,
    end: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whom the timer wakes.
    waker: Option<Waker>,
}

impl Watch {
    /// A watch that begins now and allows no wait beyond `end`.
    #[must_use]
    pub fn new(idle: Duration, end: Instant) -> Self {
        Self { idle, last: Instant::now(), end, timer: None, waker: None }
    }

    /// Something has come: the idle time begins anew. The time it came.
    pub fn progress(&mut self) -> Instant {
        self.last = Instant::now();
        self.last
    }

    /// Ready when the wait has become too long; to be asked whenever a read is pending.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = (self.last + self.idle).min(self.end);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        // It would only be told again what it knows.
        let known = self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if known && !timer.is_elapsed() {
            return Poll::Pending;
        }
        self.waker = Some(cx.waker().clone());
        while timer.as_mut().poll(cx).is_ready() {
            // It was armed for an earlier event; only the newest counts.
            let due = (self.last + self.idle).min(self.end);
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idle_counts_from_the_last_progress_and_total_from_the_start() {
        let start = Instant::now();
        let mut watch = Watch::new(Duration::from_secs(5), start + Duration::from_secs(12));
        let second = tokio::time::sleep(Duration::from_secs(4));
        tokio::select! { () = poll_fn(|cx| watch.poll(cx)) => panic!("too early"), () = second => {} }
        watch.progress();
        poll_fn(|cx| watch.poll(cx)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(9));
        let mut watch = Watch::new(Duration::from_secs(500), start + Duration::from_secs(12));
        poll_fn(|cx| watch.poll(cx)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(12));
    }
}
