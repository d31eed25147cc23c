//! Heads and bodies of backends: tables of what is accepted and refused, any split equal to the whole, recorded bytes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods, reason = "the recorded answers are files")]
mod reading;

use std::path::{Path, PathBuf};

use bytes::BytesMut;
use levada_core::bounds;
use levada_core::http1::{Body, Fault, Framing, Head, Step, head};
use proptest::prelude::*;
use reading::{Read, read};

fn whole(bytes: &[u8]) -> Read {
    read([bytes])
}

fn dripped(bytes: &[u8]) -> Read {
    read(bytes.chunks(1))
}

/// The head of an answer with these lines, or why there is none.
fn lines(lines: &str) -> Result<Head, Fault> {
    let text = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
    head(text.as_bytes()).map(|found| found.unwrap().0)
}

/// What a chunked body says, or why it does not.
fn chunked(body: &[u8]) -> Result<String, Fault> {
    let bytes = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", body].concat();
    let read = whole(&bytes);
    assert_eq!(read, dripped_to_the_end(&bytes, &read), "{}", body.escape_ascii());
    let text = String::from_utf8(read.body).unwrap();
    read.fault.map_or(Ok(text), Err)
}

/// Dripped; what a fault left unread is not compared.
fn dripped_to_the_end(bytes: &[u8], whole: &Read) -> Read {
    let dripped = dripped(bytes);
    let left = if whole.fault.is_some() { whole.left } else { dripped.left };
    Read { left, ..dripped }
}

#[test]
fn a_head_is_read() {
    let text = b"HTTP/1.1 429 Slow Down\r\ncontent-TYPE: text/html; charset=x\r\nRetry-After: 7 \r\n\
        Content-Length: 5\r\nContent-Encoding: gzip\r\nX: y\r\n\r\nhello";
    let (head, length) = head(text).unwrap().unwrap();
    assert_eq!(length, text.len() - 5);
    let expected = Head {
        status: 429,
        framing: Framing::Length(5),
        keep_alive: true,
        content_type: Some("text/html; charset=x".into()),
        retry_after: Some("7".into()),
        encoded: true,
    };
    assert_eq!(head, expected);
}

#[test]
fn framing_and_refusals() {
    let rows = [
        ("", Ok(Framing::Close)),
        ("Content-Length: 0\r\n", Ok(Framing::Length(0))),
        ("Content-Length: 007\r\n", Ok(Framing::Length(7))),
        ("Content-Length: 5\r\ncontent-length: 5\r\n", Ok(Framing::Length(5))),
        ("Content-Length: 9223372036854775807\r\n", Ok(Framing::Length(i64::MAX as u64))),
        ("Transfer-Encoding: chunked\r\n", Ok(Framing::Chunked)),
        ("Transfer-Encoding:  CHUNKED \r\n", Ok(Framing::Chunked)),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", Err("content-length differs")),
        ("Content-Length: 5, 5\r\n", Err("content-length")),
        ("Content-Length:\r\n", Err("content-length")),
        ("Content-Length: -1\r\n", Err("content-length")),
        ("Content-Length: +1\r\n", Err("content-length")),
        ("Content-Length: 0x5\r\n", Err("content-length")),
        ("Content-Length: 5 5\r\n", Err("content-length")),
        ("Content-Length: 9223372036854775808\r\n", Err("content-length")),
        ("Content-Length: 99999999999999999999\r\n", Err("content-length")),
        ("Transfer-Encoding: gzip, chunked\r\n", Err("transfer-encoding")),
        ("Transfer-Encoding: chunked, identity\r\n", Err("transfer-encoding")),
        ("Transfer-Encoding: identity\r\n", Err("transfer-encoding")),
        ("Transfer-Encoding: \"chunked\"\r\n", Err("transfer-encoding")),
        ("Transfer-Encoding: chunked;x=1\r\n", Err("transfer-encoding")),
        ("Transfer-Encoding: \x0bchunked\r\n", Err("header line")),
        ("Transfer-Encoding:\r\n", Err("transfer-encoding")),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err("transfer-encoding")),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Err("transfer-encoding and content-length")),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Err("transfer-encoding and content-length")),
        ("Transfer-Encoding : chunked\r\n", Err("header line")),
        (" Transfer-Encoding: chunked\r\n", Err("header line")),
        ("X: a\r\n folded\r\n", Err("header line")),
        ("X: a\0b\r\n", Err("header line")),
        ("X: a\rb\r\n", Err("header line")),
        ("X\r\n", Err("header line")),
        (": y\r\n", Err("header line")),
        ("X y: z\r\n", Err("header line")),
    ];
    for (text, framing) in rows {
        assert_eq!(lines(text).map(|head| head.framing), framing.map_err(Fault::Malformed), "{text:?}");
    }
}

