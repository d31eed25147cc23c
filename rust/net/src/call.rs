//! Call: one client request from its open to its record.
//!
//! Law: a refused call is still a call; each door has one path and no error branch. Nothing is retried once the
//! client has had a byte. Dropping a call drops its backend's connection and settles it.

use std::fmt::Write;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use levada_core::breaker::Seen;
use levada_core::http1::Framing;
use levada_core::record::End;
use levada_core::refusal::{Kind, Refusal};
use levada_core::relay::{Options, Relay};
use levada_core::request::{Endpoint, Request};
use levada_core::{bounds, chunk, route, splice, upstream};
use tokio::time::Instant;

use crate::attempt::{self, Answer, Failure};
use crate::deadline::Watch;
use crate::gateway::Current;
use crate::load::InFlight;
use crate::pump::{Events, Lost, Plain, Source, Turn};
use crate::tally::Tally;

/// The head of the client's answer.
#[derive(Debug)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// The headers; `date` and the framing are the door's.
    pub headers: HeaderMap,
}

/// The answer broke off where nothing honest can be said in band: the client's connection must be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer broke off")
    }
}

impl std::error::Error for Cut {}

/// An admitted call: everything that was decided, nothing that was tried.
#[derive(Debug)]
pub struct Plan {
    /// The configuration it was admitted under.
    pub current: Arc<Current>,
    /// The index of its model there.
    pub model: usize,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// What its body says.
    pub request: Request,
    /// Its body.
    pub body: Bytes,
}

/// One client request.
#[derive(Debug)]
pub struct Call {
    /// Boxed: a call is moved from hand to hand, its account stays where it is.
    tally: Box<Tally>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// An answer of our own: status, content type, more headers, body.
    Own(Box<Own>),
    Planned(Box<Plan>),
    Whole(Bytes),
    Events(Box<Events>, Option<Turn>),
    Plain(Box<Plain>),
    Ended,
}

#[derive(Debug)]
struct Own {
    status: u16,
    body: Bytes,
    refusal: Option<Refusal>,
}

/// What an attempt brought that can go to the client.
enum Brought {
    Whole(Bytes, HeaderValue),
    Events(Box<Events>, Turn),
    Plain(Box<Plain>, HeaderValue),
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");

impl Call {
    /// A call that is answered with a refusal.
    #[must_use]
    pub fn refused(tally: Tally, refusal: Refusal) -> Self {
        let own = Own { status: refusal.status(), body: refusal.body(), refusal: Some(refusal) };
        Self { tally: Box::new(tally), state: State::Own(Box::new(own)) }
    }

    /// A call that is answered from what we know: 200 (or another status) and JSON.
    #[must_use]
    pub fn answered(tally: Tally, status: u16, body: Bytes) -> Self {
        Self { tally: Box::new(tally), state: State::Own(Box::new(Own { status, body, refusal: None })) }
    }

    /// A call that goes to a backend.
    #[must_use]
    pub fn planned(tally: Tally, plan: Plan) -> Self {
        Self { tally: Box::new(tally), state: State::Planned(Box::new(plan)) }
    }

    /// Makes the answer begin: for a call to a backend, tries until the first byte.
    pub async fn start(&mut self) -> Head {
        let head = match std::mem::replace(&mut self.state, State::Ended) {
            State::Planned(plan) => match self.attempt_all(&plan).await {
                Ok(brought) => self.begin(brought),
                Err(refusal) => self.refuse(refusal),
            },
            State::Own(own) => match own.refusal {
                Some(refusal) => self.refuse(refusal),
                None => {
                    let length = own.body.len() as u64;
                    self.state = State::Whole(own.body);
                    self.head(own.status, JSON, Some(length))
                }
            },
            // Started before: nothing more is to come.
            _ => self.head(500, JSON, Some(0)),
        };
        self.tally.first_byte();
        head
    }

