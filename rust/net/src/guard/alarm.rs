//! A deadline that costs nothing while things flow.
//!
//! Law: at most one timer, made when something first has to wait. A later deadline does not touch it: it fires early once,
//! sees that there is time left, and sleeps on. All polls of one alarm must come from one task.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A lazily armed timer.
#[derive(Default)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Ready once `deadline` has passed; otherwise the task is woken when it does.
    pub fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                if sleep.is_elapsed() || deadline < sleep.deadline() {
                    if Instant::now() >= deadline {
                        return Poll::Ready(());
                    }
                    sleep.as_mut().reset(deadline);
                } else {
                    return Poll::Pending;
                }
                sleep
            }
            None => self.sleep.insert(Box::pin(sleep_until(deadline))),
        };
        loop {
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_earlier_and_a_later_deadline_are_kept() {
        let mut alarm = Alarm::default();
        let began = Instant::now();
        let (late, early) = (began + Duration::from_secs(9), began + Duration::from_secs(3));
        poll_fn(|cx| {
            assert!(alarm.poll(late, cx).is_pending());
            alarm.poll(early, cx)
        })
        .await;
        assert_eq!(began.elapsed().as_secs(), 3);
        poll_fn(|cx| alarm.poll(late, cx)).await;
        assert_eq!(began.elapsed().as_secs(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_moved_on_is_not_missed() {
        let mut alarm = Alarm::default();
        let began = Instant::now();
        let mut deadline = began + Duration::from_secs(2);
        poll_fn(|cx| {
            let result = alarm.poll(deadline, cx);
            deadline = began + Duration::from_secs(5);
            result
        })
        .await;
        assert_eq!(began.elapsed().as_secs(), 5);
    }
}
