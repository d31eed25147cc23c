//! Answers of backends, read without I/O: bytes in, a head and pieces of body out.
//!
//! Law: the only file that knows HTTP/1.1 framing of responses. It is stricter than hyper's client and never more
//! lenient: where two readers could disagree on where an answer ends, the answer is refused.
//! Nothing is copied or allocated per piece; a piece is cut out of the read buffer.

use bytes::{Buf, BytesMut};

use crate::bounds;

/// The longest line that announces a chunk: 16 digits and a few extensions, which nobody sends.
const CHUNK_LINE_BYTES: usize = 256;

/// The largest trailer section after a chunked body.
const TRAILER_BYTES: usize = 8 * 1024;

/// Why bytes from a backend are not an answer we accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Not HTTP/1.x, or HTTP/1.x that is ambiguous; says what is wrong.
    Malformed(&'static str),
    /// The head has more bytes or more lines than we hold.
    HeadTooLarge,
    /// The backend wants to change the protocol (101).
    Upgrade,
    /// The connection ended before the body did.
    Truncated,
}

/// Where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// With the connection.
    Close,
}

/// What we read of an answer's head; every other header line is dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// 200 to 999; 1xx never gets here.
    pub status: u16,
    /// Where the body ends.
    pub framing: Framing,
    /// The connection may serve another request once the body has ended and nothing follows it.
    pub keep_alive: bool,
    /// As sent, with parameters.
    pub content_type: Option<Box<str>>,
    /// As sent: seconds or a date.
    pub retry_after: Option<Box<str>>,
    /// The body has a content-encoding other than identity.
    pub encoded: bool,
}

impl Head {
    /// Whether the body is server-sent events.
    #[must_use]
    pub fn is_event_stream(&self) -> bool {
        self.media_type().eq_ignore_ascii_case("text/event-stream")
    }

    /// Whether the body is JSON, by `application/json` or a `+json` suffix.
    #[must_use]
    pub fn is_json(&self) -> bool {
        let media = self.media_type().as_bytes();
        let suffix = media.len().checked_sub("+json".len()).and_then(|at| media.get(at..));
        media.eq_ignore_ascii_case(b"application/json")
            || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(b"+json"))
    }

    /// Whether the body is sound, plain text, subtitles or bytes: nothing that a browser would run.
    #[must_use]
    pub fn is_media(&self) -> bool {
        let media = self.media_type().to_ascii_lowercase();
        let others = ["text/plain", "text/vtt", "application/x-subrip", "application/octet-stream"];
        media.starts_with("audio/") || others.contains(&&*media)
    }

    fn media_type(&self) -> &str {
        let whole = self.content_type.as_deref().unwrap_or("");
        whole.split(';').next().unwrap_or("").trim()
    }
}

/// Reads the head of an answer from the front of `buf`.
///
/// Returns the head and how many bytes to drop from the front once a final head is complete, `None` while more bytes
/// are needed. Interim answers (1xx) are skipped and counted in; all heads together obey `UPSTREAM_HEAD_BYTES`.
///
/// # Errors
/// Any `Fault` but `Truncated`.
pub fn head(buf: &[u8]) -> Result<Option<(Head, usize)>, Fault> {
    let window = buf.get(..bounds::UPSTREAM_HEAD_BYTES).unwrap_or(buf);
    let mut start = 0;
    while let Some(rest) = window.get(start..) {
        let mut lines = [httparse::EMPTY_HEADER; bounds::UPSTREAM_HEADERS];
        let mut response = httparse::Response::new(&mut lines);
        match response.parse(rest).map_err(fault)? {
            httparse::Status::Partial if window.len() == bounds::UPSTREAM_HEAD_BYTES => {
                return Err(Fault::HeadTooLarge);
            }
            httparse::Status::Partial => return Ok(None),
            httparse::Status::Complete(length) => start += length,
        }
        match response.code {
            Some(101) => return Err(Fault::Upgrade),
            Some(100..=199) => {}
            Some(status @ 200..) => {
                let modern = response.version == Some(1);
                return Ok(Some((read(status, modern, response.headers)?, start)));
            }
            _ => return Err(Fault::Malformed("status below 100")),
        }
    }
    Ok(None)
}

fn fault(error: httparse::Error) -> Fault {
    match error {
        httparse::Error::TooManyHeaders => Fault::HeadTooLarge,
        httparse::Error::Version => Fault::Malformed("version"),
        httparse::Error::Status => Fault::Malformed("status line"),
        _ => Fault::Malformed("header line"),
    }
}

