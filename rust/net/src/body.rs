//! The body of every answer that the edge gives.
//!
//! Law: one concrete type, no boxing. Whatever it carries, dropping it ends the request's turn: hyper drops it when the
//! answer is done and when the client leaves.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::app::Downward;
use crate::call::Call;
use crate::guard::Turn;

/// Where the bytes come from.
pub enum Source {
    /// The engine.
    Call(Call),
    /// The app.
    App(Downward),
    /// Here, in one piece.
    Whole(Bytes),
}

/// An answer's body.
pub struct Answer {
    source: Source,
    _turn: Turn,
}

impl Answer {
    /// The body of the request whose turn it is.
    #[must_use]
    pub fn new(source: Source, turn: Turn) -> Self {
        Self { source, _turn: turn }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.get_mut().source {
            Source::Call(call) => Poll::Ready(ready!(call.poll_next(cx)).map(|piece| match piece {
                Ok(bytes) => Ok(Frame::data(bytes)),
                Err(_) => Err(io::ErrorKind::ConnectionAborted.into()),
            })),
            Source::App(body) => Pin::new(body).poll_frame(cx),
            Source::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Call(call) => call.remaining() == Some(0),
            Source::App(body) => body.is_end_stream(),
            Source::Whole(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Call(call) => call.remaining().map_or_else(SizeHint::default, SizeHint::with_exact),
            Source::App(body) => body.size_hint(),
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}
