//! Sockets to the backends: dial, pool, write a request, read the head of its answer.
//!
//! Law: the task that writes to the client reads this socket; no task and no channel per connection. A connection goes
//! back to the pool only when its answer was read to the end and not a byte is left over.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use levada_core::{bounds, http1};
use rustls_pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::gather::Room;

/// Why an exchange with a backend failed.
#[derive(Debug)]
pub enum Fault {
    /// No connection.
    Connect(io::Error),
    /// The connection was closed or broke; `untouched` when not one byte of an answer had come.
    Closed {
        /// Whether nothing of an answer had come.
        untouched: bool,
    },
    /// The bytes are no answer.
    Invalid(http1::Fault),
}

/// Knows one address and keeps its idle connections.
#[derive(Debug)]
pub struct Dialer {
    host: Box<str>,
    port: u16,
    tls: Option<(TlsConnectorBox, ServerName<'static>)>,
    idle: Mutex<Vec<(Instant, Conn)>>,
}

/// A TLS connector that can be printed.
pub struct TlsConnectorBox(TlsConnector);

impl std::fmt::Debug for TlsConnectorBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsConnector")
    }
}

/// A connection with what was read from it and not yet used.
#[derive(Debug)]
pub struct Conn {
    stream: Stream,
    /// Bytes read and not yet used.
    pub buf: BytesMut,
    step: usize,
    small: bool,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Dialer {
    /// A dialer for `host:port`, over TLS when a configuration is given.
    ///
    /// # Errors
    /// The host is no name that a certificate could have.
    pub fn new(host: &str, port: u16, tls: Option<Arc<rustls::ClientConfig>>) -> Result<Self, String> {
        let tls = match tls {
            None => None,
            Some(config) => {
                let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
                    .map_err(|_| format!("'{host}' is not a host name"))?;
                Some((TlsConnectorBox(TlsConnector::from(config)), name))
            }
        };
        Ok(Self { host: host.trim_matches(['[', ']']).into(), port, tls, idle: Mutex::default() })
    }

    /// The TLS configuration of its connections, if they have one.
    #[must_use]
    pub fn tls(&self) -> Option<Arc<rustls::ClientConfig>> {
        self.tls.as_ref().map(|(TlsConnectorBox(connector), _)| Arc::clone(connector.config()))
    }

    /// An idle connection that is still open, the newest first.
    pub fn idle(&self) -> Option<Conn> {
        loop {
            let (since, conn) = self.lock().pop()?;
            if since.elapsed() < Duration::from_secs(bounds::POOL_IDLE_SECONDS) && conn.is_quiet() {
                return Some(conn);
            }
        }
    }

    /// A new connection, TLS included.
    ///
    /// # Errors
    /// The address cannot be reached, or its certificate is not accepted.
    pub async fn dial(&self) -> Result<Conn, Fault> {
        let stream = self.reach().await.map_err(Fault::Connect)?;
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some((TlsConnectorBox(connector), name)) => {
                Stream::Tls(Box::new(connector.connect(name.clone(), stream).await.map_err(Fault::Connect)?))
            }
        };
        Ok(Conn { stream, buf: BytesMut::new(), step: bounds::READ_BYTES, small: false })
    }

