//! One connection of the load: connects, sends, reads, again.

use crate::answer::{Answer, Progress};
use crate::options::Expected;
use crate::tally::Tally;
use levada_bench::clock;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, Read, Write};
use std::net::SocketAddrV4;

#[derive(Clone, Copy, PartialEq)]
enum State {
    Idle,
    Connecting,
    Sending,
    Reading,
}

/// What became of an event.
pub enum Outcome {
    Pending,
    /// The answer came and is good.
    Good,
    /// It failed, in this way.
    Failed(&'static str),
    /// A kept connection had been closed before a byte of the answer came: to be sent again.
    Stale,
}

/// One connection, open or not.
pub struct Connection {
    socket: Option<TcpStream>,
    state: State,
    sent: usize,
    answered: u64,
    /// When the request under way was started.
    pub started: u64,
    pub answer: Answer,
}

impl Default for Connection {
    fn default() -> Self {
        let (socket, answer, state) = (None, Answer::default(), State::Idle);
        Connection { socket, state, sent: 0, answered: 0, started: 0, answer }
    }
}

impl Connection {
    /// Starts the next request, over a new connection if there is none.
    pub fn start(
        &mut self,
        target: SocketAddrV4,
        registry: &Registry,
        token: Token,
        request: &[u8],
        tally: &mut Tally,
    ) -> Outcome {
        self.answer.reset();
        self.sent = 0;
        self.started = clock::now();
        if self.socket.is_some() {
            self.state = State::Sending;
            return self.send(request);
        }
        tally.connects += 1;
        self.answered = 0;
        self.state = State::Connecting;
        let opened = TcpStream::connect(target.into()).and_then(|mut socket| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.register(&mut socket, token, interest)?;
            socket.set_nodelay(true)?;
            Ok(socket)
        });
        match opened {
            Ok(socket) => {
                self.socket = Some(socket);
                Outcome::Pending
            }
            Err(_) => Outcome::Failed("connect"),
        }
    }

    /// Closes the connection.
    pub fn close(&mut self) {
        self.socket = None;
    }

    /// After an outcome: nothing is under way.
    pub fn rest(&mut self) {
        self.state = State::Idle;
    }

    /// The socket is writable.
    pub fn writable(&mut self, request: &[u8]) -> Outcome {
        if self.state == State::Connecting {
            let Some(socket) = &self.socket else { return Outcome::Pending };
            if !matches!(socket.take_error(), Ok(None)) {
                return Outcome::Failed("connect");
            }
            if socket.peer_addr().is_err() {
                return Outcome::Pending;
            }
            self.state = State::Sending;
            self.started = clock::now();
        }
        if self.state == State::Sending { self.send(request) } else { Outcome::Pending }
    }

    fn send(&mut self, request: &[u8]) -> Outcome {
        let Some(socket) = &mut self.socket else { return Outcome::Pending };
        while let Some(rest) = request.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match socket.write(rest) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Outcome::Pending,
                Err(_) if self.answered > 0 && self.sent == 0 => return Outcome::Stale,
                Err(_) => return Outcome::Failed("send"),
            }
        }
        self.state = State::Reading;
        Outcome::Pending
    }

    /// The socket is readable. Reads all there is.
    pub fn readable(&mut self, buffer: &mut [u8], expected: &Expected, tally: &mut Tally) -> Outcome {
        loop {
            let Some(socket) = &mut self.socket else { return Outcome::Pending };
            let n = match socket.read(buffer) {
                Ok(0) => return self.ended(expected),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Outcome::Pending,
                Err(_) => return self.ended(expected),
            };
            if self.state == State::Idle {
                // Bytes that nobody asked for: the next answer could not be told from them.
                self.close();
                return Outcome::Pending;
            }
            match self.answer.feed(&buffer[..n], self.started, expected, tally) {
                Progress::More if n < buffer.len() => return Outcome::Pending,
                Progress::More => {}
                Progress::Complete => {
                    self.answered += 1;
                    return Outcome::Good;
                }
                Progress::Fault(kind) => return Outcome::Failed(kind),
            }
        }
    }

    fn ended(&mut self, expected: &Expected) -> Outcome {
        self.close();
        match self.state {
            State::Idle => Outcome::Pending,
            _ if self.answered > 0 && self.answer.is_untouched() => Outcome::Stale,
            State::Connecting => Outcome::Failed("connect"),
            _ => self.answer.closed(expected).map_or(Outcome::Good, Outcome::Failed),
        }
    }
}
