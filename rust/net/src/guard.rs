//! What stands between a client's socket and the HTTP parser: it keeps the deadlines of a connection.
//!
//! Law: the socket wrapper only notes facts (a head has begun, a write is stuck) in the connection's [`Line`]; the [`Watch`]
//! beside it is the only judge of how long is too long. While bytes flow neither reads a clock more than once per request
//! nor touches a timer.

pub mod alarm;
pub mod sniff;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use self::alarm::Alarm;
use self::sniff::{Framing, Sniff};
use crate::gather::Room;

/// How long the bytes of a refused request are read away, so that the refusal is not lost in a reset.
const LINGER: Duration = Duration::from_secs(2);

/// How long a connection may keep us waiting.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a whole head: from accept, then from the first byte of each later one.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// For a write that makes no progress.
    pub write: Duration,
}

/// Where the connection is: accepted and silent, between two requests, in a head, past it.
const FRESH: u8 = 0;
const BETWEEN: u8 = 1;
const IN_HEAD: u8 = 2;
const PAST_HEAD: u8 = 3;

/// The facts of one connection, shared by its socket wrapper, its watch and its requests.
pub struct Line {
    stage: AtomicU8,
    framing: AtomicU8,
    open: AtomicU32,
    served: AtomicU32,
    stuck: AtomicBool,
    writes: AtomicU32,
    unread: AtomicBool,
    lingers: AtomicBool,
}

impl Line {
    /// A connection just accepted: its first head counts from now.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            stage: AtomicU8::new(FRESH),
            framing: AtomicU8::new(Framing::Unseen as u8),
            open: AtomicU32::new(0),
            served: AtomicU32::new(0),
            stuck: AtomicBool::new(false),
            writes: AtomicU32::new(0),
            unread: AtomicBool::new(false),
            lingers: AtomicBool::new(false),
        })
    }

    /// The requests that are being answered.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// Whether nothing has been asked on it yet.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.served.load(Relaxed) == 0
    }

    /// Notes that a request was refused with bytes of its body unread.
    pub fn leave_unread(&self) {
        self.unread.store(true, Relaxed);
    }

    /// Whether bytes of the client may lie unread: of a refused body, or of a head that never became a request.
    fn holds_unread(&self) -> bool {
        self.unread.load(Relaxed) || matches!(self.stage.load(Relaxed), IN_HEAD | PAST_HEAD)
    }

    fn wait(&self) -> Wait {
        if self.lingers.load(Relaxed) {
            return Wait::Linger;
        }
        if self.stuck.load(Relaxed) {
            return Wait::Write(self.writes.load(Relaxed));
        }
        if self.open() > 0 {
            return Wait::Answer;
        }
        let served = self.served.load(Relaxed);
        if self.stage.load(Relaxed) == BETWEEN { Wait::Request(served) } else { Wait::Head(served) }
    }
}

/// One request being answered; lives as long as its answer's body.
pub struct Turn {
    line: Arc<Line>,
}

impl Turn {
    /// Begins a request whose head has been parsed; also says what its head said about the body's length.
    #[must_use]
    pub fn begin(line: &Arc<Line>) -> (Self, Framing) {
        line.stage.store(PAST_HEAD, Relaxed);
        line.open.fetch_add(1, Relaxed);
        line.served.fetch_add(1, Relaxed);
        let framing = match line.framing.swap(Framing::Unseen as u8, Relaxed) {
            seen if seen == Framing::Plain as u8 => Framing::Plain,
            seen if seen == Framing::Encoded as u8 => Framing::Encoded,
            seen if seen == Framing::Both as u8 => Framing::Both,
            _ => Framing::Unseen,
        };
        (Self { line: Arc::clone(line) }, framing)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.line.open.fetch_sub(1, Relaxed);
        self.line.stage.store(BETWEEN, Relaxed);
    }
}

/// What the connection waits for; a new value starts a new deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// Our own answer: other deadlines than ours.
    Answer,
    /// The rest of a head, after so many requests.
    Head(u32),
    /// The next request, after so many.
    Request(u32),
    /// Room for a write, after so many that made progress.
    Write(u32),
    /// The client's leave.
    Linger,
}

/// The judge of one connection's deadlines.
pub struct Watch {
    line: Arc<Line>,
    patience: Patience,
    wait: Wait,
    since: Instant,
    alarm: Alarm,
}

impl Watch {
    /// Watches `line` from now on.
    #[must_use]
    pub fn new(line: Arc<Line>, patience: Patience) -> Self {
        let wait = line.wait();
        Self { line, patience, wait, since: Instant::now(), alarm: Alarm::default() }
    }

    /// Ends when the connection has outlived a deadline. To be polled after the connection, in the same task.
    pub async fn expired(&mut self) {
        poll_fn(|cx| self.poll_expired(cx)).await;
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let wait = self.line.wait();
        if wait != self.wait {
            self.wait = wait;
            if wait != Wait::Answer {
                self.since = Instant::now();
            }
        }
        let allowed = match wait {
            Wait::Answer => return Poll::Pending,
            Wait::Head(_) => self.patience.head,
            Wait::Request(_) => self.patience.idle,
            Wait::Write(_) => self.patience.write,
            Wait::Linger => LINGER,
        };
        self.alarm.poll(self.since + allowed, cx)
    }
}

/// A socket that notes in its line what happens on it.
pub struct Guard<S> {
    socket: S,
    line: Arc<Line>,
    sniff: Option<Sniff>,
}

impl<S> Guard<S> {
    /// Wraps a socket that speaks HTTP/1: its heads are looked over.
    pub fn http1(socket: S, line: Arc<Line>) -> Self {
        Self { socket, line, sniff: Some(Sniff::default()) }
    }

    /// Wraps a socket that speaks HTTP/2.
    pub fn http2(socket: S, line: Arc<Line>) -> Self {
        Self { socket, line, sniff: None }
    }

    fn look(&mut self, bytes: &[u8]) {
        let Some(sniff) = &mut self.sniff else { return };
        match self.line.stage.load(Relaxed) {
            _ if bytes.is_empty() => return,
            PAST_HEAD => return,
            IN_HEAD => {}
            _ => {
                self.line.stage.store(IN_HEAD, Relaxed);
                *sniff = Sniff::default();
            }
        }
        if let Some(framing) = sniff.feed(bytes) {
            self.line.framing.store(framing as u8, Relaxed);
            self.line.stage.store(PAST_HEAD, Relaxed);
        }
    }

    fn wrote<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_pending() {
            self.line.stuck.store(true, Relaxed);
        } else if self.line.stuck.load(Relaxed) {
            self.line.stuck.store(false, Relaxed);
            self.line.writes.fetch_add(1, Relaxed);
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
        this.look(buf.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.wrote(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = match Room::new().gather(pieces) {
            Some(bytes) => Pin::new(&mut this.socket).poll_write(cx, bytes),
            None => Pin::new(&mut this.socket).poll_write_vectored(cx, pieces),
        };
        this.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.socket).poll_flush(cx);
        this.wrote(result)
    }

    /// Ends our side; after a refusal with bytes unread it then reads them away until the client ends its own (or the watch
    /// ends both): a close with unread bytes would be a reset, and that can overtake the refusal.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.line.lingers.load(Relaxed) {
            let result = Pin::new(&mut this.socket).poll_shutdown(cx);
            ready!(this.wrote(result))?;
            if !this.line.holds_unread() {
                return Poll::Ready(Ok(()));
            }
            this.line.lingers.store(true, Relaxed);
        }
        let mut away = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut away);
            let read = ready!(Pin::new(&mut this.socket).poll_read(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
