//! The loop: one poll, then what is due, then one step of every stream that writes as fast as it can.

use crate::connection::Connection;
use crate::reply::Replies;
use crate::stream::Next;
use crate::timers::Timers;
use levada_bench::clock;
use mio::event::Event;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

const LISTENER: Token = Token(usize::MAX);
const MILLISECOND: Duration = Duration::from_millis(1);

/// A connection's place and serial number: stays meaningful after the connection has gone.
type Id = (usize, u64);

/// The mock: one listener and its connections.
pub struct Server {
    poll: Poll,
    listener: TcpListener,
    address: SocketAddr,
    connections: Slab<Connection>,
    accepted: u64,
    replies: Replies,
    timers: Timers<Id>,
    turns: Vec<Id>,
}

impl Server {
    /// Listens on `address`; port 0 is any free one.
    pub fn bind(address: SocketAddrV4) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(address.into())?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Server {
            poll,
            address: listener.local_addr()?,
            listener,
            connections: Slab::new(),
            accepted: 0,
            replies: Replies::default(),
            timers: Timers::new(clock::now()),
            turns: Vec::new(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the process is ended.
    pub fn serve(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(512);
        let mut due = Vec::new();
        loop {
            let wait = if !self.turns.is_empty() {
                Some(Duration::ZERO)
            } else {
                (!self.timers.is_empty()).then_some(MILLISECOND)
            };
            match self.poll.poll(&mut events, wait) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    token => self.ready(token.0, event),
                }
            }
            self.timers.expire(clock::now(), &mut due);
            due.append(&mut self.turns);
            for id in due.drain(..) {
                self.step(id);
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(e) => return Err(e),
            };
            socket.set_nodelay(true)?;
            let place = self.connections.vacant_entry();
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut socket, Token(place.key()), interest)?;
            self.accepted += 1;
            place.insert(Connection::new(socket, self.accepted));
        }
    }

    fn ready(&mut self, place: usize, event: &Event) {
        let Some(connection) = self.connections.get_mut(place) else { return };
        let id = (place, connection.serial);
        if event.is_writable() && connection.wants_room() {
            self.step(id);
        }
        if !event.is_readable() {
            return;
        }
        let Some(connection) = self.connections.get_mut(place) else { return };
        // A client that has closed its side is gone: nobody waits for the answer.
        if event.is_read_closed() || connection.read().is_err() {
            self.connections.remove(place);
            return;
        }
        self.respond(id);
    }

    fn respond(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id.0) else { return };
        match connection.respond(&mut self.replies) {
            Ok(None) => {}
            Ok(Some(next)) => self.schedule(id, next),
            Err(_) => drop(self.connections.remove(id.0)),
        }
    }

    fn step(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id.0).filter(|c| c.serial == id.1) else {
            return;
        };
        match connection.advance() {
            Ok(next) => self.schedule(id, next),
            Err(_) => drop(self.connections.remove(id.0)),
        }
    }

    fn schedule(&mut self, id: Id, next: Next) {
        match next {
            Next::Turn => self.turns.push(id),
            Next::At(due) => self.timers.arm(due, id),
            Next::Room => {}
            Next::End => self.respond(id),
        }
    }
}
