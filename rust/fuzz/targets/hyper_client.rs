//! hyper's own client over bytes in memory: the second opinion on what an answer says.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::rt::{Read, ReadBufCursor, Write};

/// A connection whose answer lies ready, to be read once a request has been written.
struct Wire {
    answer: Bytes,
    asked: bool,
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.asked {
            return Poll::Pending;
        }
        let length = into.remaining().min(self.answer.len());
        into.put_slice(&self.answer.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.asked |= !bytes.is_empty();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Status and whole body as hyper reads them; `None` if it refuses the answer or misses its end.
pub fn read(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let wire = Wire { answer: Bytes::copy_from_slice(answer), asked: false };
    let mut handshake = pin!(hyper::client::conn::http1::Builder::new().handshake(wire));
    let (mut sender, connection) = drive(&mut None::<std::future::Ready<()>>, &mut handshake)?.ok()?;
    let mut connection = Some(Box::pin(connection));
    let request = hyper::Request::get("/").header("host", "backend").body(Empty::<Bytes>::new()).ok()?;
    let mut answered = pin!(sender.send_request(request));
    let response = drive(&mut connection, &mut answered)?.ok()?;
    let status = response.status().as_u16();
    let mut collected = pin!(response.into_body().collect());
    let body = drive(&mut connection, &mut collected)?.ok()?;
    Some((status, body.to_bytes().to_vec()))
}

/// Polls the connection and `wanted` in turn. Nothing here ever waits for the outside, so a bounded number of turns is
/// enough; `None` if it was not.
fn drive<C, F>(connection: &mut Option<C>, wanted: &mut Pin<&mut F>) -> Option<F::Output>
where
    C: Future + Unpin,
    F: Future,
{
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..100_000 {
        if let Poll::Ready(output) = wanted.as_mut().poll(&mut context) {
            return Some(output);
        }
        if connection.as_mut().is_some_and(|running| Pin::new(running).poll(&mut context).is_ready()) {
            *connection = None;
        }
    }
    None
}
