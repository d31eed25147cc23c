//! Looks over the bytes of a request head as they pass, for the one thing the HTTP parser hides: a Content-Length beside a
//! Transfer-Encoding, which it drops in silence.
//!
//! Law: pure, no allocation, any split of the bytes gives the same verdict.

/// As much of a line as its name can take, `transfer-encoding:` and a little.
const PREFIX: usize = 20;

/// What a head says about the length of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No head was seen from its first byte, or its first line is no request line.
    Unseen,
    /// No Transfer-Encoding.
    Plain,
    /// Transfer-Encoding alone.
    Encoded,
    /// Transfer-Encoding and Content-Length.
    Both,
}

/// The state of one head.
#[derive(Default)]
pub struct Sniff {
    line: [u8; PREFIX],
    held: usize,
    lines: u32,
    odd: bool,
    encoding: bool,
    length: bool,
}

impl Sniff {
    /// Takes the next bytes; the verdict once the blank line after the head has come.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Option<Framing> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at_checked(end)?;
            bytes = rest.get(1..)?;
            let blank = if self.held == 0 {
                self.judge(line)
            } else {
                self.keep(line);
                let (whole, held) = (self.line, std::mem::take(&mut self.held));
                self.judge(whole.get(..held)?)
            };
            if blank && self.lines > 0 {
                return Some(self.verdict());
            }
        }
        self.keep(bytes);
        None
    }

    fn verdict(&self) -> Framing {
        match (self.odd, self.encoding, self.length) {
            (true, _, _) => Framing::Unseen,
            (false, false, _) => Framing::Plain,
            (false, true, false) => Framing::Encoded,
            (false, true, true) => Framing::Both,
        }
    }

    /// Holds the beginning of a line whose end has not come.
    fn keep(&mut self, bytes: &[u8]) {
        for (slot, byte) in self.line.iter_mut().skip(self.held).zip(bytes) {
            *slot = *byte;
            self.held += 1;
        }
    }

    /// Looks at one line (or its beginning); true if it is blank. Blank lines before the request line do not count.
    fn judge(&mut self, line: &[u8]) -> bool {
        let Some(first) = line.first().filter(|_| line != b"\r") else { return true };
        if self.lines == 0 {
            // A header's name is followed by a colon, a method by a space: so no header can pass for a request line.
            self.odd = line.iter().find(|byte| matches!(byte, b' ' | b':')) != Some(&b' ');
        } else if matches!(first, b't' | b'T') {
            self.encoding |= named(line, b"transfer-encoding:");
        } else if matches!(first, b'c' | b'C') {
            self.length |= named(line, b"content-length:");
        }
        self.lines = self.lines.saturating_add(1);
        false
    }
}

fn named(line: &[u8], name: &[u8]) -> bool {
    line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: [(&str, Framing); 9] = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Plain),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", Framing::Plain),
        ("\r\n\r\nPOST / HTTP/1.1\r\nTRANSFER-encoding: chunked\r\n\r\n0\r\n\r\n", Framing::Encoded),
        ("POST / HTTP/1.1\nTransfer-Encoding: chunked\nContent-Length: 3\n\n", Framing::Both),
        (
            "POST / HTTP/1.1\r\ncontent-length: 3\r\nhost: a\r\ntransfer-encoding:chunked\r\n\r\n",
            Framing::Both,
        ),
        ("POST / HTTP/1.1\r\nX: transfer-encoding: chunked\r\nContent-Length: 3\r\n\r\n", Framing::Plain),
        ("POST / HTTP/1.1\r\nContent-Length: 30\r\n\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::Plain),
        ("Host: a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::Unseen),
        ("POST / HTTP/1.1\r\nTransfer-Encodings: chunked\r\nContent-Length-: 3\r\n\r\n", Framing::Plain),
    ];

    #[test]
    fn says_what_the_head_says() {
        for (head, verdict) in CASES {
            assert_eq!(Sniff::default().feed(head.as_bytes()), Some(verdict), "{head:?}");
        }
        assert_eq!(Sniff::default().feed(b"GET / HTTP/1.1\r\nHost: a\r\n"), None);
    }

    #[test]
    fn any_split_says_the_same() {
        for (head, verdict) in CASES {
            for cut in 0..head.len() {
                let mut sniff = Sniff::default();
                let (one, two) = head.as_bytes().split_at(cut);
                assert_eq!(sniff.feed(one).or_else(|| sniff.feed(two)), Some(verdict), "{head:?} at {cut}");
            }
            let mut sniff = Sniff::default();
            let single = head.as_bytes().chunks(1).find_map(|byte| sniff.feed(byte));
            assert_eq!(single, Some(verdict), "{head:?} byte by byte");
        }
    }
}
