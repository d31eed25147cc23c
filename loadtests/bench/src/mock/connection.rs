//! One client connection: what it has sent, and the answer under way.

use crate::reply::Replies;
use crate::request::{Endpoint, Parsed, Request, parse};
use crate::stream::{Next, Stream};
use levada_bench::clock;
use mio::net::TcpStream;
use std::io::{self, Read, Write};
use std::rc::Rc;

/// The input buffer grows by doubling from here; see the limits of `request.rs`.
const FIRST_READ: usize = 4096;
const INPUT_LIMIT: usize = 80 << 20;

/// The answer under way.
enum Answer {
    None,
    Whole { bytes: Rc<[u8]>, written: usize },
    Streamed(Stream),
}

/// One client connection.
pub struct Connection {
    pub socket: TcpStream,
    /// Tells this connection from another that had the same place before.
    pub serial: u64,
    input: Vec<u8>,
    filled: usize,
    answer: Answer,
    waiting: bool,
    keep: bool,
    continued: bool,
}

impl Connection {
    /// A connection that has sent nothing yet.
    pub fn new(socket: TcpStream, serial: u64) -> Self {
        let input = vec![0; FIRST_READ];
        let (answer, waiting, keep, continued) = (Answer::None, false, true, false);
        Connection { socket, serial, input, filled: 0, answer, waiting, keep, continued }
    }

    /// Reads all that the socket has. An end of the stream is an error: there is nobody to answer.
    pub fn read(&mut self) -> io::Result<()> {
        loop {
            if self.filled == self.input.len() {
                if self.filled >= INPUT_LIMIT {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                self.input.resize(self.filled * 2, 0);
            }
            let room = &mut self.input[self.filled..];
            let size = room.len();
            match self.socket.read(room) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.filled += n;
                    if n < size {
                        return Ok(());
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }

    /// Starts the next answer if none is under way and a whole request is there.
    pub fn respond(&mut self, replies: &mut Replies) -> io::Result<Option<Next>> {
        if !matches!(self.answer, Answer::None) || self.filled == 0 {
            return Ok(None);
        }
        match parse(&self.input[..self.filled]) {
            Parsed::Bad => Err(io::ErrorKind::InvalidData.into()),
            Parsed::Partial { expects } => {
                if expects && !self.continued {
                    self.continued = true;
                    self.socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                }
                Ok(None)
            }
            Parsed::Whole(request) => {
                self.input.copy_within(request.length..self.filled, 0);
                self.filled -= request.length;
                self.begin(&request, replies).map(Some)
            }
        }
    }

    fn begin(&mut self, request: &Request, replies: &mut Replies) -> io::Result<Next> {
        let wish = &request.wish;
        let due = clock::now() + wish.ttft_us * 1_000;
        self.keep = request.keep;
        self.continued = false;
        self.answer = if wish.stream {
            Answer::Streamed(Stream::new(wish, due))
        } else {
            Answer::Whole { bytes: replies.get(wish), written: 0 }
        };
        let generated = matches!(wish.endpoint, Endpoint::Chat | Endpoint::Embeddings);
        if generated && wish.ttft_us > 0 { Ok(Next::At(due)) } else { self.advance() }
    }

    /// Writes the next piece of the answer. At its end the connection is closed if the client
    /// asked for that.
    pub fn advance(&mut self) -> io::Result<Next> {
        let next = match &mut self.answer {
            Answer::None => return Ok(Next::End),
            Answer::Whole { bytes, written } => write_on(&mut self.socket, bytes, written)?,
            Answer::Streamed(stream) => stream.advance(&mut self.socket)?,
        };
        self.waiting = next == Next::Room;
        if next == Next::End {
            self.answer = Answer::None;
            if !self.keep {
                self.socket.shutdown(std::net::Shutdown::Write)?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(next)
    }

    /// Whether the answer waits for room in the socket.
    pub fn wants_room(&self) -> bool {
        self.waiting
    }
}

fn write_on(socket: &mut TcpStream, bytes: &[u8], written: &mut usize) -> io::Result<Next> {
    while let Some(rest) = bytes.get(*written..).filter(|rest| !rest.is_empty()) {
        match socket.write(rest) {
            Ok(n) => *written += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Room),
            Err(e) => return Err(e),
        }
    }
    Ok(Next::End)
}
