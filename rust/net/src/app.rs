//! The relay to the app: every request that is not the engine's goes over the private unix socket, and its answer comes back.
//!
//! Law: the only file that talks to the app. Bodies stream both ways, one piece at a time; nothing is retried that the app
//! may have seen.

pub mod cidr;
pub mod forward;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use levada_core::refusal::{Kind, Refusal};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};

use self::cidr::Cidr;
use self::forward::Visitor;
use crate::gateway::refusals::too_large;
use crate::guard::alarm::Alarm;
use crate::upload::{Clock, Pace};

/// The largest body relayed: what OpenAI takes as one file. The app has smaller limits of its own.
const BODY_BYTES: u64 = 512 * 1024 * 1024;

/// How long the app may take to begin its answer, the upload of the request included.
const ANSWER_PATIENCE: Duration = Duration::from_secs(600);

/// How long the app may be silent in the middle of an answer.
const SILENCE: Duration = Duration::from_secs(300);

/// Idle connections to the app; it closes its end after 10 s.
const IDLE_CONNECTIONS: usize = 32;
const IDLE_TIME: Duration = Duration::from_secs(5);

/// The app behind its socket.
pub struct App {
    client: Client<Socket, Upward>,
    token: HeaderValue,
    trusted: Vec<Cidr>,
    pace: Pace,
}

impl App {
    /// The app that listens on `path`; what comes through the admin listener bears `token`.
    #[must_use]
    pub fn new(path: PathBuf, token: HeaderValue, trusted: Vec<Cidr>, pace: Pace) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .set_host(false)
            .build(Socket(Arc::new(path)));
        Self { client, token, trusted, pace: Pace { total: ANSWER_PATIENCE, ..pace } }
    }

    /// Sends the request on and gives the app's answer, or says why there is none.
    pub async fn relay(
        &self,
        parts: Parts,
        body: Incoming,
        visitor: &Visitor,
    ) -> Result<Response<Downward>, Refusal> {
        let promised = body.size_hint().lower();
        if promised > BODY_BYTES {
            return Err(too_large(usize::try_from(BODY_BYTES).unwrap_or(usize::MAX), Some(promised)));
        }
        let request = self.request(parts, body, visitor)?;
        let answer = match timeout(ANSWER_PATIENCE, self.client.request(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(why(&error)),
            Err(_) => return Err(Refusal::of(Kind::UpstreamTimeout)),
        };
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Refusal::of(Kind::UpstreamError));
        }
        let mut answer = answer.map(|body| Downward { body, since: None, alarm: Alarm::default() });
        forward::from_app(answer.headers_mut());
        *answer.version_mut() = Version::HTTP_11;
        Ok(answer)
    }

    fn request(
        &self,
        mut parts: Parts,
        body: Incoming,
        visitor: &Visitor,
    ) -> Result<Request<Upward>, Refusal> {
        let host = crate::front::host_of(&parts);
        let trusted = self.trusted.iter().any(|range| range.contains(visitor.peer));
        forward::to_app(&mut parts.headers, visitor, host, trusted);
        if visitor.admin {
            parts.headers.insert("x-levada-door", self.token.clone());
        }
        let target = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let uri = Uri::builder().scheme("http").authority("app").path_and_query(target).build();
        parts.uri = uri.map_err(|_| Refusal::of(Kind::BadTarget))?;
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        let clock = Clock::new(self.pace);
        Ok(Request::from_parts(parts, Upward { body, left: BODY_BYTES, clock }))
    }
}

/// Why the app gave no answer: a fault of the client's body, or of the app.
fn why(error: &(dyn std::error::Error + 'static)) -> Refusal {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(Fault(refusal)) = error.downcast_ref() {
            return refusal.clone();
        }
        cause = error.source();
    }
    Refusal::of(Kind::Unavailable)
        .message("This part of the server is not available right now, please try again later")
}

/// A fault of the request's body, carried through the HTTP client.
#[derive(Debug)]
struct Fault(Refusal);

impl std::fmt::Display for Fault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "the request's body: {}", self.0.status())
    }
}

impl std::error::Error for Fault {}

/// A request's body on its way to the app: bounded, and not slower than allowed.
struct Upward {
    body: Incoming,
    left: u64,
    clock: Clock,
}

impl Body for Upward {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            return this.clock.poll_late(cx).map(|()| Some(Err(Fault(Refusal::of(Kind::RequestTimeout)))));
        };
        let fault = |kind| Poll::Ready(Some(Err(Fault(Refusal::of(kind)))));
        match frame {
            Some(Err(_)) => fault(Kind::BadFraming),
            Some(Ok(frame)) => {
                let size = frame.data_ref().map_or(0, Bytes::len);
                this.clock.count(size);
                match this.left.checked_sub(size as u64) {
                    None => fault(Kind::BodyTooLarge),
                    Some(left) => {
                        this.left = left;
                        Poll::Ready(Some(Ok(frame)))
                    }
                }
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The app's answer on its way to the client.
pub struct Downward {
    body: Incoming,
    since: Option<Instant>,
    alarm: Alarm,
}

impl Body for Downward {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.since = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)));
        }
        let since = *this.since.get_or_insert_with(Instant::now);
        this.alarm.poll(since + SILENCE, cx).map(|()| Some(Err(io::ErrorKind::TimedOut.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Connects to the app's socket, whatever the address says.
#[derive(Clone)]
struct Socket(Arc<PathBuf>);

impl tower_service::Service<Uri> for Socket {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<UnixStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = Arc::clone(&self.0);
        Box::pin(async move { UnixStream::connect(path.as_path()).await.map(TokioIo::new) })
    }
}
