//! One answer of a backend read as `net` does it: fill a buffer, take what is there, come again.
//!
//! Law: shared by the tests and the fuzz target, so both see the same reader.

use bytes::BytesMut;
use levada_core::http1::{Body, Fault, Head, Step, head};

/// All that a reader of one answer sees, in order, however the bytes came.
#[derive(Debug, Default, PartialEq)]
pub struct Read {
    /// As far as one came.
    pub head: Option<Head>,
    /// All of the body that came.
    pub body: Vec<u8>,
    /// `None`: the answer was whole when the connection ended.
    pub fault: Option<Fault>,
    /// Bytes after the end, by which a connection is spoilt.
    pub left: usize,
}

/// Reads one answer from `pieces`, then the end of the connection.
pub fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut read = Read::default();
    let mut buf = BytesMut::new();
    let mut body = None;
    for piece in pieces {
        buf.extend_from_slice(piece);
        if body.is_none() {
            match head(&buf) {
                Ok(None) => continue,
                Ok(Some((head, length))) => {
                    drop(buf.split_to(length));
                    body = Some(Body::new(head.framing));
                    read.head = Some(head);
                }
                Err(fault) => return Read { fault: Some(fault), ..read },
            }
        }
        if let Some(Err(fault)) = body.as_mut().map(|body| take(body, &mut buf, &mut read.body)) {
            return Read { fault: Some(fault), ..read };
        }
    }
    let end = body.as_mut().map_or(Err(Fault::Truncated), Body::eof);
    Read { fault: end.err(), left: buf.len(), ..read }
}

fn take(body: &mut Body, buf: &mut BytesMut, out: &mut Vec<u8>) -> Result<(), Fault> {
    loop {
        match body.next(buf)? {
            Step::Data(data) => {
                assert!(!data.is_empty());
                out.extend_from_slice(&data);
            }
            Step::More => return Ok(()),
            Step::End => {
                assert!(body.ended());
                return Ok(());
            }
        }
    }
}