/// What the lines of one head said about framing and connection, before they are weighed against each other.
#[derive(Default)]
struct Said {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl Said {
    fn content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        let length = decimal(value).ok_or(Fault::Malformed("content-length"))?;
        if self.length.is_some_and(|before| before != length) {
            return Err(Fault::Malformed("content-length differs"));
        }
        self.length = Some(length);
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            return Err(Fault::Malformed("transfer-encoding"));
        }
        self.chunked = true;
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// RFC 9112 section 6.3, but refusing what it merely advises against.
    fn framing(&self, status: u16, modern: bool) -> Result<Framing, Fault> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Fault::Malformed("transfer-encoding and content-length")),
            (true, None) if !modern => Err(Fault::Malformed("transfer-encoding in HTTP/1.0")),
            _ if status == 204 || status == 304 => Ok(Framing::Length(0)),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::Close),
        }
    }
}

fn read(status: u16, modern: bool, lines: &[httparse::Header<'_>]) -> Result<Head, Fault> {
    let mut said = Said::default();
    let (mut content_type, mut retry_after, mut encoded) = (None, None, false);
    for line in lines {
        if line.name.eq_ignore_ascii_case("content-length") {
            said.content_length(line.value)?;
        } else if line.name.eq_ignore_ascii_case("transfer-encoding") {
            said.transfer_encoding(line.value)?;
        } else if line.name.eq_ignore_ascii_case("connection") {
            said.connection(line.value);
        } else if line.name.eq_ignore_ascii_case("content-type") {
            content_type = content_type.or_else(|| text(line.value));
        } else if line.name.eq_ignore_ascii_case("retry-after") {
            retry_after = retry_after.or_else(|| text(line.value));
        } else if line.name.eq_ignore_ascii_case("content-encoding") {
            let value = line.value.trim_ascii();
            encoded |= !value.is_empty() && !value.eq_ignore_ascii_case(b"identity");
        }
    }
    let framing = said.framing(status, modern)?;
    // A 204 or 304 that announces a body may send one all the same: such a connection is not used again.
    let bodiless = framing == Framing::Length(0);
    let announced = said.chunked || said.length.is_some_and(|length| length > 0);
    let keep_alive =
        !said.close && (modern || said.keep_alive) && framing != Framing::Close && !(bodiless && announced);
    Ok(Head { status, framing, keep_alive, content_type, retry_after, encoded })
}

fn text(value: &[u8]) -> Option<Box<str>> {
    std::str::from_utf8(value).ok().map(|value| value.trim().into())
}

/// Digits only, up to `i64::MAX`: no sign, no list, no blank.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length: u64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    i64::try_from(length).is_ok().then_some(length)
}

/// One step through a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The next bytes of the body; never empty.
    Data(BytesMut),
    /// The buffer holds no more of the body: read the socket and come again.
    More,
    /// The body has ended; what is left in the buffer is not ours.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes of a body with a length are to come; never 0.
    Length(u64),
    /// A line with a chunk's size comes next.
    Size,
    /// So many bytes of this chunk are to come; never 0.
    Chunk(u64),
    /// The line end after a chunk comes next.
    ChunkEnd,
    /// The last chunk is over; trailers or the final line end come next.
    Trailers,
    /// Everything is body until the connection ends.
    Close,
    /// The body has ended.
    Ended,
}

/// Where a body's reader stands.
#[derive(Debug)]
pub struct Body(State);

