//! What one backend brings for a call: from the plan to the first byte that can go to the client.
//!
//! Law: until it returns well, the client has had nothing, and another backend may be tried where the failure says so.
//! Of the client's headers only the request id goes on; redirects are not followed, codings not undone.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use levada_core::breaker::Seen;
use levada_core::chunk::{self, Chunk, Style};
use levada_core::counts::Counts;
use levada_core::endpoint::Endpoint;
use levada_core::http1::Framing;
use levada_core::refusal::{Kind, Refusal};
use levada_core::relay::Options;
use levada_core::usage::{Meter, Usage};
use levada_core::{bounds, splice, upstream};
use tokio::time::Instant;

use crate::attempt::{self, Answer, Failure};
use crate::convoy::{self, Side};
use crate::deadline::Watch;
use crate::errand::Errand;
use crate::fan::Fan;
use crate::load::InFlight;
use crate::plan::Plan;
use crate::pump::{Events, Lost, Plain, Source, Turn};
use crate::tally::Tally;
use crate::tokens::counting;

/// The content type of every answer of our own, and of a backend that names none.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Most heads of requests are shorter.
const HEAD_BYTES: usize = 384;

/// What an attempt brought that can go to the client.
pub enum Brought {
    /// A short body, whole, and its content type.
    Whole(Bytes, HeaderValue),
    /// A stream and its first turn.
    Events(Box<Events>, Turn),
    /// Several streams as one, and their first turn.
    Fan(Box<Fan>, Turn),
    /// A long body that passes through, and its content type.
    Plain(Box<Plain>, HeaderValue),
}

/// An answer of a backend that can be passed on, and what it holds.
pub struct Asked {
    /// Its head, and the connection its body comes from.
    pub answer: Answer,
    /// The backend's place.
    pub in_flight: InFlight,
    /// The deadlines.
    pub watch: Watch,
}

impl Asked {
    /// The body.
    pub fn source(self) -> Source {
        Source::new(self.answer, self.in_flight, self.watch).1
    }
}

/// One attempt at the backend that `pick` names in the model's pool.
///
/// # Errors
/// It brought nothing that can be passed on; whether another may be tried.
pub async fn bring(
    tally: &mut Tally,
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
    let mut errand = Errand::of(plan, &model.name, member, Vec::new(), tally.at_seconds())?;
    let asked = ask(&tally.id, plan, member.backend, &mut errand, in_flight, end).await?;
    let Asked { answer, in_flight, watch } = asked;
    if answer.head.is_event_stream() {
        let (_, source) = Source::new(answer, in_flight, watch);
        let options = options(plan, &mut errand);
        let events = Events::new(source, errand.relay(options));
        return first_turn(Box::new(events), deadlines.first_byte).await;
    }
    if answer.head.is_json() {
        return plain(tally, answer, in_flight, watch, errand).await;
    }
    if plan.endpoint.answers_media() && answer.head.is_media() {
        let (length, kind) = (length(&answer), kind(&answer));
        let (_, source) = Source::new(answer, in_flight, watch);
        return Ok(Brought::Plain(Box::new(Plain::new(source, BytesMut::new(), length)), kind));
    }
    Err(Failure::of(Kind::UpstreamError))
}

/// Sends what is asked for and waits for an answer that can be passed on.
///
/// # Errors
/// There was none; whether another backend may be tried.
pub async fn ask(
    id: &str,
    plan: &Plan,
    backend: usize,
    errand: &mut Errand,
    in_flight: InFlight,
    end: Instant,
) -> Result<Asked, Failure> {
    let deadlines = &plan.current.snapshot.deadlines;
    let body = std::mem::take(&mut errand.body);
    let Some(mut head) = request_head(id, plan, errand.endpoint, backend, body.len()) else {
        return Err(Failure::of(Kind::Internal));
    };
    let rest = if body.len() <= bounds::READ_BYTES {
        head.extend_from_slice(&body); // one write for what is small
        Bytes::new()
    } else {
        body
    };
    convoy::join(Side::Backend, in_flight.metrics.in_flight.get()).await;
    let answer = attempt::send(&in_flight, deadlines, &head, &rest).await?;
    let watch = Watch::new(deadlines.idle, end);
    if !(200..300).contains(&answer.head.status) || answer.head.encoded || answer.head.status == 204 {
        return Err(refused_by(answer, in_flight, watch).await);
    }
    Ok(Asked { answer, in_flight, watch })
}

