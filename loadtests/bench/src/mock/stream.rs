//! One streamed answer: which event comes next, when, and what is still to be written of the last.

use crate::request::Wish;
use levada_bench::{clock, stamp};
use std::io::{self, Write};
use std::sync::LazyLock;

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
                    Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
const START: &str = r#"data: {"id":"chatcmpl-mock","object":"chat.completion.chunk","created":1700000000,"model":"mock","choices":["#;

/// The events that differ in nothing but their stamp, each in its transfer chunk.
struct Templates {
    first: String,
    content: String,
    stamp: usize,
    finish: String,
}

static TEMPLATES: LazyLock<Templates> = LazyLock::new(|| {
    let choice = |delta: &str, reason: &str| {
        framed(&format!(
            r#"{START}{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{reason}}}]}}"#
        ))
    };
    let content = choice(&format!(r#"{{"content":"{}"}}"#, stamp::BLANK), "null");
    Templates {
        first: format!("{HEAD}{}", choice(r#"{"role":"assistant","content":""}"#, "null")),
        stamp: content.find(stamp::BLANK).unwrap_or(0),
        content,
        finish: choice("{}", r#""stop""#),
    }
});

fn framed(event: &str) -> String {
    format!("{:x}\r\n{event}\n\n\r\n", event.len() + 2)
}

/// What the stream waits for after a step.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// Its turn among the streams that write as fast as they can.
    Turn,
    /// A moment.
    At(u64),
    /// Room in the socket.
    Room,
    /// Nothing: all is written.
    End,
}

/// One streamed answer under way.
pub struct Stream {
    chunks: u64,
    gap: u64,
    usage: bool,
    step: u64,
    due: u64,
    out: Vec<u8>,
    written: usize,
}

impl Stream {
    /// A stream that begins at `due`.
    pub fn new(wish: &Wish, due: u64) -> Self {
        let (chunks, gap) = (wish.chunks, wish.gap_us * 1_000);
        Stream { chunks, gap, usage: wish.usage, step: 0, due, out: Vec::new(), written: 0 }
    }

    /// Writes what is left of the last event; if there was none, the next one.
    pub fn advance(&mut self, socket: &mut impl Write) -> io::Result<Next> {
        let late = self.written < self.out.len();
        if !late {
            if self.step > self.chunks + 1 {
                return Ok(Next::End);
            }
            self.compose();
        }
        if !self.flush(socket)? {
            return Ok(Next::Room);
        }
        if late {
            // Lost time is not made up for: the pace goes on from here.
            self.due = self.due.max(clock::now());
        }
        Ok(self.next())
    }

    fn next(&mut self) -> Next {
        if self.step > self.chunks + 1 {
            Next::End
        } else if self.gap == 0 || self.step < 2 {
            Next::Turn
        } else {
            self.due += self.gap;
            Next::At(self.due)
        }
    }

    /// Step 0 is head and role, 1..=chunks the content, the one after it the end.
    fn compose(&mut self) {
        let t = &*TEMPLATES;
        self.out.clear();
        self.written = 0;
        if self.step == 0 {
            self.out.extend_from_slice(t.first.as_bytes());
        } else if self.step <= self.chunks {
            self.out.extend_from_slice(t.content.as_bytes());
            stamp::write(&mut self.out[t.stamp..], self.step, clock::now());
        } else {
            self.out.extend_from_slice(t.finish.as_bytes());
            if self.usage {
                let (n, total) = (self.chunks, self.chunks + 16);
                self.out.extend_from_slice(
                    framed(&format!(
                        r#"{START}],"usage":{{"prompt_tokens":16,"completion_tokens":{n},"total_tokens":{total}}}}}"#
                    ))
                    .as_bytes(),
                );
            }
            self.out.extend_from_slice(framed("data: [DONE]").as_bytes());
            self.out.extend_from_slice(b"0\r\n\r\n");
        }
        self.step += 1;
    }

    fn flush(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        while self.written < self.out.len() {
            match socket.write(&self.out[self.written..]) {
                Ok(n) => self.written += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::{Next, Stream};
    use crate::request::Wish;
    use levada_bench::chunked::Decoder;
    use std::io::{self, Write};

    /// Takes a few bytes, then none, in turn.
    #[derive(Default)]
    struct Narrow {
        taken: Vec<u8>,
        full: bool,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.full = !self.full;
            if self.full {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let n = bytes.len().min(7);
            self.taken.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stream_is_whole_through_any_socket() -> io::Result<()> {
        let wish = Wish { chunks: 3, usage: true, ..Wish::default() };
        let (mut stream, mut socket) = (Stream::new(&wish, 0), Narrow::default());
        while stream.advance(&mut socket)? != Next::End {}
        let at = socket.taken.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(0) + 4;
        let (mut decoder, mut body) = (Decoder::default(), Vec::new());
        let taken = decoder.feed(&socket.taken[at..], |p| body.extend_from_slice(p));
        assert!(decoder.ended() && taken == Ok(socket.taken.len() - at));
        let body = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(body.matches("\n\n").count(), 1 + 3 + 1 + 1 + 1);
        assert!(body.contains("@t000003.") && body.contains("\"completion_tokens\":3"));
        assert!(body.ends_with("data: [DONE]\n\n"));
        for data in body.split_terminator("\n\n").filter(|e| !e.ends_with("[DONE]")) {
            let json = data.strip_prefix("data: ").unwrap_or("");
            assert!(serde_json::from_str::<serde_json::Value>(json).is_ok(), "{json}");
        }
        Ok(())
    }

    #[test]
    fn a_paced_stream_keeps_its_pace() -> io::Result<()> {
        let wish = Wish { chunks: 3, gap_us: 5, ..Wish::default() };
        let mut stream = Stream::new(&wish, 1_000);
        let steps: Vec<Next> = (0..5).map(|_| stream.advance(&mut Vec::new())).collect::<io::Result<_>>()?;
        let at = Next::At;
        assert_eq!(steps, [Next::Turn, at(6_000), at(11_000), at(16_000), Next::End]);
        Ok(())
    }
}
