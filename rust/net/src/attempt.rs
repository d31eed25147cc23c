//! One try at one backend: a connection, the request, the head of the answer.
//!
//! Law: it says whether another backend may be tried. It may as long as the client has not had a byte; what the
//! request itself is to blame for is never tried twice.

use std::sync::Arc;
use std::time::Duration;

use levada_core::breaker::Seen;
use levada_core::http1;
use levada_core::refusal::{Kind, Refusal};
use levada_core::snapshot::Deadlines;
use tokio::time::timeout;

use crate::client::{Conn, Fault};
use crate::load::Load;

/// A backend's answer: its head, and the connection its body comes from.
#[derive(Debug)]
pub struct Answer {
    /// The connection.
    pub conn: Conn,
    /// The head.
    pub head: http1::Head,
    /// Whether the whole request was sent before the answer came; if not, the connection is not used again.
    pub sent: bool,
}

/// Why an attempt brought no answer that can be passed on.
#[derive(Debug)]
pub struct Failure {
    /// What the client hears if nobody else can serve.
    pub refusal: Refusal,
    /// Whether another backend may be tried.
    pub again: bool,
    /// What it says about the backend.
    pub seen: Seen,
}

impl Failure {
    /// A failure of the backend, worth another try elsewhere.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        Self { refusal: Refusal::of(kind), again: true, seen: Seen::Failure }
    }
}

/// Sends a request and waits for the head of its answer.
///
/// # Errors
/// There was none in time, or none that is HTTP.
pub async fn send(
    load: &Arc<Load>,
    deadlines: &Deadlines,
    head: &[u8],
    body: &[u8],
) -> Result<Answer, Failure> {
    match timeout(deadlines.first_byte, exchange(load, deadlines.connect, head, body)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Fault::Connect(_))) => Err(Failure::of(Kind::Unavailable)),
        Ok(Err(Fault::Closed { .. } | Fault::Invalid(_))) => Err(Failure::of(Kind::UpstreamError)),
        Err(_) => Err(Failure::of(Kind::UpstreamTimeout)),
    }
}

async fn exchange(load: &Arc<Load>, connect: Duration, head: &[u8], body: &[u8]) -> Result<Answer, Fault> {
    if let Some(mut conn) = load.dialer.idle() {
        match conn.exchange(head, body).await {
            // It was closed while it lay idle and nothing has come back: the backend has not begun.
            Err(Fault::Closed { untouched: true }) => {}
            Err(fault) => return Err(fault),
            Ok((head, sent)) => return Ok(Answer { conn, head, sent }),
        }
    }
    // Boxed: dialling is rare, and every call would carry its room otherwise.
    let mut conn = match timeout(connect, Box::pin(load.dialer.dial())).await {
        Ok(conn) => conn?,
        Err(_) => return Err(Fault::Connect(std::io::ErrorKind::TimedOut.into())),
    };
    let (head, sent) = conn.exchange(head, body).await?;
    Ok(Answer { conn, head, sent })
}