/// What is done to a stream of the call.
pub fn options(plan: &Plan, errand: &mut Errand) -> Options {
    let (counts, asks) = (errand.counts, plan.endpoint.asks_usage());
    let (include_usage, running) = (plan.request.include_usage(), plan.request.running(counts));
    // What only the meter wanted to know is taken out again.
    let hide_usage = asks && !(include_usage && (counts != Counts::Usage || running));
    let hide_timings = asks && counts == Counts::Timings && !running;
    Options {
        dialect: errand.endpoint.dialect(),
        include_usage,
        hold_finish: asks && !include_usage,
        several: plan.request.n > 1,
        style: Style { hide_usage, hide_timings, ..std::mem::take(&mut errand.style) },
        event_bytes: plan.current.snapshot.event_bytes,
        gather: counting::gather(plan),
    }
}

/// How long the answer's body is, if it says so.
fn length(answer: &Answer) -> Option<u64> {
    match answer.head.framing {
        Framing::Length(length) => Some(length),
        Framing::Chunked | Framing::Close => None,
    }
}

fn kind(answer: &Answer) -> HeaderValue {
    answer.head.content_type.as_deref().and_then(|kind| HeaderValue::from_str(kind).ok()).unwrap_or(JSON)
}

/// An answer in one JSON body: read whole when it is short (or must be changed), passed through when it is long.
async fn plain(
    tally: &mut Tally,
    answer: Answer,
    in_flight: InFlight,
    watch: Watch,
    errand: Errand,
) -> Result<Brought, Failure> {
    let (length, kind) = (length(&answer), kind(&answer));
    let limit = match errand.made.is_some() || !errand.style.is_plain() {
        false => bounds::WHOLE_BYTES,
        true if errand.style.base64 => bounds::VECTORS_BYTES,
        true => bounds::CHANGED_BYTES,
    };
    let (_, mut source) = Source::new(answer, in_flight, watch);
    let (whole, complete) = if length.is_some_and(|length| length > limit as u64) {
        (BytesMut::new(), false)
    } else {
        gather(&mut source, limit).await?
    };
    if !complete && errand.style.base64 {
        return Err(too_many_vectors());
    }
    if !complete && errand.made.is_some() {
        return Err(Failure::of(Kind::UpstreamError));
    }
    if !complete {
        return Ok(Brought::Plain(Box::new(Plain::new(source, whole, length)), kind));
    }
    let (body, usage) = whole_body(&mut tally.meter, whole, errand.style).await?;
    let body = match errand.made {
        Some(made) => made.answer(&body, usage).map_err(|_| Failure::of(Kind::UpstreamError))?,
        None => body,
    };
    Ok(Brought::Whole(body, kind))
}

/// A whole body as the client gets it, and its usage, which is metered.
///
/// # Errors
/// It is no JSON, or an error.
pub async fn whole_body(
    meter: &mut Meter,
    whole: BytesMut,
    style: Style,
) -> Result<(Bytes, Option<Usage>), Failure> {
    let (whole, read) = read(whole, style).await?;
    if read.error {
        return Err(Failure { refusal: upstream::in_stream(&whole), again: false, seen: Seen::Failure });
    }
    if let Some(usage) = read.usage {
        meter.total(usage);
    } else if let Some(audio_ms) = read.duration_ms {
        meter.total(Usage { audio_ms, ..Usage::default() });
    }
    Ok((splice::apply(whole.freeze(), read.edits), read.usage))
}