#[test]
fn status_lines() {
    let rows: [(&str, Result<u16, Fault>); 14] = [
        ("HTTP/1.1 200 OK", Ok(200)),
        ("HTTP/1.1 200", Ok(200)),
        ("HTTP/1.1 200 ", Ok(200)),
        ("HTTP/1.0 503 Nein, \u{fc}ber", Ok(503)),
        ("HTTP/1.1 999 x", Ok(999)),
        ("\r\nHTTP/1.1 200 OK", Ok(200)),
        ("HTTP/1.1 099 x", Err(Fault::Malformed("status below 100"))),
        ("HTTP/1.1 20 x", Err(Fault::Malformed("status line"))),
        ("HTTP/1.1 2000", Err(Fault::Malformed("status line"))),
        ("HTTP/2.0 200 OK", Err(Fault::Malformed("version"))),
        ("HTTP/1.2 200 OK", Err(Fault::Malformed("version"))),
        ("http/1.1 200 OK", Err(Fault::Malformed("version"))),
        ("GET / HTTP/1.1", Err(Fault::Malformed("version"))),
        ("HTTP/1.1 101 Switching Protocols", Err(Fault::Upgrade)),
    ];
    for (line, status) in rows {
        let text = format!("{line}\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(head(text.as_bytes()).map(|found| found.unwrap().0.status), status, "{line:?}");
    }
}

/// As hyper does, and unlike in chunk lines: a head's lines may end in a bare LF, as no second reader comes after us.
#[test]
fn a_bare_line_feed_ends_a_line_of_a_head() {
    let (head, length) = head(b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello").unwrap().unwrap();
    assert_eq!((head.framing, length), (Framing::Length(5), 35));
}

#[test]
fn interim_heads_are_skipped() {
    let text =
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\nContent-Length: 9\r\n\r\n\
        HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let read = whole(text);
    assert_eq!((read.body.as_slice(), read.fault), (b"ok".as_slice(), None));
    assert_eq!(read, dripped(text));
    assert_eq!(head(b"HTTP/1.1 100 Continue\r\n\r\n"), Ok(None));
    assert_eq!(head(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Go\r\n\r\n"), Err(Fault::Upgrade));
    let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(4000);
    assert_eq!(head(endless.as_bytes()), Err(Fault::HeadTooLarge));
}

#[test]
fn answers_without_a_body() {
    let rows = [
        ("204 No Content", "", true),
        ("204 No Content", "Content-Length: 0\r\n", true),
        ("204 No Content", "Content-Length: 5\r\n", false),
        ("204 No Content", "Transfer-Encoding: chunked\r\n", false),
        ("304 Not Modified", "", true),
        ("304 Not Modified", "Content-Length: 5\r\n", false),
    ];
    for (status, lines, keep_alive) in rows {
        let text = format!("HTTP/1.1 {status}\r\n{lines}\r\n");
        let (head, _) = head(text.as_bytes()).unwrap().unwrap();
        assert_eq!((head.framing, head.keep_alive), (Framing::Length(0), keep_alive), "{text:?}");
    }
}

#[test]
fn keep_alive() {
    let rows = [
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: Foo ,\tCLOSE\r\n", false),
        ("1.1", "Connection: foo\r\nConnection: close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ];
    for (version, lines, keep_alive) in rows {
        let text = format!("HTTP/{version} 200 OK\r\nContent-Length: 2\r\n{lines}\r\n");
        assert_eq!(head(text.as_bytes()).unwrap().unwrap().0.keep_alive, keep_alive, "{text:?}");
    }
    assert!(!lines("").unwrap().keep_alive, "a body that ends with the connection");
    let old = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(head(old), Err(Fault::Malformed("transfer-encoding in HTTP/1.0")));
}

#[test]
fn media_types_and_encodings() {
    let rows = [
        ("text/event-stream", true, false),
        ("Text/Event-Stream; charset=utf-8", true, false),
        ("text/event-streams", false, false),
        ("application/json", false, true),
        ("application/JSON ;charset=utf-8", false, true),
        ("application/problem+json", false, true),
        ("+json", false, true),
        ("json", false, false),
        ("text/html", false, false),
        ("", false, false),
    ];
    for (value, stream, json) in rows {
        let head = lines(&format!("Content-Type: {value}\r\n")).unwrap();
        assert_eq!((head.is_event_stream(), head.is_json()), (stream, json), "{value}");
    }
    let bare = lines("").unwrap();
    assert!(!bare.is_event_stream() && !bare.is_json() && !bare.encoded);
    for (value, encoded) in
        [("identity", false), ("", false), (" Identity ", false), ("br", true), ("gzip, br", true)]
    {
        assert_eq!(lines(&format!("Content-Encoding: {value}\r\n")).unwrap().encoded, encoded, "{value}");
    }
}

#[test]
fn a_head_has_bounds() {
    let filled = |count: usize| "X: y\r\n".repeat(count);
    assert!(lines(&filled(bounds::UPSTREAM_HEADERS)).is_ok());
    assert_eq!(lines(&filled(bounds::UPSTREAM_HEADERS + 1)), Err(Fault::HeadTooLarge));

    let fixed = "HTTP/1.1 200 OK\r\nX: \r\n\r\n".len();
    let sized = |size: usize| format!("X: {}\r\n", "y".repeat(size - fixed));
    assert!(lines(&sized(bounds::UPSTREAM_HEAD_BYTES)).is_ok());
    assert_eq!(lines(&sized(bounds::UPSTREAM_HEAD_BYTES + 1)), Err(Fault::HeadTooLarge));
    assert_eq!(head(&[b'\n'; bounds::UPSTREAM_HEAD_BYTES]), Err(Fault::HeadTooLarge));
}

#[test]
fn a_body_with_a_length() {
    let answer = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{body}");
    for (body, expected, fault, left) in [
        ("hello", "hello", None, 0),
        ("hell", "hell", Some(Fault::Truncated), 0),
        ("", "", Some(Fault::Truncated), 0),
        ("hello you", "hello", None, 4),
    ] {
        let read = whole(answer(body).as_bytes());
        assert_eq!((read.body.as_slice(), read.fault, read.left), (expected.as_bytes(), fault, left));
        assert_eq!(read, dripped(answer(body).as_bytes()));
    }
}

#[test]
fn a_body_that_ends_with_the_connection() {
    let read = whole(b"HTTP/1.1 200 OK\r\n\r\nall of it");
    assert_eq!((read.body.as_slice(), read.fault), (b"all of it".as_slice(), None));
    let mut body = Body::new(Framing::Close);
    assert!(!body.ended());
    assert_eq!(body.next(&mut BytesMut::new()), Ok(Step::More));
    assert_eq!(body.eof(), Ok(()));
    assert!(body.ended());
    assert_eq!(body.next(&mut BytesMut::from("late")), Ok(Step::End));
}

#[test]
fn chunks() {
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(300));
    let trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(bounds::UPSTREAM_HEADERS + 1));
    let trailer = format!("0\r\nX: {}\r\n\r\n", "y".repeat(9000));
    let rows: Vec<(&str, Result<&str, Fault>)> = vec![
        ("0\r\n\r\n", Ok("")),
        ("5\r\nhello\r\n0\r\n\r\n", Ok("hello")),
        ("5\r\nhello\r\n4\r\n you\r\n0\r\n\r\n", Ok("hello you")),
        ("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", Ok("01234567890123456789")),
        ("0000000000000005\r\nhello\r\n000\r\n\r\n", Ok("hello")),
        ("5;name=value;x\r\nhello\r\n0;end\r\n\r\n", Ok("hello")),
        ("5 \t;x\r\nhello\r\n0 \r\n\r\n", Ok("hello")),
        ("1\r\n\n\r\n0\r\n\r\n", Ok("\n")),
        ("5\r\nhello\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n", Ok("hello")),
        ("0\r\n\r\nHTTP/1.1 200 OK\r\n", Ok("")),
        ("5\r\nhello\r\n0\r\n", Err(Fault::Truncated)),
        ("5\r\nhello\r\n", Err(Fault::Truncated)),
        ("5\r\nhello", Err(Fault::Truncated)),
        ("5\r\nhel", Err(Fault::Truncated)),
        ("5", Err(Fault::Truncated)),
        ("", Err(Fault::Truncated)),
        ("00000000000000005\r\nhello\r\n", Err(Fault::Malformed("chunk size"))),
        ("\r\n", Err(Fault::Malformed("chunk size"))),
        ("x\r\n", Err(Fault::Malformed("chunk size"))),
        ("-5\r\nhello\r\n", Err(Fault::Malformed("chunk size"))),
        ("+5\r\nhello\r\n", Err(Fault::Malformed("chunk size"))),
        (" 5\r\nhello\r\n", Err(Fault::Malformed("chunk size"))),
        (";x\r\n", Err(Fault::Malformed("chunk size"))),
        ("0x5\r\nhello\r\n", Err(Fault::Malformed("chunk extension"))),
        ("5_0\r\nhello\r\n", Err(Fault::Malformed("chunk extension"))),
        ("5 5\r\nhello\r\n", Err(Fault::Malformed("chunk extension"))),
        ("5;a\rb\r\nhello\r\n", Err(Fault::Malformed("chunk extension"))),
        ("5\r\r\nhello\r\n", Err(Fault::Malformed("chunk extension"))),
        ("5\nhello\r\n0\r\n\r\n", Err(Fault::Malformed("chunk line ends without CR"))),
        ("5;x\nhello\r\n0\r\n\r\n", Err(Fault::Malformed("chunk line ends without CR"))),
        (&long, Err(Fault::Malformed("chunk line too long"))),
        ("5\r\nhello\n0\r\n\r\n", Err(Fault::Malformed("chunk longer than its size"))),
        ("5\r\nhello\rx0\r\n\r\n", Err(Fault::Malformed("chunk longer than its size"))),
        ("4\r\nhello\r\n0\r\n\r\n", Err(Fault::Malformed("chunk longer than its size"))),
        ("0\r\n\n", Err(Fault::Malformed("trailer line ends without CR"))),
        ("0\r\nX: y\n\r\n", Err(Fault::Malformed("trailer line ends without CR"))),
        ("0\r\nnone\r\n\r\n", Err(Fault::Malformed("trailer line"))),
        ("0\r\nX: y\r\n folded\r\n\r\n", Err(Fault::Malformed("trailer line"))),
        (&trailers, Err(Fault::Malformed("trailers too large"))),
        (&trailer, Err(Fault::Malformed("trailers too large"))),
    ];
    for (body, expected) in rows {
        assert_eq!(chunked(body.as_bytes()), expected.map(str::to_owned), "{body:?}");
    }
}

#[test]
fn the_largest_chunk_streams() {
    let mut body = Body::new(Framing::Chunked);
    let mut buf = BytesMut::from("ffffffffffffffff\r\nabc");
    assert_eq!(body.next(&mut buf), Ok(Step::Data(BytesMut::from("abc"))));
    assert_eq!(body.next(&mut buf), Ok(Step::More));
    buf.extend_from_slice(b"def");
    assert_eq!(body.next(&mut buf), Ok(Step::Data(BytesMut::from("def"))));
    assert_eq!(body.eof(), Err(Fault::Truncated));
}

#[test]
fn pieces_are_cut_out_of_the_read_buffer() {
    let mut body = Body::new(Framing::Chunked);
    let mut buf = BytesMut::from("5\r\nhello\r\n5\r\nagain\r\n0\r\n\r\n");
    let start = buf.as_ptr() as usize;
    let Ok(Step::Data(first)) = body.next(&mut buf) else { panic!("no data") };
    let Ok(Step::Data(second)) = body.next(&mut buf) else { panic!("no data") };
    assert_eq!((first.as_ptr() as usize - start, second.as_ptr() as usize - start), (3, 13));
}

/// Every recorded answer of a real backend: whole, and split at any byte, it reads the same, and ends as it was recorded.
#[test]
fn recorded_answers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/transcripts");
    let (mut answers, mut streams, mut cut) = (0, 0, 0);
    for path in files(&folder) {
        let bytes = std::fs::read(&path).unwrap();
        let read = whole(&bytes);
        assert_eq!(read, dripped(&bytes), "{}", path.display());
        answers += 1;
        streams += usize::from(read.head.as_ref().is_some_and(Head::is_event_stream));
        match read.fault {
            None => assert_eq!(read.left, 0, "{}", path.display()),
            Some(fault) => {
                assert_eq!(fault, Fault::Truncated, "{}", path.display());
                cut += 1;
            }
        }
    }
    assert!(
        answers > 100 && streams > 30 && (1..=3).contains(&cut),
        "{answers} answers, {streams} streams, {cut} cut"
    );
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "http") {
            found.push(path);
        }
    }
    found
}

/// Chunks of a body with sizes, extensions and perhaps trailers, and the body itself.
fn chunked_body() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let chunk = (prop::collection::vec(any::<u8>(), 1..80), "(;[a-z=]{0,9})?", any::<bool>());
    (prop::collection::vec(chunk, 0..8), "([A-Z]{1,5}: [a-z]{0,9}\r\n){0,3}").prop_map(
        |(chunks, trailers)| {
            let (mut wire, mut body) = (Vec::new(), Vec::new());
            for (data, extension, upper) in chunks {
                let size = if upper { format!("{:X}", data.len()) } else { format!("{:04x}", data.len()) };
                wire.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
                wire.extend_from_slice(&data);
                wire.extend_from_slice(b"\r\n");
                body.extend_from_slice(&data);
            }
            wire.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
            (wire, body)
        },
    )
}

