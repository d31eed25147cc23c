//! Call: one client request from its open to its record.
//!
//! Law: a refused call is still a call; each door has one path and no error branch. Nothing is retried once the
//! client has had a byte. Dropping a call drops its backend's connection and settles it.

use std::iter;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use levada_core::breaker::Seen;
use levada_core::endpoint::Dialect;
use levada_core::record::End;
use levada_core::refusal::{Kind, Refusal};
use levada_core::{bounds, planted, route};
use tokio::time::Instant;

use crate::bring::{Brought, JSON, bring};
use crate::fan::{self, Fan};
use crate::head::{Field, Head, Sheet};
use crate::plan::Plan;
use crate::pump::{Events, Lost, Plain, Turn};
use crate::tally::Tally;
use crate::tokens::counting;
use crate::waiting::Waiting;

/// The answer broke off where nothing honest can be said in band: the client's connection must be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer broke off")
    }
}

impl std::error::Error for Cut {}

/// One client request.
#[derive(Debug)]
pub struct Call {
    tally: Box<Tally>,
    state: State,
    /// The last piece, while its record is on the way to the disk.
    held: Option<Piece>,
    /// What the client reads.
    dialect: Dialect,
    /// A stream that breaks ends without a word, by the end of its connection.
    severs: bool,
}

/// The next of an answer, or its end.
type Piece = Option<Result<Bytes, Cut>>;

#[derive(Debug)]
enum State {
    /// An answer of our own: status, content type, more headers, body.
    Own(Box<Own>),
    Waiting(Box<Waiting>),
    Planned(Box<Plan>),
    Whole(Bytes),
    Events(Box<Events>, Option<Turn>),
    Fan(Box<Fan>, Option<Turn>),
    Plain(Box<Plain>),
    /// All has been given that there was; once it has left, the connection must be cut.
    Severed {
        left: bool,
    },
    Ended,
}

#[derive(Debug)]
enum Own {
    Refusal(Refusal),
    Answer {
        status: u16,
        body: Bytes,
    },
    /// The answer to a browser that asks before it asks.
    Preflight(HeaderMap),
}

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");

impl Call {
    /// A call that is answered with a refusal.
    #[must_use]
    pub fn refused(tally: Box<Tally>, refusal: Refusal, dialect: Dialect) -> Self {
        Self::own(tally, Own::Refusal(refusal), dialect)
    }

    /// A call that is answered from what we know: 200 (or another status) and JSON.
    #[must_use]
    pub fn answered(tally: Box<Tally>, status: u16, body: Bytes) -> Self {
        Self::own(tally, Own::Answer { status, body }, Dialect::default())
    }

    /// A call that is answered with headers alone.
    #[must_use]
    pub fn preflight(tally: Box<Tally>, told: HeaderMap) -> Self {
        Self::own(tally, Own::Preflight(told), Dialect::default())
    }

    fn own(tally: Box<Tally>, own: Own, dialect: Dialect) -> Self {
        Self { tally, state: State::Own(Box::new(own)), held: None, dialect, severs: false }
    }

    /// A call that goes to a backend.
    #[must_use]
    pub fn planned(tally: Box<Tally>, plan: Box<Plan>) -> Self {
        let (dialect, severs) = (plan.endpoint.dialect(), plan.profile.severs);
        Self { tally, state: State::Planned(plan), held: None, dialect, severs }
    }

    /// A call that waits for what other hosts have of its limits.
    #[must_use]
    pub fn waiting(tally: Box<Tally>, waiting: Waiting) -> Self {
        let dialect = waiting.dialect();
        let state = State::Waiting(Box::new(waiting));
        Self { tally, state, held: None, dialect, severs: false }
    }

    /// How many calls are under way, with this one.
    #[must_use]
    pub fn under_way(&self) -> i64 {
        self.tally.books().metrics.in_flight.get()
    }

