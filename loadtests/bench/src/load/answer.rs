//! One answer: its head, how its body ends, and whether it is what was expected.

use crate::events::EventReader;
use crate::options::Expected;
use crate::tally::Tally;
use levada_bench::chunked::Decoder;
use memchr::memmem;

const HEAD_LIMIT: usize = 64 << 10;
const HEADERS: usize = 100;

/// How the end of the body is known.
#[derive(Default)]
enum Framing {
    #[default]
    Close,
    Length(u64),
    Chunked(Decoder),
}

/// One answer under way. The buffers are kept from one to the next.
#[derive(Default)]
pub struct Answer {
    head: Vec<u8>,
    in_body: bool,
    status: u16,
    framing: Framing,
    pub keep: bool,
    received: u64,
    tail: Vec<u8>,
    found: bool,
    events: EventReader,
}

/// What became of the bytes that were fed.
pub enum Progress {
    More,
    Complete,
    Fault(&'static str),
}

impl Answer {
    /// Makes ready for the next answer.
    pub fn reset(&mut self) {
        self.head.clear();
        self.in_body = false;
        self.status = 0;
        self.keep = true;
        self.received = 0;
        self.tail.clear();
        self.found = false;
        self.events.reset();
    }

    /// Whether not a byte of it has come.
    pub fn is_untouched(&self) -> bool {
        !self.in_body && self.head.is_empty()
    }

    /// Takes the next bytes; `started` is when the request was sent.
    pub fn feed(&mut self, bytes: &[u8], started: u64, expected: &Expected, tally: &mut Tally) -> Progress {
        if self.in_body {
            return self.body(bytes, started, expected, tally);
        }
        self.head.extend_from_slice(bytes);
        match self.read_head() {
            Err(kind) => Progress::Fault(kind),
            Ok(None) => Progress::More,
            Ok(Some(length)) => {
                let rest = self.head.split_off(length);
                if self.status == 100 {
                    self.head.clear();
                    return self.feed(&rest, started, expected, tally);
                }
                self.in_body = true;
                self.body(&rest, started, expected, tally)
            }
        }
    }

    /// The server has closed the connection: good if that is how the body ends.
    pub fn closed(&mut self, expected: &Expected) -> Option<&'static str> {
        match self.framing {
            Framing::Close if self.in_body => self.verdict(expected),
            _ => Some("closed_early"),
        }
    }

    fn read_head(&mut self) -> Result<Option<usize>, &'static str> {
        let mut fields = [httparse::EMPTY_HEADER; HEADERS];
        let mut head = httparse::Response::new(&mut fields);
        let length = match head.parse(&self.head) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if self.head.len() < HEAD_LIMIT => return Ok(None),
            _ => return Err("bad_head"),
        };
        self.status = head.code.unwrap_or(0);
        self.framing = Framing::Close;
        for field in head.headers.iter() {
            let value = std::str::from_utf8(field.value).unwrap_or("").trim();
            if field.name.eq_ignore_ascii_case("content-length") {
                self.framing = Framing::Length(value.parse().map_err(|_| "bad_head")?);
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                self.framing = Framing::Chunked(Decoder::default());
            } else if field.name.eq_ignore_ascii_case("connection") {
                self.keep = !value.eq_ignore_ascii_case("close");
            }
        }
        Ok(Some(length))
    }

    fn body(&mut self, bytes: &[u8], started: u64, expected: &Expected, tally: &mut Tally) -> Progress {
        let mut framing = std::mem::take(&mut self.framing);
        let taken = match &mut framing {
            Framing::Close => {
                self.payload(bytes, started, expected, tally);
                bytes.len()
            }
            Framing::Length(length) => {
                let take = (bytes.len() as u64).min(*length - self.received) as usize;
                self.payload(&bytes[..take], started, expected, tally);
                take
            }
            Framing::Chunked(decoder) => {
                let fed = decoder.feed(bytes, |part| self.payload(part, started, expected, tally));
                let Ok(taken) = fed else { return Progress::Fault("bad_chunk") };
                taken
            }
        };
        let ended = match &framing {
            Framing::Close => false,
            Framing::Length(length) => self.received == *length,
            Framing::Chunked(decoder) => decoder.ended(),
        };
        self.framing = framing;
        if !ended {
            return Progress::More;
        }
        if taken < bytes.len() {
            return Progress::Fault("extra_bytes");
        }
        self.verdict(expected).map_or(Progress::Complete, Progress::Fault)
    }

    fn payload(&mut self, bytes: &[u8], started: u64, expected: &Expected, tally: &mut Tally) {
        self.received += bytes.len() as u64;
        tally.bytes += bytes.len() as u64;
        if expected.stream {
            self.events.feed(bytes, started, tally);
        } else if !expected.contains.is_empty() && !self.found {
            self.search(bytes, &expected.contains);
        }
    }

    /// Looks for the text also across the seam of two pieces.
    fn search(&mut self, bytes: &[u8], text: &[u8]) {
        if self.tail.is_empty() {
            self.found = memmem::find(bytes, text).is_some();
        } else {
            self.tail.extend_from_slice(bytes);
            self.found = memmem::find(&self.tail, text).is_some();
        }
        let from = |piece: &[u8]| piece.len().saturating_sub(text.len());
        if self.tail.is_empty() {
            self.tail.extend_from_slice(&bytes[from(bytes)..]);
        } else {
            self.tail.drain(..from(&self.tail));
        }
    }

    fn verdict(&self, expected: &Expected) -> Option<&'static str> {
        if self.status != 200 {
            Some("status")
        } else if expected.stream {
            self.events.verdict(expected.chunks)
        } else if self.received < expected.min_bytes {
            Some("too_short")
        } else if !expected.contains.is_empty() && !self.found {
            Some("text_missing")
        } else {
            None
        }
    }

    /// The answer so far in words, for an error message.
    pub fn describe(&self) -> String {
        let head = String::from_utf8_lossy(&self.head);
        let head = head.lines().collect::<Vec<_>>().join(" | ");
        format!("{} bytes of body after {:.200}", self.received, head)
    }

    /// The length of the body so far.
    pub fn received(&self) -> u64 {
        self.received
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Progress};
    use crate::options::Expected;
    use crate::tally::Tally;

    fn read(text: &str, cut: usize) -> Result<u64, &'static str> {
        let expected = Expected { stream: false, chunks: None, min_bytes: 5, contains: b"ell".to_vec() };
        let (mut answer, mut tally) = (Answer::default(), Tally::default());
        answer.reset();
        for piece in text.as_bytes().chunks(cut) {
            match answer.feed(piece, 0, &expected, &mut tally) {
                Progress::More => {}
                Progress::Complete => return Ok(answer.received()),
                Progress::Fault(kind) => return Err(kind),
            }
        }
        answer.closed(&expected).map_or(Ok(answer.received()), Err)
    }

    #[test]
    fn each_framing_is_read_at_any_cut() {
        for text in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        ] {
            for cut in 1..=text.len() {
                assert_eq!(read(text, cut), Ok(5), "{text} {cut}");
            }
        }
    }

    #[test]
    fn every_fault_has_its_name() {
        for (text, fault) in [
            ("HTTP/1.1 502 Bad\r\ncontent-length: 5\r\n\r\nhello", "status"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhell", "too_short"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhullos", "text_missing"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", "closed_early"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloo", "extra_bytes"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx", "bad_chunk"),
            ("nonsense\r\n\r\n", "bad_head"),
        ] {
            assert_eq!(read(text, 4096), Err(fault), "{text}");
        }
    }
}
