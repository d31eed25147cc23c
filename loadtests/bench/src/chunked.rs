//! Chunked transfer coding without I/O, read by both ends at any cut of the input.

/// Reads a chunked body piece by piece.
#[derive(Default)]
pub struct Decoder {
    state: State,
    left: u64,
    size_digits: u32,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeEnd,
    Data,
    DataEnd,
    Trailer,
    TrailerLine,
    End,
}

/// What [`Decoder::feed`] found wrong.
#[derive(Debug, PartialEq)]
pub struct Malformed;

impl Decoder {
    /// Whether the last chunk and the trailers have been read.
    pub fn ended(&self) -> bool {
        self.state == State::End
    }

    /// Takes from `input` up to the end of the body, hands the payload to `sink`, and returns how
    /// many bytes were taken.
    pub fn feed(&mut self, input: &[u8], mut sink: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < input.len() && self.state != State::End {
            if self.state == State::Data {
                let take = self.left.min((input.len() - at) as u64) as usize;
                sink(&input[at..at + take]);
                at += take;
                self.left -= take as u64;
                if self.left == 0 {
                    self.state = State::DataEnd;
                }
            } else {
                self.byte(input[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn byte(&mut self, c: u8) -> Result<(), Malformed> {
        self.state = match (self.state, c) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if self.size_digits < 15 => {
                self.size_digits += 1;
                self.left = self.left * 16 + u64::from((c as char).to_digit(16).unwrap_or(0));
                State::Size
            }
            (State::Size, b';' | b' ') if self.size_digits > 0 => State::Extension,
            (State::Size, b'\r') if self.size_digits > 0 => State::SizeEnd,
            (State::Extension, b'\r') => State::SizeEnd,
            (State::Extension, _) => State::Extension,
            (State::SizeEnd, b'\n') => {
                self.size_digits = 0;
                if self.left == 0 { State::Trailer } else { State::Data }
            }
            (State::DataEnd, b'\r') => State::DataEnd,
            (State::DataEnd, b'\n') => State::Size,
            (State::Trailer, b'\r') => State::Trailer,
            (State::Trailer, b'\n') => State::End,
            (State::Trailer | State::TrailerLine, c) if c != b'\n' => State::TrailerLine,
            (State::TrailerLine, _) => State::Trailer,
            _ => return Err(Malformed),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Decoder, Malformed};

    const BODY: &[u8] = b"5\r\nhello\r\n1;x=y\r\n,\r\n6\r\n world\r\n0\r\ntrailer: 1\r\n\r\nrest";

    #[test]
    fn any_cut_gives_the_same_body() {
        for step in 1..BODY.len() {
            let (mut decoder, mut out, mut taken) = (Decoder::default(), Vec::new(), 0);
            for piece in BODY.chunks(step) {
                taken += decoder.feed(piece, |p| out.extend_from_slice(p)).unwrap_or(usize::MAX);
            }
            assert!(decoder.ended());
            assert_eq!((out.as_slice(), taken), (&b"hello, world"[..], BODY.len() - 4), "{step}");
        }
    }

    #[test]
    fn a_bad_size_is_an_error() {
        for bad in [&b"x\r\n"[..], b"\r\n", b"1\n", b"2\r\nabc", b"1111111111111111\r\n"] {
            assert_eq!(Decoder::default().feed(bad, |_| ()), Err(Malformed), "{bad:?}");
        }
    }
}