    /// Makes the answer begin: for a call to a backend, tries until the first byte.
    pub async fn start(&mut self) -> Head {
        if let State::Waiting(waiting) = &mut self.state {
            self.state = match waiting.admitted(&mut self.tally).await {
                Ok(plan) => {
                    (self.dialect, self.severs) = (plan.endpoint.dialect(), plan.profile.severs);
                    State::Planned(plan)
                }
                Err(refusal) => State::Own(Box::new(Own::Refusal(refusal))),
            };
        }
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Planned(plan) => match self.attempt_all(&plan).await {
                Ok(brought) => {
                    counting::begin(&mut self.tally, &plan, &brought).await;
                    let mut head = self.begin(brought);
                    if plan.loosened {
                        head.headers
                            .insert("x-levada-response-format", HeaderValue::from_static("json_object"));
                    }
                    head
                }
                Err(refusal) => self.refuse(refusal.styled(&plan.profile.errors)),
            },
            State::Own(own) => match *own {
                Own::Refusal(refusal) => self.refuse(refusal),
                Own::Answer { status, body } => {
                    let length = body.len() as u64;
                    self.state = State::Whole(body);
                    self.head(status, JSON, Some(length))
                }
                Own::Preflight(told) => {
                    self.state = State::Whole(Bytes::new());
                    let mut head = self.head(204, JSON, None);
                    head.headers.remove(header::CONTENT_TYPE);
                    head.headers.extend(told);
                    head
                }
            },
            // Started before: nothing more is to come.
            _ => self.head(500, JSON, Some(0)),
        }
    }

    /// The next piece of the answer; nothing at its end.
    ///
    /// # Errors
    /// The client's connection must be cut.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        let piece = match self.held.take() {
            Some(piece) => piece,
            None => std::task::ready!(self.poll_piece(cx)),
        };
        match self.tally.poll_durable(cx) {
            Poll::Ready(true) => Poll::Ready(piece),
            // What may be lost is not sold: the client does not have its end.
            Poll::Ready(false) => {
                self.state = State::Ended;
                Poll::Ready(Some(Err(Cut)))
            }
            Poll::Pending => {
                self.held = Some(piece);
                Poll::Pending
            }
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        match &mut self.state {
            State::Whole(body) => {
                let body = std::mem::take(body);
                self.end(End::Done);
                Poll::Ready((!body.is_empty()).then_some(Ok(body)))
            }
            State::Events(events, first) => {
                let turn = match first.take() {
                    Some(turn) => turn,
                    None => std::task::ready!(events.poll_turn(cx)),
                };
                self.tally.note(events.meter());
                if counting::poll(&mut self.tally, iter::once(events.words()), turn.is_last(), cx)
                    .is_pending()
                {
                    *first = Some(turn);
                    return Poll::Pending;
                }
                let sequence = events.count();
                match self.turn(turn, sequence) {
                    None if matches!(self.state, State::Severed { .. }) => self.poll_piece(cx),
                    piece => Poll::Ready(piece.map(Ok)),
                }
            }
            State::Fan(fan, first) => {
                let turn = match first.take() {
                    Some(turn) => turn,
                    None => std::task::ready!(fan.poll_turn(cx)),
                };
                self.tally.note(fan.meter());
                if counting::poll(&mut self.tally, fan.words(), turn.is_last(), cx).is_pending() {
                    *first = Some(turn);
                    return Poll::Pending;
                }
                match self.turn(turn, 0) {
                    None if matches!(self.state, State::Severed { .. }) => self.poll_piece(cx),
                    piece => Poll::Ready(piece.map(Ok)),
                }
            }
            State::Plain(plain) => {
                let result = std::task::ready!(plain.poll_next(cx));
                // The account is settled before the last bytes leave.
                if matches!(result, Ok(None)) || plain.left() == Some(0) {
                    if let Some(usage) = plain.usage() {
                        self.tally.meter.total(usage);
                    }
                    self.tally.settle(End::Done);
                }
                match result {
                    Ok(Some(piece)) => Poll::Ready(Some(Ok(piece))),
                    Ok(None) => {
                        self.state = State::Ended;
                        Poll::Ready(None)
                    }
                    Err(Lost::Broken | Lost::Late) => {
                        self.end(End::Broken);
                        Poll::Ready(Some(Err(Cut)))
                    }
                }
            }
            // A door that is told of a cut forgets what it has not written: it is given one turn to write.
            State::Severed { left: false } => {
                self.state = State::Severed { left: true };
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            State::Severed { left: true } => {
                self.state = State::Ended;
                Poll::Ready(Some(Err(Cut)))
            }
            State::Own(_) | State::Waiting(_) | State::Planned(_) | State::Ended => Poll::Ready(None),
        }
    }

    /// Bytes still to come, if that is known.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        if self.held.is_some() {
            return None;
        }
        match &self.state {
            State::Whole(body) => Some(body.len() as u64),
            State::Plain(plain) => plain.left(),
            State::Events(..)
            | State::Fan(..)
            | State::Own(_)
            | State::Waiting(_)
            | State::Planned(_)
            | State::Severed { .. } => None,
            State::Ended => Some(0),
        }
    }

    /// Ends the call now: the backend's connection is dropped.
    pub fn cancel(&mut self) {
        self.end(End::Cancelled);
    }

    fn end(&mut self, end: End) {
        self.leave();
        let refused = self.tally.status >= 400 && end == End::Done;
        self.tally.settle(if refused { End::Refused } else { end });
        self.state = State::Ended;
    }

    /// What a client has received that leaves now is counted behind its back.
    fn leave(&mut self) {
        match &mut self.state {
            State::Events(events, _) if self.tally.counting.is_some() => {
                self.tally.note(events.meter());
                counting::heard(&mut self.tally, iter::once(events.words()), true);
            }
            State::Fan(fan, _) if self.tally.counting.is_some() => {
                self.tally.note(fan.meter());
                counting::heard(&mut self.tally, fan.words(), true);
            }
            _ => {}
        }
    }

    fn turn(&mut self, turn: Turn, sequence: u64) -> Option<Bytes> {
        match turn {
            Turn::Events(events) => Some(events),
            Turn::Last(events) => {
                if planted::is("settled_on_drop") {
                    self.state = State::Ended;
                    return Some(events);
                }
                self.end(End::Done);
                (!events.is_empty()).then_some(events)
            }
            Turn::Broken(events, _) if self.severs => {
                self.end(End::Broken);
                self.state = State::Severed { left: false };
                (!events.is_empty()).then_some(events)
            }
            Turn::Broken(events, refusal) => {
                self.end(End::Broken);
                let mut out = BytesMut::from(&events[..]);
                out.extend_from_slice(&refusal.event(self.dialect, sequence));
                Some(out.freeze())
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> Head {
        self.tally.books().metrics.refused(refusal.status(), refusal.code());
        let body = refusal.body(self.dialect);
        let mut head = self.head(refusal.status(), JSON, Some(body.len() as u64));
        for (name, value) in refusal.headers() {
            if let Ok(value) = HeaderValue::from_str(&value) {
                head.headers.insert(name, value);
            }
        }
        self.state = State::Whole(body);
        head
    }

    fn begin(&mut self, brought: Brought) -> Head {
        match brought {
            Brought::Whole(body, kind) => {
                let head = self.head(200, kind, Some(body.len() as u64));
                self.state = State::Whole(body);
                head
            }
            Brought::Plain(plain, kind) => {
                let head = self.head(200, kind, plain.left());
                self.state = State::Plain(plain);
                head
            }
            Brought::Events(events, first) => {
                self.state = State::Events(events, Some(first));
                self.stream_head()
            }
            Brought::Fan(fan, first) => {
                self.state = State::Fan(fan, Some(first));
                self.stream_head()
            }
        }
    }

    fn stream_head(&mut self) -> Head {
        let mut head = self.head(200, EVENT_STREAM, None);
        head.headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        head
    }

    fn head(&mut self, status: u16, kind: HeaderValue, length: Option<u64>) -> Head {
        self.tally.status = status;
        let mut sheet = Sheet::default();
        if let Some(length) = length {
            sheet.count(Field::Length, length);
        }
        sheet.count(Field::ProcessingMs, self.tally.first_byte() / 1000);
        sheet.say(Field::RequestId, &self.tally.id);
        if let Some(standing) = &self.tally.standing {
            standing.tell(&mut sheet);
        }
        let mut head = sheet.head(status, kind);
        if let Some(grant) = &self.tally.grant {
            grant.tell(&mut head.headers);
        }
        head
    }

    /// Tries backends, each once, until one brings something for the client or no further try is allowed.
    async fn attempt_all(&mut self, plan: &Plan) -> Result<Brought, Refusal> {
        let books = Arc::clone(self.tally.books());
        let current = &plan.current;
        let rules = &current.snapshot.breaker;
        let Some(model) = current.snapshot.models.get(plan.model) else {
            return Err(Refusal::of(Kind::Internal));
        };
        if let Some(refusal) = fan::refusal(plan, &model.pool) {
            return Err(refusal);
        }
        let end = Instant::from_std(self.tally.began()) + current.snapshot.deadlines.total;
        let mut tried = [usize::MAX; bounds::ATTEMPTS];
        let mut refusal = Refusal::of(Kind::Unavailable);
        books.retries.called();
        for slot in 0..bounds::ATTEMPTS {
            let load = |index: usize, most: u64| {
                let member = model.pool.get(index)?;
                let out = tried.contains(&index) || fan::copies(plan, member.backend) > most;
                if out { None } else { current.loads.get(member.backend)?.weight(rules) }
            };
            // A backend that makes all choices at once goes before one that is asked for each.
            let pick = [1, bounds::FAN_OUT]
                .into_iter()
                .find_map(|most| route::pick(model.pool.len(), fastrand::u64(..), |index| load(index, most)));
            let Some(pick) = pick else { break };
            if slot > 0 {
                if !books.retries.may_retry() {
                    break;
                }
                books.metrics.retries.inc();
            }
            if let Some(place) = tried.get_mut(slot) {
                *place = pick;
            }
            let Some((member, live)) =
                model.pool.get(pick).and_then(|member| Some((member, current.loads.get(member.backend)?)))
            else {
                break;
            };
            self.tally.backend = current.snapshot.backends.get(member.backend).map(|b| Arc::clone(&b.name));
            self.tally.attempts += 1;
            let in_flight = live.begin(rules);
            let brought = match fan::copies(plan, member.backend) {
                1 => bring(&mut self.tally, plan, pick, in_flight, end).await,
                // Boxed: it is rare, and every call would carry its room otherwise.
                _ => Box::pin(fan::bring(&mut self.tally, plan, pick, in_flight, end)).await,
            };
            match brought {
                Ok(brought) => {
                    live.metrics.answered.inc();
                    live.seen(Seen::Success, rules);
                    return Ok(brought);
                }
                Err(failure) => {
                    if failure.seen != Seen::Nothing {
                        live.metrics.failed.inc();
                    }
                    live.seen(failure.seen, rules);
                    refusal = failure.refusal;
                    if !failure.again || Instant::now() >= end {
                        break;
                    }
                }
            }
        }
        Err(refusal)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.leave();
    }
}
