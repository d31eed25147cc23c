//! The loop: when each request starts, and when to stop.

use crate::connection::{Connection, Outcome};
use crate::options::Options;
use crate::tally::Tally;
use levada_bench::clock;
use mio::event::Event;
use mio::{Events, Poll, Token};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

const BUFFER: usize = 256 << 10;
/// A run that fails this often says nothing more by going on.
const FAILURE_LIMIT: u64 = 2_000;
const IDLE_WAIT_NS: u64 = 200_000_000;

/// One run.
pub struct Driver {
    options: Options,
    poll: Poll,
    connections: Vec<Connection>,
    tally: Tally,
    active: u64,
    begin: u64,
    end: u64,
    /// Closed loop: connections that have made their first request. Open loop: requests fallen due.
    launched: u64,
    free: Vec<usize>,
    overdue: VecDeque<u64>,
}

impl Driver {
    /// A run that has not begun.
    pub fn new(options: Options) -> io::Result<Self> {
        let begin = clock::now();
        let free = if options.rate.is_some() { (0..options.connections).rev().collect() } else { Vec::new() };
        Ok(Driver {
            poll: Poll::new()?,
            connections: (0..options.connections).map(|_| Connection::default()).collect(),
            tally: Tally::default(),
            active: 0,
            begin,
            end: begin + options.time.as_nanos() as u64,
            launched: 0,
            free,
            overdue: VecDeque::new(),
            options,
        })
    }

    /// Runs to the end and says what was seen.
    pub fn run(mut self) -> io::Result<Tally> {
        let mut events = Events::with_capacity(512);
        let mut buffer = vec![0; BUFFER];
        let last = self.end + self.options.grace.as_nanos() as u64;
        loop {
            let now = clock::now();
            let next = if self.options.rate.is_some() { self.fall_due(now) } else { self.launch(now) };
            let over = next.is_none() && self.active == 0 && self.overdue.is_empty();
            if over || now >= last || self.tally.failures() > FAILURE_LIMIT {
                break;
            }
            let wait = next.map_or(IDLE_WAIT_NS, |at| at.saturating_sub(now).min(IDLE_WAIT_NS));
            match self.poll.poll(&mut events, Some(Duration::from_nanos(wait))) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                self.ready(event, &mut buffer);
            }
        }
        self.tally.elapsed = clock::now() - self.begin;
        self.tally.unfinished = self.active;
        Ok(self.tally)
    }

    /// Closed loop: starts the connections whose time has come; says when the next one's comes.
    fn launch(&mut self, now: u64) -> Option<u64> {
        let all = self.options.connections as u64;
        while self.launched < all && self.may_start(now) {
            let due = self.begin + self.options.ramp.as_nanos() as u64 * self.launched / all;
            if due > now {
                return Some(due);
            }
            let place = self.launched as usize;
            self.launched += 1;
            self.start(place);
        }
        None
    }

    fn may_start(&self, now: u64) -> bool {
        let wanted = self.tally.started < self.options.requests && now < self.end;
        wanted && self.tally.failures() <= FAILURE_LIMIT
    }

    /// Open loop: starts what has fallen due, if a connection is free; says when the next one does.
    fn fall_due(&mut self, now: u64) -> Option<u64> {
        let rate = self.options.rate.unwrap_or(1.0);
        let due = |n: u64| self.begin + (n as f64 * 1e9 / rate) as u64;
        while self.launched < self.options.requests && due(self.launched) < self.end {
            let at = due(self.launched);
            if at > now {
                break;
            }
            self.launched += 1;
            self.overdue.push_back(at);
        }
        let next = due(self.launched);
        while let (Some(at), Some(place)) = (self.overdue.front(), self.free.last()) {
            let (at, place) = (*at, *place);
            self.overdue.pop_front();
            self.free.pop();
            self.tally.late.add(clock::now().saturating_sub(at));
            self.start(place);
        }
        (self.launched < self.options.requests && next < self.end).then_some(next)
    }

    fn start(&mut self, place: usize) {
        self.tally.started += 1;
        self.active += 1;
        self.send(place);
    }

    fn send(&mut self, place: usize) {
        let outcome = self.connections[place].start(
            self.options.target,
            self.poll.registry(),
            Token(place),
            &self.options.request,
            &mut self.tally,
        );
        self.settle(place, outcome);
    }

    fn ready(&mut self, event: &Event, buffer: &mut [u8]) {
        let place = event.token().0;
        if event.is_writable() {
            let outcome = self.connections[place].writable(&self.options.request);
            self.settle(place, outcome);
        }
        if event.is_readable() {
            let (connection, expected) = (&mut self.connections[place], &self.options.expected);
            let outcome = connection.readable(buffer, expected, &mut self.tally);
            self.settle(place, outcome);
        }
    }

    fn settle(&mut self, place: usize, outcome: Outcome) {
        let connection = &mut self.connections[place];
        let good = match outcome {
            Outcome::Pending => return,
            Outcome::Stale => {
                connection.close();
                return self.send(place);
            }
            Outcome::Failed(kind) => {
                self.tally.failed(kind, || connection.answer.describe());
                false
            }
            Outcome::Good => {
                self.tally.ok += 1;
                self.tally.latency.add(clock::now().saturating_sub(connection.started));
                if !self.options.expected.stream {
                    *self.tally.body_lengths.entry(connection.answer.received()).or_default() += 1;
                }
                true
            }
        };
        connection.rest();
        if !good || !connection.answer.keep || self.options.once {
            connection.close();
        }
        self.active -= 1;
        if self.options.rate.is_some() {
            self.free.push(place);
        } else if self.may_start(clock::now()) {
            self.start(place);
        }
    }
}
