//! Fan: a call for several choices at a backend that makes one: asked once for each, and the answers are one answer.
//!
//! Law: all of them or none: the first refusal, fault or end of the client lets all others go. Nothing has been given
//! to the client until every head is there; not polled, none of them is read; each in turn is read first.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use levada_core::refusal::{Kind, Refusal};
use levada_core::snapshot::Member;
use levada_core::usage::Meter;
use levada_core::words::Words;
use levada_core::{bounds, merge};
use tokio::time::{Instant, timeout};

use crate::attempt::Failure;
use crate::bring::{self, Asked, Brought, JSON};
use crate::errand::Errand;
use crate::load::InFlight;
use crate::plan::Plan;
use crate::pump::{Events, Joined, Turn};
use crate::tally::Tally;

/// How often this backend is asked for the call.
#[must_use]
pub fn copies(plan: &Plan, backend: usize) -> u64 {
    let choices = plan.request.choices();
    // Only these have choices, in answers and in chunks.
    if choices == 1 || !plan.endpoint.asks_usage() {
        return 1;
    }
    let lacks = plan.current.snapshot.backends.get(backend).is_some_and(|backend| backend.lacks.n);
    if lacks { choices } else { 1 }
}

/// Why no backend of the pool can make so many choices, however well they are.
#[must_use]
pub fn refusal(plan: &Plan, pool: &[Member]) -> Option<Refusal> {
    let (choices, most) = (plan.request.choices(), bounds::FAN_OUT);
    if choices <= most || pool.is_empty() || pool.iter().any(|member| copies(plan, member.backend) <= most) {
        return None;
    }
    let words = format!(
        "Invalid 'n': integer above maximum value. Expected a value <= {most}, but got {choices} instead."
    );
    Some(Refusal::of(Kind::AboveMaximum).message(words).param("n"))
}

/// One attempt at the backend that `pick` names in the model's pool, asked once for each choice.
///
/// # Errors
/// One of the answers cannot be passed on; whether another backend may be tried.
pub async fn bring(
    tally: &mut Tally,
    plan: &Plan,
    pick: usize,
    in_flight: InFlight,
    end: Instant,
) -> Result<Brought, Failure> {
    let snapshot = &plan.current.snapshot;
    let model = snapshot.models.get(plan.model);
    let Some((model, member)) = model.and_then(|model| Some((model, model.pool.get(pick)?))) else {
        return Err(Failure::of(Kind::Internal));
    };
    let count = u32::try_from(copies(plan, member.backend)).unwrap_or(u32::MAX);
    let asks = (0..count).map(|at| {
        let place = in_flight.begin(&snapshot.breaker);
        // Some engines know a request by its id, and take each only once.
        let (id, edits) = (format!("{}-{at}", tally.id), plan.request.one_choice(at));
        let (name, began) = (&model.name, tally.at_seconds());
        Box::pin(async move {
            let mut errand = Errand::of(plan, name, member, edits, began)?;
            let asked = bring::ask(&id, plan, member.backend, &mut errand, place, end).await?;
            Ok((asked, errand))
        })
    });
    let asks = asks.collect();
    drop(in_flight);
    let asked = all(asks).await?;
    if asked.iter().all(|(asked, _)| asked.answer.head.is_event_stream()) {
        let events = asked.into_iter().map(|(asked, mut errand)| {
            let options = bring::options(plan, &mut errand);
            Lane::Open(Box::new(Events::new(asked.source(), errand.relay(options))))
        });
        let mut fan = Box::new(Fan::new(events.collect()));
        let first = timeout(snapshot.deadlines.first_byte, poll_fn(|cx| fan.poll_turn(cx))).await;
        return bring::began(first.map_err(drop)).map(|turn| Brought::Fan(fan, turn));
    }
    if asked.iter().all(|(asked, _)| asked.answer.head.is_json()) {
        return bodies(tally, asked).await;
    }
    Err(Failure::of(Kind::UpstreamError))
}