    /// The next piece of the answer; nothing at its end.
    ///
    /// # Errors
    /// The client's connection must be cut.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
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
                self.tally.meter = events.meter();
                Poll::Ready(self.turn(turn).map(Ok))
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
            State::Own(_) | State::Planned(_) | State::Ended => Poll::Ready(None),
        }
    }

    /// Bytes still to come, if that is known.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        match &self.state {
            State::Whole(body) => Some(body.len() as u64),
            State::Plain(plain) => plain.left(),
            State::Events(..) | State::Planned(_) => None,
            State::Own(own) => Some(own.body.len() as u64),
            State::Ended => Some(0),
        }
    }

    /// Ends the call now: the backend's connection is dropped.
    pub fn cancel(&mut self) {
        self.end(End::Cancelled);
    }

    fn end(&mut self, end: End) {
        let refused = self.tally.status >= 400 && end == End::Done;
        self.tally.settle(if refused { End::Refused } else { end });
        self.state = State::Ended;
    }

    fn turn(&mut self, turn: Turn) -> Option<Bytes> {
        match turn {
            Turn::Events(events) => Some(events),
            Turn::Last(events) => {
                self.end(End::Done);
                (!events.is_empty()).then_some(events)
            }
            Turn::Broken(events, refusal) => {
                self.end(End::Broken);
                let mut out = BytesMut::from(&events[..]);
                out.extend_from_slice(&refusal.event());
                Some(out.freeze())
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> Head {
        self.tally.gateway().metrics().refused(refusal.status(), refusal.code());
        let body = refusal.body();
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
                let mut head = self.head(200, EVENT_STREAM, None);
                head.headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
                self.state = State::Events(events, Some(first));
                head
            }
        }
    }

    fn head(&mut self, status: u16, kind: HeaderValue, length: Option<u64>) -> Head {
        self.tally.status = status;
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::CONTENT_TYPE, kind);
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        headers.insert(header::SERVER, HeaderValue::from_static("levada"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Ok(id) = HeaderValue::from_str(&self.tally.id) {
            headers.insert("x-request-id", id);
        }
        Head { status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), headers }
    }

    /// Tries backends, each once, until one brings something for the client or no further try is allowed.
    async fn attempt_all(&mut self, plan: &Plan) -> Result<Brought, Refusal> {
        let gateway = Arc::clone(self.tally.gateway());
        let current = &plan.current;
        let rules = &current.snapshot.breaker;
        let Some(model) = current.snapshot.models.get(plan.model) else {
            return Err(Refusal::of(Kind::Internal));
        };
        let end = Instant::from_std(self.tally.began()) + current.snapshot.deadlines.total;
        let mut tried = [usize::MAX; bounds::ATTEMPTS];
        let mut refusal = Refusal::of(Kind::Unavailable);
        gateway.budget().called();
        for slot in 0..bounds::ATTEMPTS {
            let load = |index: usize| {
                let member = model.pool.get(index)?;
                if tried.contains(&index) { None } else { current.loads.get(member.backend)?.weight(rules) }
            };
            let Some(pick) = route::pick(model.pool.len(), fastrand::u64(..), load) else { break };
            if slot > 0 {
                if !gateway.budget().may_retry() {
                    break;
                }
                gateway.metrics().retries.inc();
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
            match self.attempt(plan, pick, in_flight, end).await {
                Ok(brought) => {
                    live.metrics.answered.inc();
                    live.seen(Seen::Success, rules);
                    return Ok(brought);
                }
                Err(failure) => {
                    live.metrics.failed.inc();
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

    /// One attempt, up to the first byte that can go to the client.
    async fn attempt(
        &mut self,
        plan: &Plan,
        pick: usize,
        in_flight: InFlight,
        end: Instant,
    ) -> Result<Brought, Failure> {
        let snapshot = &plan.current.snapshot;
        let (Some(model), deadlines) = (snapshot.models.get(plan.model), &snapshot.deadlines) else {
            return Err(Failure::of(Kind::Internal));
        };
        let Some(member) = model.pool.get(pick) else { return Err(Failure::of(Kind::Internal)) };
        let renamed = member.renamed.then_some(&*member.upstream_json);
        let body = splice::apply(
            plan.body.clone(),
            plan.request.edits(renamed, plan.endpoint != Endpoint::Embeddings),
        );
        let Some(head) = self.request_head(plan, member.backend, body.len()) else {
            return Err(Failure::of(Kind::Internal));
        };
        let (head, rest) = if body.len() <= bounds::READ_BYTES {
            (join(head, &body), Bytes::new()) // one write for what is small
        } else {
            (head, body)
        };
        let mut watch = Watch::new(deadlines.idle, end);
        let answer = attempt::send(&in_flight, deadlines, &head, &rest).await?;
        watch.progress();
        if !(200..300).contains(&answer.head.status) || answer.head.encoded || answer.head.status == 204 {
            return Err(refused_by(answer, in_flight, watch).await);
        }
        let rename =
            renamed.map(|_| serde_json::to_string(&*model.name).unwrap_or_default().into_boxed_str());
        if answer.head.is_event_stream() {
            let options = Options {
                include_usage: plan.request.include_usage,
                rename,
                event_bytes: snapshot.event_bytes,
            };
            let (_, source) = Source::new(answer, in_flight, watch);
            return first_turn(Box::new(Events::new(source, Relay::new(options))), deadlines.first_byte).await;
        }
        if !answer.head.is_json() {
            return Err(Failure::of(Kind::UpstreamError));
        }
        self.plain(answer, in_flight, watch, rename).await
    }

    /// An answer in one JSON body: read whole when it is short (or must be renamed), passed through when it is long.
    async fn plain(
        &mut self,
        answer: Answer,
        in_flight: InFlight,
        watch: Watch,
        rename: Option<Box<str>>,
    ) -> Result<Brought, Failure> {
        let length = match answer.head.framing {
            Framing::Length(length) => Some(length),
            Framing::Chunked | Framing::Close => None,
        };
        let kind = answer
            .head
            .content_type
            .as_deref()
            .and_then(|kind| HeaderValue::from_str(kind).ok())
            .unwrap_or(JSON);
        let limit = if rename.is_some() { bounds::RENAMED_BYTES } else { bounds::WHOLE_BYTES };
        let (_, mut source) = Source::new(answer, in_flight, watch);
        let (whole, complete) = if length.is_some_and(|length| length > limit as u64) {
            (BytesMut::new(), false)
        } else {
            gather(&mut source, limit).await?
        };
        if !complete {
            return Ok(Brought::Plain(Box::new(Plain::new(source, whole, length)), kind));
        }
        let Ok(read) = chunk::read(&whole) else { return Err(Failure::of(Kind::UpstreamError)) };
        if read.error {
            return Err(Failure { refusal: upstream::in_stream(&whole), again: false, seen: Seen::Failure });
        }
        if let Some(usage) = read.usage {
            self.tally.meter.total(usage);
        }
        let whole = whole.freeze();
        let body = match (rename, read.model) {
            (Some(with), Some(span)) => splice::apply(whole, vec![splice::Edit { span, with }]),
            _ => whole,
        };
        Ok(Brought::Whole(body, kind))
    }

    /// The head of the request to a backend. Of the client's headers only the request id goes on.
    fn request_head(&self, plan: &Plan, backend: usize, length: usize) -> Option<Vec<u8>> {
        let backend = plan.current.snapshot.backends.get(backend)?;
        let mut head = String::with_capacity(384);
        let (path, endpoint, authority) = (&backend.path, plan.endpoint.path(), &backend.authority);
        write!(
            head,
            "POST {path}{endpoint} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: levada\r\naccept: {}\r\n\
             accept-encoding: identity\r\ncontent-type: application/json\r\nx-request-id: {}\r\n",
            if plan.request.stream { "text/event-stream" } else { "application/json" },
            self.tally.id,
        )
        .ok()?;
        if let Some(key) = &backend.key {
            write!(head, "authorization: Bearer {}\r\n", key.reveal()).ok()?;
        }
        write!(head, "content-length: {length}\r\n\r\n").ok()?;
        Some(head.into_bytes())
    }
}

fn join(mut head: Vec<u8>, body: &[u8]) -> Vec<u8> {
    head.extend_from_slice(body);
    head
}

/// The first events of a stream: until they are there, the status is not given and another backend may be tried.
async fn first_turn(mut events: Box<Events>, first_byte: Duration) -> Result<Brought, Failure> {
    let first = std::future::poll_fn(|cx| events.poll_turn(cx));
    match tokio::time::timeout(first_byte, first).await {
        Err(_) => Err(Failure::of(Kind::UpstreamTimeout)),
        Ok(Turn::Broken(bytes, refusal)) if bytes.is_empty() => {
            let again = refusal.status() >= 500 || refusal.kind() == Kind::RateLimited;
            Err(Failure { refusal, again, seen: if again { Seen::Failure } else { Seen::Success } })
        }
        Ok(turn) => Ok(Brought::Events(events, turn)),
    }
}

/// Reads up to `limit` bytes of a body; true when that was all of it.
async fn gather(source: &mut Source, limit: usize) -> Result<(BytesMut, bool), Failure> {
    let mut whole = BytesMut::new();
    loop {
        match std::future::poll_fn(|cx| source.poll_piece(cx)).await {
            Ok(None) => return Ok((whole, true)),
            Ok(Some(piece)) if whole.is_empty() => whole = piece,
            Ok(Some(piece)) => whole.extend_from_slice(&piece),
            Err(Lost::Broken) => return Err(Failure::of(Kind::UpstreamError)),
            Err(Lost::Late) => return Err(Failure::of(Kind::UpstreamTimeout)),
        }
        if whole.len() > limit {
            return Ok((whole, false));
        }
    }
}

/// A backend's refusal as ours. Its body is read as far as it is short and in time; its faults may be tried elsewhere.
async fn refused_by(answer: Answer, in_flight: InFlight, watch: Watch) -> Failure {
    let (head, mut source) = Source::new(answer, in_flight, watch);
    if head.status < 400 || head.encoded {
        // Redirects are never followed, and what we did not ask for is not decoded.
        return Failure::of(Kind::UpstreamError);
    }
    let body = match gather(&mut source, bounds::UPSTREAM_ERROR_BYTES).await {
        Ok((body, true)) => body,
        _ => BytesMut::new(),
    };
    let refusal = upstream::refusal(head.status, head.retry_after.as_deref(), &body);
    let fault = head.status >= 500;
    Failure {
        again: fault || head.status == 429,
        seen: if fault { Seen::Failure } else { Seen::Success },
        refusal,
    }
}
