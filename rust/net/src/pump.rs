//! The body of an answer on its way: one read of the backend's socket, one decode, one piece for the client.
//!
//! Law: polled by the door; not polled, it does not read, and that is the back-pressure. Ready events are joined, one
//! that is alone is never delayed; how often a fast stream is read, `pace` knows.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use levada_core::bounds;
use levada_core::http1::{self, Step};
use levada_core::refusal::{Kind, Refusal};
use levada_core::relay::{Pushed, Relay, Then};
use levada_core::usage::{self, Meter, Usage};
use levada_core::words::Words;

use crate::attempt::Answer;
use crate::client::Conn;
use crate::deadline::Watch;
use crate::load::{InFlight, Load};
use crate::pace::Pace;

/// How long the end of a finished stream's framing is waited for, so that its connection can be used again.
const LINGER: Duration = Duration::from_secs(1);

/// The body of one answer and the connection it comes from.
#[derive(Debug)]
pub struct Source {
    conn: Option<Conn>,
    body: http1::Body,
    reusable: bool,
    in_flight: InFlight,
    watch: Watch,
}

/// Why a body stopped before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The connection broke, or the framing is wrong.
    Broken,
    /// It took too long.
    Late,
}

impl Source {
    /// The body of `answer`.
    #[must_use]
    pub fn new(answer: Answer, in_flight: InFlight, watch: Watch) -> (http1::Head, Self) {
        let body = http1::Body::new(answer.head.framing);
        let reusable = answer.head.keep_alive && answer.sent;
        (answer.head, Self { conn: Some(answer.conn), body, reusable, in_flight, watch })
    }

    /// What is ready in the buffer, without reading.
    fn step(&mut self) -> Result<Step, Lost> {
        let Some(conn) = &mut self.conn else { return Ok(Step::End) };
        self.body.next(&mut conn.buf).map_err(|_| Lost::Broken)
    }

    /// Reads once; ready with false when the backend has closed at a place where it may.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Lost>> {
        let Some(conn) = &mut self.conn else { return Poll::Ready(Ok(false)) };
        match conn.poll_fill(cx) {
            Poll::Pending => self.watch.poll(cx).map(|()| Err(Lost::Late)),
            Poll::Ready(Ok(0)) => Poll::Ready(self.body.eof().map(|()| false).map_err(|_| Lost::Broken)),
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(true)),
            Poll::Ready(Err(_)) => Poll::Ready(Err(Lost::Broken)),
        }
    }

    /// The next piece as it came; nothing at the end.
    ///
    /// # Errors
    /// The body stopped before its end.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<BytesMut>, Lost>> {
        loop {
            match self.step() {
                Err(lost) => return Poll::Ready(Err(lost)),
                Ok(Step::Data(piece)) => {
                    self.watch.progress();
                    // A door that knows the length does not ask again after the last piece.
                    if self.body.ended() {
                        self.release();
                    }
                    return Poll::Ready(Ok(Some(piece)));
                }
                Ok(Step::End) => {
                    self.release();
                    return Poll::Ready(Ok(None));
                }
                Ok(Step::More) => match std::task::ready!(self.poll_fill(cx)) {
                    Ok(true) => {}
                    Ok(false) => {
                        self.conn = None;
                        return Poll::Ready(Ok(None));
                    }
                    Err(lost) => return Poll::Ready(Err(lost)),
                },
            }
        }
    }

    /// Gives the connection back when its answer has been read to the end and nothing is left over.
    fn release(&mut self) {
        if let Some(conn) = self.conn.take().filter(|conn| self.reusable && conn.buf.is_empty()) {
            self.in_flight.dialer.keep(conn);
        }
    }

    /// The stream has said `[DONE]`: what remains is framing. If it is there, the connection is free; if not, it is
    /// waited for a moment behind the client's back.
    fn finish(&mut self) {
        loop {
            match self.step() {
                Ok(Step::Data(_)) => {}
                Ok(Step::End) => return self.release(),
                Ok(Step::More) => break,
                Err(_) => {
                    self.conn = None;
                    return;
                }
            }
        }
        if let (Some(conn), true) = (self.conn.take(), self.reusable) {
            let body = std::mem::replace(&mut self.body, http1::Body::new(http1::Framing::Close));
            tokio::spawn(linger(conn, body, Arc::clone(&self.in_flight)));
        }
    }
}

async fn linger(mut conn: Conn, mut body: http1::Body, load: Arc<Load>) {
    let end = async {
        loop {
            match body.next(&mut conn.buf) {
                Ok(Step::End) => return conn.buf.is_empty(),
                // More answer after the last event is not ours to read.
                Ok(Step::Data(_)) | Err(_) => return false,
                Ok(Step::More) => {}
            }
            match std::future::poll_fn(|cx| conn.poll_fill(cx)).await {
                Ok(count) if count > 0 => {}
                _ => return false,
            }
        }
    };
    if tokio::time::timeout(LINGER, end).await == Ok(true) {
        load.dialer.keep(conn);
    }
}

/// One turn of a stream.
#[derive(Debug)]
pub enum Turn {
    /// Whole events, and more to come.
    Events(Bytes),
    /// The last events (perhaps none); the stream ended as it should.
    Last(Bytes),
    /// The last events (perhaps none); the stream broke.
    Broken(Bytes, Refusal),
}

impl Turn {
    /// Whether nothing follows.
    #[must_use]
    pub fn is_last(&self) -> bool {
        !matches!(self, Self::Events(_))
    }
}

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    source: Source,
    relay: Relay,
    pace: Pace,
}