/// What all bring, in their order; the first that fails ends the others.
async fn all<T, E, F>(mut asks: Vec<Pin<Box<F>>>) -> Result<Vec<T>, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut brought: Vec<Option<T>> = asks.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (ask, brought) in asks.iter_mut().zip(&mut brought).filter(|(_, brought)| brought.is_none()) {
            match ask.as_mut().poll(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(one)) => *brought = Some(one),
                Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
            }
        }
        if brought.iter().any(Option::is_none) { Poll::Pending } else { Poll::Ready(Ok(())) }
    })
    .await?;
    Ok(brought.into_iter().flatten().collect())
}

/// Whole answers as one. What is not read yet waits in its socket, so one after the other costs no time.
async fn bodies(tally: &mut Tally, asked: Vec<(Asked, Errand)>) -> Result<Brought, Failure> {
    let mut room = bounds::CHANGED_BYTES;
    let (mut bodies, mut meters) = (Vec::new(), Vec::new());
    for (asked, errand) in asked {
        let (body, complete) = bring::gather(&mut asked.source(), room).await?;
        if !complete {
            return Err(Failure::of(Kind::UpstreamError));
        }
        room = room.saturating_sub(body.len());
        let mut meter = Meter::default();
        bodies.push(bring::whole_body(&mut meter, body, errand.style).await?.0);
        meters.push(meter);
    }
    tally.meter = Meter::sum(meters.into_iter());
    let body = merge::bodies(&bodies).map_err(|_| Failure::of(Kind::UpstreamError))?;
    Ok(Brought::Whole(body, JSON))
}

/// Several streams as one.
#[derive(Debug)]
pub struct Fan {
    lanes: Vec<Lane>,
    /// Which is polled first.
    next: usize,
    whole: merge::Streams,
}

/// One of the streams.
#[derive(Debug)]
enum Lane {
    Open(Box<Events>),
    /// It has ended as it should, and given its place back.
    Over(Box<Meter>, Words),
}

impl Fan {
    fn new(lanes: Vec<Lane>) -> Self {
        Self { whole: merge::Streams::new(lanes.len()), lanes, next: 0 }
    }

    /// The tokens of all so far.
    #[must_use]
    pub fn meter(&self) -> Meter {
        Meter::sum(self.lanes.iter().map(|lane| match lane {
            Lane::Open(events) => events.meter(),
            Lane::Over(meter, _) => **meter,
        }))
    }

    /// The text of all that is not counted yet.
    pub fn words(&mut self) -> impl Iterator<Item = &mut Words> {
        self.lanes.iter_mut().map(|lane| match lane {
            Lane::Open(events) => events.words(),
            Lane::Over(_, words) => words,
        })
    }

    /// The next events of all that are ready, each asked once; the end when all have ended.
    pub fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let (mut joined, count) = (Joined::default(), self.lanes.len());
        loop {
            let (begin, mut idle) = (self.next, true);
            for at in (begin..begin + count).map(|place| place % count) {
                let Some(lane @ Lane::Open(_)) = self.lanes.get_mut(at) else { continue };
                let Poll::Ready(turn) = lane.poll_turn(cx) else { continue };
                (idle, self.next) = (false, (at + 1) % count);
                match turn {
                    Turn::Events(events) | Turn::Last(events) => joined.add(self.whole.take(at, events)),
                    Turn::Broken(events, refusal) => {
                        joined.add(self.whole.take(at, events));
                        return Poll::Ready(Turn::Broken(joined.take(), refusal));
                    }
                }
                if joined.len() >= bounds::JOIN_BYTES {
                    break;
                }
            }
            if self.lanes.iter().all(|lane| matches!(lane, Lane::Over(..))) {
                joined.add(self.whole.end());
                return Poll::Ready(Turn::Last(joined.take()));
            }
            if !joined.is_empty() {
                return Poll::Ready(Turn::Events(joined.take()));
            }
            if idle {
                return Poll::Pending;
            }
        }
    }
}

impl Lane {
    /// The next turn; after the last it is over.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let Self::Open(events) = self else { return Poll::Pending };
        let turn = std::task::ready!(events.poll_turn(cx));
        if matches!(turn, Turn::Last(_)) {
            *self = Self::Over(Box::new(events.meter()), std::mem::take(events.words()));
        }
        Poll::Ready(turn)
    }
}
