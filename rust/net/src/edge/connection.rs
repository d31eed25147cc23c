//! One client connection: find out what it speaks, serve it, end it when it is done, too slow, or drained.
//!
//! Law: hyper's switches are set here and nowhere else. `pipeline_flush` and `half_close` stay off: the first would take
//! back-pressure away, the second would hide that a client has left.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::{Entrance, Phase, door};
use crate::app::forward::Visitor;
use crate::edge::door::Door;
use crate::guard::{Guard, Line, Patience, Watch};

/// The most bytes hyper holds of one connection in each direction; the kernel's send buffer is bounded by the listener.
const BUFFER_BYTES: usize = 32 * 1024;

/// Room above the limit on heads, in which the refusal is ours and has a body; beyond it hyper answers 431 by itself.
const HEAD_MARGIN: usize = 16 * 1024;

/// Streams of one HTTP/2 connection, and its window and send buffer for each.
const STREAMS: u32 = 128;
const STREAM_BYTES: u32 = 64 * 1024;

/// Resets that a client may cause before the connection is ended.
const RESETS: usize = 64;

/// How often a silent HTTP/2 client is asked whether it lives, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// The time for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// How long a connection that has not asked anything yet is waited for when the drain begins: its request may be on the way.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// How often a connection is looked at that began like HTTP/2 and did not go on.
const PREFACE_REST: Duration = Duration::from_millis(5);

/// The beginning of an HTTP/2 connection; no HTTP/1 method of that name is served.
const PREFACE: &[u8; 4] = b"PRI ";

/// hyper's two servers with our settings.
#[derive(Clone)]
pub struct Protocols {
    one: http1::Builder,
    two: http2::Builder<TokioExecutor>,
    patience: Patience,
}

impl Protocols {
    /// Connections are as patient as `patience`, heads as long as `header_bytes`.
    pub fn new(patience: Patience, header_bytes: usize) -> Self {
        let head = header_bytes.saturating_add(HEAD_MARGIN);
        let mut one = http1::Builder::new();
        // The guard keeps the deadlines of heads and idle time: hyper's timer would cost an allocation per request.
        one.header_read_timeout(None).max_buf_size(BUFFER_BYTES.max(head)).max_header_size(head);
        let mut two = http2::Builder::new(TokioExecutor::new());
        two.timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(STREAM_BYTES)
            .initial_connection_window_size(STREAM_BYTES * 16)
            .max_send_buf_size(STREAM_BYTES as usize)
            .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(RESETS)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        Self { one, two, patience }
    }
}

/// One connection while it opens and while it is driven.
struct Opened<'a> {
    entrance: &'a Entrance,
    door: Arc<Door>,
    line: Arc<Line>,
    watch: Watch,
    phase: watch::Receiver<Phase>,
}

/// Serves one accepted socket to its end.
pub async fn serve(socket: TcpStream, entrance: &Entrance, peer: IpAddr, phase: watch::Receiver<Phase>) {
    // Without it a lone token would wait for the acknowledgement of the last one.
    let _ = socket.set_nodelay(true);
    let tls = if entrance.admin { None } else { entrance.house.gateway.server_tls() };
    let line = Line::new();
    let visitor = Visitor { peer, secure: tls.is_some(), admin: entrance.admin };
    let door = Arc::new(Door::new(Arc::clone(&entrance.house), Arc::clone(&line), visitor));
    let watch = Watch::new(Arc::clone(&line), entrance.protocols.patience);
    let mut opened = Opened { entrance, door, line, watch, phase };
    match tls {
        None => {
            let Ok(two) = opened.in_time(speaks_http2(&socket)).await else { return };
            opened.speak(socket, two).await;
        }
        Some(config) => {
            Box::pin(async move {
                let handshake = async {
                    timeout(HANDSHAKE, TlsAcceptor::from(config).accept(socket))
                        .await
                        .unwrap_or_else(|late| Err(late.into()))
                };
                let Ok(socket) = opened.in_time(handshake).await else { return };
                let two = socket.get_ref().1.alpn_protocol() == Some(b"h2");
                opened.speak(socket, two).await;
            })
            .await
        }
    }
}

impl Opened<'_> {
    /// The step's result, unless the client takes too long for it, or any time at all once the drain has begun.
    async fn in_time<T>(&mut self, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let (watch, phase) = (&mut self.watch, &mut self.phase);
        let drained = async {
            let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
            sleep(FIRST_REQUEST).await;
        };
        tokio::select! {
            biased;
            result = step => result,
            () = watch.expired() => Err(io::ErrorKind::TimedOut.into()),
            () = drained => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }

    /// Serves what the protocol's library makes of the socket. Boxed: both protocols and TLS would make room for
    /// each other in the state of every connection.
    async fn speak<S>(self, socket: S, two: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (door, line, protocols) =
            (Arc::clone(&self.door), Arc::clone(&self.line), &self.entrance.protocols);
        let service = service_fn(move |request| door::serve(Arc::clone(&door), request));
        if two {
            let connection =
                protocols.two.serve_connection(TokioIo::new(Guard::http2(socket, line)), service);
            self.drive(Box::pin(connection)).await;
        } else {
            let connection =
                protocols.one.serve_connection(TokioIo::new(Guard::http1(socket, line)), service);
            self.drive(Box::pin(connection)).await;
        }
    }

    async fn drive<C: GracefulConnection>(mut self, mut connection: Pin<Box<C>>) {
        loop {
            let phase = *self.phase.borrow_and_update();
            match phase {
                Phase::Serving => {}
                Phase::Draining => {
                    if self.line.is_fresh() && timeout(FIRST_REQUEST, connection.as_mut()).await.is_ok() {
                        return;
                    }
                    connection.as_mut().graceful_shutdown();
                }
                Phase::Cut => {
                    self.entrance.cut.fetch_add(self.line.open() as usize, Ordering::Relaxed);
                    return;
                }
            }
            tokio::select! {
                biased;
                // An error is the end like any other: the client broke off, or has been answered.
                _ = connection.as_mut() => return,
                () = self.watch.expired() => return,
                open = changed(&mut self.phase) => if !open { return },
            }
        }
    }
}

/// Waits until the phase is another one; false if there will be none. It is asked at each step of the connection, and to
/// ask for a place among those who are told takes a lock: that is done once.
async fn changed(phase: &mut watch::Receiver<Phase>) -> bool {
    let seen = phase.clone();
    let (mut change, mut waits) = (pin!(phase.changed()), false);
    let change =
        poll_fn(|cx| match std::mem::replace(&mut waits, true) && !seen.has_changed().unwrap_or(true) {
            true => Poll::Pending,
            false => change.as_mut().poll(cx),
        });
    change.await.is_ok()
}

/// Looks at the first bytes without taking them, so that HTTP/1 is read from the bare socket.
async fn speaks_http2(socket: &TcpStream) -> io::Result<bool> {
    let mut seen = [0; PREFACE.len()];
    loop {
        let count = socket.peek(&mut seen).await?;
        let begun = seen.get(..count).unwrap_or_default();
        if count == 0 || !PREFACE.starts_with(begun) {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        sleep(PREFACE_REST).await;
    }
}
