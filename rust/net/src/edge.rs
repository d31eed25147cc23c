//! The edge: the public and the admin listeners, from accept to drain.
//!
//! Law: the only file that accepts a client and starts a task for it. A full house stops accepting: clients wait in the
//! kernel's queue, not in memory of ours.

mod connection;
mod door;
mod seats;
mod settings;

use std::future::Future;
use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use self::connection::Protocols;
use self::door::House;
use self::seats::Seats;
use self::settings::Settings;
use crate::gateway::Gateway;

/// How long accepting rests when the process has no descriptor left.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// How long connections have to notice that they are cut.
const CUT_TIME: Duration = Duration::from_secs(1);

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// No more connections, no more keep-alive.
    Draining,
    /// No more patience.
    Cut,
}

/// The listeners at work.
pub struct Edge {
    gateway: Arc<Gateway>,
    drain_notice: bool,
    phase: watch::Sender<Phase>,
    cut: Arc<AtomicUsize>,
}

/// What one kind of listener shares with its connections.
struct Entrance {
    house: Arc<House>,
    seats: Seats,
    connections: Gauge,
    protocols: Protocols,
    admin: bool,
    cut: Arc<AtomicUsize>,
}

impl Edge {
    /// Serves the given listening sockets by the edge document. To be called inside a tokio runtime with I/O and time.
    pub fn listen(
        gateway: Arc<Gateway>,
        document: &[u8],
        public: Vec<StdListener>,
        admin: Vec<StdListener>,
    ) -> Result<Self, Vec<String>> {
        let settings = Settings::read(document)?;
        let adopt =
            |listeners: Vec<StdListener>| listeners.into_iter().map(adopt).collect::<io::Result<Vec<_>>>();
        let wrong = |error: io::Error| vec![format!("edge: a listener cannot be used: {error}")];
        let (public, admin) = (adopt(public).map_err(wrong)?, adopt(admin).map_err(wrong)?);
        let drain_notice = settings.drain_notice;
        let (phase, _) = watch::channel(Phase::Serving);
        let cut = Arc::new(AtomicUsize::new(0));
        let protocols = Protocols::new(settings.patience, settings.header_bytes);
        let (most, most_per_ip) = (settings.connections, settings.connections_per_ip);
        let house = Arc::new(House::new(Arc::clone(&gateway), settings));
        for (listeners, admin) in [(public, false), (admin, true)] {
            let entrance = Arc::new(Entrance {
                house: Arc::clone(&house),
                seats: Seats::new(most, most_per_ip),
                connections: gateway.metrics().connections(if admin { "admin" } else { "public" }),
                protocols: protocols.clone(),
                admin,
                cut: Arc::clone(&cut),
            });
            for listener in listeners {
                spawn(accept(listener, Arc::clone(&entrance), phase.subscribe()));
            }
        }
        Ok(Self { gateway, drain_notice, phase, cut })
    }

    /// Stops accepting at once, closes what is idle, lets requests end for up to `grace`, then cuts the rest; gives their
    /// number.
    pub async fn drain(&self, grace: Duration) -> usize {
        if self.drain_notice {
            self.gateway.set_ready(false);
        }
        self.phase.send_replace(Phase::Draining);
        if timeout(grace, self.phase.closed()).await.is_err() {
            self.gateway.cut();
            self.phase.send_replace(Phase::Cut);
            // A connection that is closing has nothing more to say: the time only bounds the wait.
            let _ = timeout(CUT_TIME, self.phase.closed()).await;
        }
        self.cut.load(Ordering::Relaxed)
    }
}

fn adopt(listener: StdListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Accepts while there is a seat, until the drain begins; then the listener is closed here (its parent keeps it open).
async fn accept(listener: TcpListener, entrance: Arc<Entrance>, mut phase: watch::Receiver<Phase>) {
    loop {
        let next = async {
            let seat = entrance.seats.take().await;
            (seat, listener.accept().await)
        };
        let (seat, accepted) = tokio::select! {
            biased;
            _ = phase.changed() => return,
            next = next => next,
        };
        match (seat, accepted) {
            (Some(seat), Ok((socket, peer))) => {
                let Some(seat) = seat.of(peer.ip()) else { continue };
                spawn(welcome(socket, Arc::clone(&entrance), seat, phase.clone()));
            }
            (None, _) => return,
            (Some(_), Err(error)) if is_passing(&error) => {}
            (Some(_), Err(_)) => {
                entrance.house.gateway.metrics().accept_failures.inc();
                sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// Errors of the one connection that was to be accepted; all others are the machine's and want a rest.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn welcome(
    socket: TcpStream,
    entrance: Arc<Entrance>,
    seat: seats::Seat,
    phase: watch::Receiver<Phase>,
) {
    entrance.connections.inc();
    connection::serve(socket, &entrance, seat.address(), phase).await;
    entrance.connections.dec();
    drop(seat);
}

/// The one place where a task begins.
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}