impl Body {
    /// A reader at the start of a body.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Length(0) => State::Ended,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size,
            Framing::Close => State::Close,
        })
    }

    /// Takes the next piece of the body from the front of `buf` without copying it.
    ///
    /// A chunk that is only partly there yields that part. After `End` what is left in `buf` is not ours, and the
    /// connection cannot be used again if anything is left.
    ///
    /// # Errors
    /// `Fault::Malformed` if the chunks are not well-formed.
    pub fn next(&mut self, buf: &mut BytesMut) -> Result<Step, Fault> {
        loop {
            self.0 = match self.0 {
                State::Ended => return Ok(Step::End),
                _ if buf.is_empty() => return Ok(Step::More),
                State::Length(left) => {
                    let (data, left) = cut(buf, left);
                    self.0 = if left == 0 { State::Ended } else { State::Length(left) };
                    return Ok(Step::Data(data));
                }
                State::Chunk(left) => {
                    let (data, left) = cut(buf, left);
                    self.0 = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    return Ok(Step::Data(data));
                }
                State::Close => return Ok(Step::Data(buf.split())),
                State::Size => match chunk_size(buf)? {
                    None => return Ok(Step::More),
                    Some(0) => State::Trailers,
                    Some(size) => State::Chunk(size),
                },
                State::ChunkEnd => match line_end(buf)? {
                    false => return Ok(Step::More),
                    true => State::Size,
                },
                State::Trailers => match trailers(buf)? {
                    false => return Ok(Step::More),
                    true => State::Ended,
                },
            };
        }
    }

    /// The connection ended: right for a body that ends with it, and after the end.
    ///
    /// # Errors
    /// `Fault::Truncated` if the body had not ended.
    pub fn eof(&mut self) -> Result<(), Fault> {
        match self.0 {
            State::Close | State::Ended => {
                self.0 = State::Ended;
                Ok(())
            }
            _ => Err(Fault::Truncated),
        }
    }

    /// Whether the whole body has been taken.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.0 == State::Ended
    }
}

/// Cuts up to `left` bytes off the front; also how many are then still to come.
fn cut(buf: &mut BytesMut, left: u64) -> (BytesMut, u64) {
    let length = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
    (buf.split_to(length), left.saturating_sub(length as u64))
}

/// Takes the line that announces a chunk; `None` while it is not whole.
fn chunk_size(buf: &mut BytesMut) -> Result<Option<u64>, Fault> {
    let window = buf.get(..CHUNK_LINE_BYTES).unwrap_or(buf);
    let Some(end) = memchr::memchr(b'\n', window) else {
        return match window.len() == CHUNK_LINE_BYTES {
            true => Err(Fault::Malformed("chunk line too long")),
            false => Ok(None),
        };
    };
    let line = window.get(..end).unwrap_or(window);
    let line = line.strip_suffix(b"\r").ok_or(Fault::Malformed("chunk line ends without CR"))?;
    let size = size(line)?;
    buf.advance(end + 1);
    Ok(Some(size))
}

/// Reads `5`, `5 ` or `5;name=value`; extensions are skipped unread.
fn size(line: &[u8]) -> Result<u64, Fault> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits == 0 || digits > 16 {
        return Err(Fault::Malformed("chunk size"));
    }
    let mut value = 0_u64;
    for &byte in line.iter().take(digits) {
        let digit = char::from(byte).to_digit(16).unwrap_or(0);
        value = value << 4 | u64::from(digit);
    }
    let rest = line.get(digits..).unwrap_or_default();
    let blanks = rest.iter().take_while(|&&byte| byte == b' ' || byte == b'\t').count();
    match rest.get(blanks..) {
        Some([]) => Ok(value),
        Some([b';', extension @ ..]) if !extension.contains(&b'\r') => Ok(value),
        _ => Err(Fault::Malformed("chunk extension")),
    }
}

/// Takes the line end after a chunk; false while it is not whole.
fn line_end(buf: &mut BytesMut) -> Result<bool, Fault> {
    match buf.as_ref() {
        [b'\r', b'\n', ..] => buf.advance(2),
        [] | [b'\r'] => return Ok(false),
        _ => return Err(Fault::Malformed("chunk longer than its size")),
    }
    Ok(true)
}

/// Takes and drops the trailers and the final line end; false while they are not whole.
fn trailers(buf: &mut BytesMut) -> Result<bool, Fault> {
    if buf.starts_with(b"\r\n") {
        buf.advance(2);
        return Ok(true);
    }
    let window = buf.get(..TRAILER_BYTES).unwrap_or(buf);
    let mut lines = [httparse::EMPTY_HEADER; bounds::UPSTREAM_HEADERS];
    match httparse::parse_headers(window, &mut lines) {
        Ok(httparse::Status::Complete((length, _))) => {
            if bare_line_feed(window.get(..length).unwrap_or(window)) {
                return Err(Fault::Malformed("trailer line ends without CR"));
            }
            buf.advance(length);
            Ok(true)
        }
        Ok(httparse::Status::Partial) if window.len() < TRAILER_BYTES => Ok(false),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            Err(Fault::Malformed("trailers too large"))
        }
        Err(_) => Err(Fault::Malformed("trailer line")),
    }
}

fn bare_line_feed(lines: &[u8]) -> bool {
    let mut before = 0;
    lines.iter().any(|&byte| {
        let bare = byte == b'\n' && before != b'\r';
        before = byte;
        bare
    })
}
