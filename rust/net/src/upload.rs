//! Reads a request's body: bounded in bytes and in time, copied at most once.
//!
//! Law: a body is acted on only when all of it has come; one whose stream ended in an error never happened.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use levada_core::refusal::{Kind, Refusal};
use tokio::time::Instant;

use crate::gateway::refusals::too_large;
use crate::guard::alarm::Alarm;

/// How long a client may send as slowly as it likes.
const GRACE: Duration = Duration::from_secs(10);

/// The most that is set aside on a client's word; what was promised beyond it is set aside when this much has come.
const ADVANCE_BYTES: usize = 1024 * 1024;

/// How fast a body must come.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The time for all of it.
    pub total: Duration,
    /// The least rate after the first 10 s; 0 means none.
    pub bytes_per_second: u64,
}

impl Pace {
    /// When a body begun at `began`, of which `received` bytes have come, is too slow.
    fn deadline(self, began: Instant, received: u64) -> Instant {
        let earned = match self.bytes_per_second {
            0 => self.total,
            rate => GRACE + Duration::from_millis(received.saturating_mul(1000) / rate),
        };
        began + earned.min(self.total)
    }
}

/// The clock of one body; it starts when the body first has to be waited for.
pub struct Clock {
    pace: Pace,
    began: Option<Instant>,
    received: u64,
    alarm: Alarm,
}

impl Clock {
    /// A clock that has not started.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self { pace, began: None, received: 0, alarm: Alarm::default() }
    }

    /// Counts bytes that have come.
    pub fn count(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(bytes as u64);
    }

    /// Ready when the body is too slow. To be polled whenever the body is pending.
    pub fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let began = *self.began.get_or_insert_with(Instant::now);
        self.alarm.poll(self.pace.deadline(began, self.received), cx)
    }
}

/// The whole body, or why there is none.
pub async fn read<B>(body: B, limit: usize, pace: Pace) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes>,
{
    let promised = body.size_hint();
    if promised.lower() > limit as u64 {
        return Err(too_large(limit, Some(promised.lower())));
    }
    let mut body = pin!(body);
    let mut clock = Clock::new(pace);
    let Some(first) = piece(body.as_mut(), &mut clock).await? else { return Ok(Bytes::new()) };
    if body.is_end_stream() && first.len() <= limit {
        return Ok(first);
    }
    let expected = usize::try_from(promised.lower()).unwrap_or(limit);
    let mut whole = BytesMut::with_capacity(expected.clamp(first.len(), ADVANCE_BYTES.max(first.len())));
    let mut next = Some(first);
    while let Some(bytes) = next {
        let length = whole.len() + bytes.len();
        if length > limit {
            return Err(too_large(limit, None));
        }
        if length > whole.capacity() {
            whole.reserve(expected.max(length) - whole.len());
        }
        whole.extend_from_slice(&bytes);
        next = piece(body.as_mut(), &mut clock).await?;
    }
    Ok(whole.freeze())
}

/// The next data of the body; `None` at its end. Trailers are passed over.
async fn piece<B>(mut body: Pin<&mut B>, clock: &mut Clock) -> Result<Option<Bytes>, Refusal>
where
    B: Body<Data = Bytes>,
{
    loop {
        let frame = poll_fn(|cx| match body.as_mut().poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => clock.poll_late(cx).map(|()| Err(Refusal::of(Kind::RequestTimeout))),
        });
        match frame.await?.map(|frame| frame.map(Frame::into_data)) {
            None => return Ok(None),
            Some(Err(_)) => return Err(Refusal::of(Kind::BadFraming)),
            Some(Ok(Ok(data))) => {
                clock.count(data.len());
                return Ok(Some(data));
            }
            Some(Ok(Err(_))) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body::SizeHint;
    use http_body_util::Full;
    use tokio::sync::mpsc;

    use super::*;

    const PACE: Pace = Pace { total: Duration::from_secs(120), bytes_per_second: 1024 };

    /// A body that is fed by hand.
    struct Fed(mpsc::Receiver<Result<Bytes, &'static str>>, SizeHint);

    impl Body for Fed {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
        }

        fn size_hint(&self) -> SizeHint {
            self.1
        }
    }

    fn fed(hint: SizeHint) -> (mpsc::Sender<Result<Bytes, &'static str>>, Fed) {
        let (sender, receiver) = mpsc::channel(1);
        (sender, Fed(receiver, hint))
    }

    fn kind(result: Result<Bytes, Refusal>) -> Kind {
        result.unwrap_err().kind()
    }

    #[tokio::test]
    async fn one_piece_is_not_copied() {
        let body = Bytes::from(vec![7; 1000]);
        let read = read(Full::new(body.clone()), 1000, PACE).await.unwrap();
        assert_eq!(read.as_ptr(), body.as_ptr());
    }

    #[tokio::test]
    async fn pieces_are_joined_up_to_the_limit() {
        for (limit, fits) in [(30, true), (29, false)] {
            let (sender, body) = fed(SizeHint::default());
            let feed = async move {
                for _ in 0..3 {
                    let _ = sender.send(Ok(Bytes::from_static(&[1; 10]))).await;
                }
            };
            let (result, ()) = tokio::join!(read(body, limit, PACE), feed);
            match fits {
                true => assert_eq!(result.unwrap(), vec![1; 30]),
                false => assert_eq!(kind(result), Kind::BodyTooLarge),
            }
        }
    }

    #[tokio::test]
    async fn a_promise_over_the_limit_is_refused_unread() {
        let (_sender, body) = fed(SizeHint::with_exact(31));
        assert_eq!(kind(read(body, 30, PACE).await), Kind::BodyTooLarge);
    }

    #[tokio::test]
    async fn a_broken_body_never_happened() {
        let (sender, body) = fed(SizeHint::default());
        sender.send(Err("bad chunk")).await.unwrap();
        assert_eq!(kind(read(body, 30, PACE).await), Kind::BadFraming);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_after_the_grace() {
        let (_sender, body) = fed(SizeHint::default());
        let began = Instant::now();
        assert_eq!(kind(read(body, 30, PACE).await), Kind::RequestTimeout);
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_ends_when_its_bytes_are_used_up_and_a_fair_pace_at_the_total() {
        for (bytes_each_second, seconds) in [(512, 19), (1024, 120)] {
            let (sender, body) = fed(SizeHint::default());
            let began = Instant::now();
            let feed = async move {
                while sender.send(Ok(Bytes::from(vec![0; bytes_each_second]))).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            };
            let (result, ()) = tokio::join!(read(body, 1 << 20, PACE), feed);
            assert_eq!(kind(result), Kind::RequestTimeout);
            let ended = began.elapsed().as_secs();
            assert!(
                (seconds..=seconds + 2).contains(&ended),
                "{bytes_each_second} B/s ended after {ended} s"
            );
        }
    }
}