    /// A TCP connection to the first of the host's addresses that takes one.
    async fn reach(&self) -> io::Result<TcpStream> {
        let mut last = io::ErrorKind::AddrNotAvailable.into();
        for address in lookup_host((&*self.host, self.port)).await? {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_nodelay(true)?;
            match socket.connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Keeps a connection for the next call.
    pub fn keep(&self, mut conn: Conn) {
        conn.step = bounds::READ_BYTES;
        if conn.buf.capacity() > bounds::READ_BYTES {
            conn.buf = BytesMut::new();
        }
        let mut idle = self.lock();
        if idle.len() < bounds::POOL_IDLE {
            idle.push((Instant::now(), conn));
        }
    }

    /// Closes the connections that have been idle too long.
    pub fn sweep(&self) {
        let mut idle = self.lock();
        let limit = Duration::from_secs(bounds::POOL_IDLE_SECONDS);
        let old = idle.iter().take_while(|(since, _)| since.elapsed() >= limit).count();
        let closed: Vec<_> = idle.drain(..old).collect();
        drop(idle);
        drop(closed);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Instant, Conn)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Conn {
    /// Whether an idle connection is open and silent, as far as is known without waiting.
    fn is_quiet(&self) -> bool {
        let tcp = match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref().0,
        };
        let mut byte = [0; 1];
        matches!(tcp.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Writes a request and reads until the head of its answer is complete. An answer may come before the request is
    /// written; then the rest is not sent. True when everything was sent.
    ///
    /// # Errors
    /// The connection broke or the answer is not HTTP.
    pub async fn exchange(&mut self, mut head: &[u8], mut body: &[u8]) -> Result<(http1::Head, bool), Fault> {
        let mut broken = false;
        poll_fn(|cx| {
            while !broken && (!head.is_empty() || !body.is_empty()) {
                match self.stream.poll_write_two(cx, head, body) {
                    Poll::Ready(Ok(0) | Err(_)) => broken = true, // an answer may still be there to read
                    Poll::Ready(Ok(written)) => {
                        let from_head = written.min(head.len());
                        head = head.get(from_head..).unwrap_or_default();
                        body = body.get(written - from_head..).unwrap_or_default();
                    }
                    Poll::Pending => break,
                }
            }
            ready!(self.stream.poll_flush(cx)).ok();
            loop {
                let count = match self.poll_fill(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(result) => result.unwrap_or(0),
                };
                if count == 0 {
                    return Poll::Ready(Err(Fault::Closed { untouched: self.buf.is_empty() }));
                }
                match http1::head(&self.buf) {
                    Ok(None) => {}
                    Ok(Some((answer, used))) => {
                        self.buf.advance(used);
                        let sent = head.is_empty() && body.is_empty() && !broken;
                        return Poll::Ready(Ok((answer, sent)));
                    }
                    Err(fault) => return Poll::Ready(Err(Fault::Invalid(fault))),
                }
            }
        })
        .await
    }

    /// Keeps the kernel's receive buffer small: a stream whose client has stopped reading must not grow there instead.
    /// Whole answers keep the buffer that the kernel tunes; it brings them in fewer reads.
    pub fn carry_events(&mut self) {
        if std::mem::replace(&mut self.small, true) {
            return;
        }
        let tcp = match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref().0,
        };
        // A kernel that refuses leaves the buffer as it was.
        let _ = SockRef::from(tcp).set_recv_buffer_size(bounds::UPSTREAM_RECEIVE_BYTES);
    }

    /// Reads in large pieces from now on: a long body follows.
    pub fn carry_bulk(&mut self) {
        self.step = bounds::READ_BYTES_MAX;
    }

    /// Reads once into the buffer; ready with 0 when the backend has closed.
    ///
    /// # Errors
    /// The connection broke.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Small events share one buffer until it is nearly used up; a body that fills its reads gets whole buffers.
        let spare = self.buf.capacity() - self.buf.len();
        if spare < if self.step > bounds::READ_BYTES { self.step } else { self.step / 4 } {
            self.buf.reserve(self.step);
        }
        let count = ready!(read_some(Pin::new(&mut self.stream), cx, &mut self.buf))?;
        if self.buf.len() == self.buf.capacity() {
            // It filled the room: more is waiting, so the next read may be larger.
            self.step = (self.step * 2).min(if self.small {
                bounds::READ_EVENTS_MAX
            } else {
                bounds::READ_BYTES_MAX
            });
        }
        Poll::Ready(Ok(count))
    }
}

/// One read into the spare room of `buf`, which has some.
fn read_some(stream: Pin<&mut Stream>, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
    let mut reader = std::pin::pin!(tokio::io::AsyncReadExt::read_buf(stream.get_mut(), buf));
    reader.as_mut().poll(cx)
}

impl Stream {
    fn poll_write_two(&mut self, cx: &mut Context<'_>, head: &[u8], body: &[u8]) -> Poll<io::Result<usize>> {
        let (pieces, mut room) = ([IoSlice::new(head), IoSlice::new(body)], Room::new());
        match (self, room.gather(&pieces)) {
            (Self::Plain(tcp), Some(both)) => Pin::new(tcp).poll_write(cx, both),
            (Self::Plain(tcp), None) => Pin::new(tcp).poll_write_vectored(cx, &pieces),
            (Self::Tls(tls), Some(both)) => Pin::new(tls).poll_write(cx, both),
            (Self::Tls(tls), None) => Pin::new(tls).poll_write(cx, if head.is_empty() { body } else { head }),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}