/// Reads a whole body; vectors aside from the calls of this thread, for turning many of them takes a while.
async fn read(whole: BytesMut, style: Style) -> Result<(BytesMut, Chunk), Failure> {
    let aside = style.base64 && whole.len() > bounds::WHOLE_BYTES;
    let work = move || (chunk::read(&whole, &style), whole);
    let (read, whole) = if aside {
        tokio::task::spawn_blocking(work).await.map_err(|_| Failure::of(Kind::Internal))?
    } else {
        work()
    };
    read.map(|read| (whole, read)).map_err(|_| Failure::of(Kind::UpstreamError))
}

/// The refusal for vectors that do not fit in memory together.
fn too_many_vectors() -> Failure {
    let words = "The vectors are too many to be given as base64 at once. Send fewer inputs, or ask for an \
                 'encoding_format' of 'float'.";
    let refusal = Refusal::of(Kind::InvalidValue).message(words).param("encoding_format");
    Failure { refusal, again: false, seen: Seen::Success }
}

/// The head of the request to a backend. Of the client's headers only the request id goes on.
fn request_head(id: &str, plan: &Plan, endpoint: Endpoint, backend: usize, length: usize) -> Option<Vec<u8>> {
    let backend = plan.current.snapshot.backends.get(backend)?;
    let authority = &backend.authority;
    let path = match endpoint.is_at_root() {
        true => backend.path.strip_suffix("/v1").unwrap_or(&backend.path),
        false => &backend.path,
    };
    let accept = match endpoint.answers_media() {
        true => "*/*",
        false if plan.request.stream => "text/event-stream",
        false => "application/json",
    };
    let kind = plan.content_type.to_str().ok()?;
    // A small body follows in the same buffer.
    let mut head = Vec::with_capacity(HEAD_BYTES + length.min(bounds::READ_BYTES));
    let mut say = |words: &[&str]| words.iter().for_each(|word| head.extend_from_slice(word.as_bytes()));
    say(&["POST ", path, endpoint.path(), " HTTP/1.1\r\nhost: ", authority]);
    say(&["\r\nuser-agent: levada\r\naccept: ", accept, "\r\naccept-encoding: identity"]);
    say(&["\r\ncontent-type: ", kind, "\r\nx-request-id: ", id]);
    if let Some(key) = &backend.key {
        say(&["\r\nauthorization: Bearer ", key.reveal()]);
    }
    say(&["\r\ncontent-length: ", itoa::Buffer::new().format(length), "\r\n\r\n"]);
    Some(head)
}

/// The first events of a stream: until they are there, the status is not given and another backend may be tried.
async fn first_turn(mut events: Box<Events>, first_byte: Duration) -> Result<Brought, Failure> {
    let first = std::future::poll_fn(|cx| events.poll_turn(cx));
    let turn = tokio::time::timeout(first_byte, first).await;
    began(turn.map_err(drop)).map(|turn| Brought::Events(events, turn))
}

/// The first turn, if the client can be given it; none has come when it was not in time.
///
/// # Errors
/// The stream broke before it began.
pub fn began(turn: Result<Turn, ()>) -> Result<Turn, Failure> {
    match turn {
        Err(()) => Err(Failure::of(Kind::UpstreamTimeout)),
        Ok(Turn::Broken(bytes, refusal)) if bytes.is_empty() => {
            let again = refusal.status() >= 500 || refusal.kind() == Kind::RateLimited;
            Err(Failure { refusal, again, seen: if again { Seen::Failure } else { Seen::Success } })
        }
        Ok(turn) => Ok(turn),
    }
}

/// Reads up to `limit` bytes of a body; true when that was all of it.
pub async fn gather(source: &mut Source, limit: usize) -> Result<(BytesMut, bool), Failure> {
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