/// Bytes like those on the wire, often wrong.
fn nearly_http() -> impl Strategy<Value = Vec<u8>> {
    let parts = prop::sample::select(vec![
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 200 OK\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 204 No\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 50\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "X: y\r\n",
        "\r\n",
        "\n",
        "\r",
        "5\r\nhello\r\n",
        "5;x\r\nhello\r\n",
        "0\r\n\r\n",
        "0\r\n",
        "ff",
        "hello",
        ";",
        ":",
    ]);
    let anything = prop::collection::vec(any::<u8>(), 0..4);
    let start = prop::sample::select(vec![
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "",
    ]);
    (start, prop::collection::vec((parts, anything, 0..8_u8), 0..12)).prop_map(|(start, parts)| {
        let mut bytes = start.as_bytes().to_vec();
        for (part, noise, chance) in parts {
            bytes.extend_from_slice(part.as_bytes());
            if chance == 0 {
                bytes.extend_from_slice(&noise);
            }
        }
        bytes
    })
}

/// `bytes` cut at `places`, given as fractions of 256.
fn cuts<'a>(bytes: &'a [u8], places: &[u8]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = places.iter().map(|&place| bytes.len() * usize::from(place) / 256).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn a_chunked_body_is_what_was_sent(
        (wire, body) in chunked_body(),
        places in prop::collection::vec(any::<u8>(), 0..9),
        after in "[a-z]{0,3}",
    ) {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let bytes = [head.as_slice(), &wire, after.as_bytes()].concat();
        let read = read(cuts(&bytes, &places));
        prop_assert_eq!(&read.body, &body);
        prop_assert_eq!((read.fault, read.left), (None, after.len()));
    }

    #[test]
    fn any_split_equals_the_whole(bytes in nearly_http(), places in prop::collection::vec(any::<u8>(), 0..9)) {
        let all = whole(&bytes);
        let mut split = read(cuts(&bytes, &places));
        let mut dripped = dripped(&bytes);
        if all.fault.is_some() {
            (split.left, dripped.left) = (all.left, all.left);
        }
        prop_assert_eq!(&all, &split);
        prop_assert_eq!(&all, &dripped);
    }

    #[test]
    fn nothing_shorter_than_the_whole_is_taken_for_it((wire, _) in chunked_body(), place in any::<prop::sample::Index>()) {
        let wire = &wire[..place.index(wire.len())];
        let bytes = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", wire].concat();
        prop_assert_eq!(whole(&bytes).fault, Some(Fault::Truncated));
    }
}