impl Events {
    /// The events of `source` through `relay`.
    #[must_use]
    pub fn new(mut source: Source, relay: Relay) -> Self {
        if let Some(conn) = &mut source.conn {
            conn.carry_events();
        }
        Self { source, relay, pace: Pace::new() }
    }

    /// The tokens so far.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.relay.meter
    }

    /// The text that is not counted yet.
    pub fn words(&mut self) -> &mut Words {
        &mut self.relay.words
    }

    /// How many events have gone to the client.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.relay.events()
    }

    /// The next events: all that are ready, at most about [`bounds::JOIN_BYTES`].
    pub fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let mut joined = Joined::default();
        loop {
            let pushed = match self.source.step() {
                Ok(Step::Data(piece)) => self.relay.push(piece),
                Ok(Step::End) => {
                    self.source.release();
                    self.relay.end(true)
                }
                Ok(Step::More) if !joined.is_empty() => return self.flow(joined),
                Ok(Step::More) if self.pace.poll(cx).is_pending() => return Poll::Pending,
                Ok(Step::More) => match std::task::ready!(self.source.poll_fill(cx)) {
                    Ok(true) => continue,
                    Ok(false) => self.relay.end(true),
                    Err(Lost::Broken) => self.relay.end(false),
                    Err(Lost::Late) => Pushed {
                        events: Bytes::new(),
                        then: Then::Broken(Refusal::of(Kind::UpstreamTimeout)),
                    },
                },
                Err(_) => self.relay.end(false),
            };
            joined.add(pushed.events);
            match pushed.then {
                Then::More if joined.len() >= bounds::JOIN_BYTES => return self.flow(joined),
                Then::More => {}
                Then::Done => {
                    self.source.finish();
                    return Poll::Ready(Turn::Last(joined.take()));
                }
                Then::Broken(refusal) => {
                    self.source.conn = None;
                    return Poll::Ready(Turn::Broken(joined.take(), refusal));
                }
            }
        }
    }

    fn flow(&mut self, joined: Joined) -> Poll<Turn> {
        let now = self.source.watch.progress();
        self.pace.turn(now, self.relay.meter.events());
        Poll::Ready(Turn::Events(joined.take()))
    }
}

/// Pieces that go out in one write: the first as it is, further ones copied behind it.
#[derive(Default)]
pub(crate) struct Joined {
    first: Bytes,
    all: BytesMut,
}

impl Joined {
    pub fn add(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        if self.is_empty() {
            self.first = piece;
            return;
        }
        if self.all.is_empty() {
            self.all.reserve(self.first.len() + piece.len().max(bounds::JOIN_BYTES / 2));
            self.all.extend_from_slice(&self.first);
        }
        self.all.extend_from_slice(&piece);
    }

    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    pub fn len(&self) -> usize {
        self.all.len().max(self.first.len())
    }

    /// All of it. What waits for a slow client must not keep more memory than it has bytes.
    pub fn take(self) -> Bytes {
        if self.all.is_empty() {
            self.first
        } else if self.all.capacity() > self.all.len() + self.all.len() / 4 {
            Bytes::copy_from_slice(&self.all)
        } else {
            self.all.freeze()
        }
    }
}

/// A long plain body that passes through; only its beginning and end are looked at, for the usage.
#[derive(Debug)]
pub struct Plain {
    source: Source,
    ready: Option<Bytes>,
    left: Option<u64>,
    begin: BytesMut,
    tail: BytesMut,
}

impl Plain {
    /// The rest of `source` after `begun`, which has been read already; `length` is the body's whole length if known.
    #[must_use]
    pub fn new(mut source: Source, begun: BytesMut, length: Option<u64>) -> Self {
        if let Some(conn) = &mut source.conn {
            conn.carry_bulk();
        }
        let begin = BytesMut::from(begun.get(..begun.len().min(bounds::USAGE_WINDOW)).unwrap_or_default());
        let mut plain = Self { source, ready: None, left: length, begin, tail: BytesMut::new() };
        plain.remember(&begun);
        plain.ready = Some(begun.freeze());
        plain
    }

    /// Bytes still to come, if known.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        self.left
    }

    /// The next piece; nothing at the end.
    ///
    /// # Errors
    /// The body stopped before its end: the client's connection must be cut too.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Lost>> {
        let piece = match self.ready.take().filter(|piece| !piece.is_empty()) {
            Some(piece) => piece,
            None => match std::task::ready!(self.source.poll_piece(cx)) {
                Ok(Some(piece)) => {
                    self.remember(&piece);
                    piece.freeze()
                }
                Ok(None) => return Poll::Ready(Ok(None)),
                Err(lost) => return Poll::Ready(Err(lost)),
            },
        };
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(piece.len() as u64);
        }
        Poll::Ready(Ok(Some(piece)))
    }

    /// The usage, as far as it stands at the beginning or the end of what has passed.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        usage::of_window(&self.tail).or_else(|| usage::of_window(&self.begin))
    }

    fn remember(&mut self, piece: &[u8]) {
        let window = bounds::USAGE_WINDOW;
        if piece.len() >= window {
            self.tail.clear();
        } else if self.tail.len() + piece.len() > window {
            let _ = self.tail.split_to((self.tail.len() + piece.len() - window).min(self.tail.len()));
        }
        self.tail.extend_from_slice(piece.get(piece.len().saturating_sub(window)..).unwrap_or_default());
    }
}
