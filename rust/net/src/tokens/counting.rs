//! Counting one call whose backend tells no usage: its prompt, its text as it passes, and the sum at its end.
//!
//! Law: off the threads of the sockets. The end of an answer waits for its count for a bounded time, because its record
//! is written before its last bytes leave; what is late, or of a client that has left, is settled behind it: the journal
//! has the call open until then. What does not come as a whole is no count.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use levada_core::bounds;
use levada_core::endpoint::Endpoint;
use levada_core::record::End;
use levada_core::usage::Usage;
use levada_core::words::{Gather, Words};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

use super::Tokenizer;
use super::counters::{Lane, Sums, Work};
use crate::bring::Brought;
use crate::plan::Plan;
use crate::tally::Tally;

const WAIT: Duration = Duration::from_millis(bounds::COUNTING_MILLIS);

/// The count of one call under way.
#[derive(Debug)]
pub struct Counting {
    sums: Arc<Sums>,
    lane: Lane,
    /// The request's body, until it is clear that nobody else counts it.
    prompt: Option<Bytes>,
    due: Option<Due>,
}

/// A sum that has been asked for.
#[derive(Debug)]
struct Due {
    told: oneshot::Receiver<Option<Usage>>,
    late: Pin<Box<Sleep>>,
}

/// What became of it.
enum Told {
    /// All is counted.
    Count(Usage),
    /// Something was lost, or could not be counted.
    Nothing,
    /// It is not there yet, and the answer waits no longer.
    Late,
}

impl Due {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Told> {
        match Pin::new(&mut self.told).poll(cx) {
            Poll::Ready(told) => Poll::Ready(told.ok().flatten().map_or(Told::Nothing, Told::Count)),
            Poll::Pending => self.late.as_mut().poll(cx).map(|()| Told::Late),
        }
    }
}

/// How the text of the call's streams is gathered.
pub fn gather(plan: &Plan) -> Gather {
    tokenizer(plan).map_or(Gather::Nothing, |tokenizer| tokenizer.gather())
}

/// What the call's tokens are counted with; not every endpoint is asked in text.
fn tokenizer(plan: &Plan) -> Option<&Arc<Tokenizer>> {
    let textual = matches!(
        plan.endpoint,
        Endpoint::Chat
            | Endpoint::Completions
            | Endpoint::Responses
            | Endpoint::Messages
            | Endpoint::Embeddings
    );
    plan.current.tokenizers.get(plan.model)?.as_ref().filter(|_| textual)
}

/// An answer begins: a whole one is counted now, a stream as it passes.
pub async fn begin(tally: &mut Tally, plan: &Plan, brought: &Brought) {
    let Some(tokenizer) = tokenizer(plan).filter(|_| !tally.meter.told()) else { return };
    let Some(lane) = tally.books().counters.lane() else { return };
    let (sums, prompt) = (Sums::new(Arc::clone(tokenizer)), Some(plan.body.clone()));
    let counting = Box::new(Counting { sums, lane, prompt, due: None });
    match brought {
        Brought::Whole(body, _) => {
            let Some(mut counting) = counting.asked() else { return };
            if counting.hand(Work::Answer(body.clone())) && counting.sum() {
                let told = std::future::poll_fn(|cx| counting.poll(cx)).await;
                counting.told(told, tally);
            }
        }
        Brought::Events(..) | Brought::Fan(..) => tally.counting = Some(counting),
        Brought::Plain(..) => {}
    }
}

/// A turn of a stream has passed, perhaps the last: done when nothing of its count is waited for.
pub fn poll<'w>(
    tally: &mut Tally,
    words: impl Iterator<Item = &'w mut Words>,
    last: bool,
    cx: &mut Context<'_>,
) -> Poll<()> {
    heard(tally, words, last);
    if let Some(mut counting) = tally.counting.take_if(|_| last) {
        let told = match counting.sum().then(|| counting.poll(cx)) {
            Some(Poll::Pending) => {
                tally.counting = Some(counting);
                return Poll::Pending;
            }
            Some(Poll::Ready(told)) => told,
            None => Told::Nothing,
        };
        counting.told(told, tally);
    }
    Poll::Ready(())
}

/// Hands over what can be counted now, or all that is left.
pub fn heard<'w>(tally: &mut Tally, words: impl Iterator<Item = &'w mut Words>, last: bool) {
    let told = tally.meter.told();
    tally.counting = tally.counting.take().filter(|_| !told).and_then(Counting::asked);
    for words in words {
        tally.counting = tally.counting.take().filter(|counting| counting.heard(words, last));
        if tally.counting.is_none() {
            words.stop();
        }
    }
}

impl Counting {
    fn hand(&self, work: Work) -> bool {
        self.lane.hand(&self.sums, work).is_ok()
    }

    /// Hands the prompt over, once; nothing if there is no room for it.
    fn asked(mut self: Box<Self>) -> Option<Box<Self>> {
        let Some(body) = self.prompt.take() else { return Some(self) };
        let handed = body.len() <= bounds::COUNTED_PROMPT_BYTES && self.hand(Work::Prompt(body));
        handed.then_some(self)
    }

    /// Hands the pieces over that are ready, or all that is left; whether nothing was lost.
    fn heard(&self, words: &mut Words, last: bool) -> bool {
        words.pieces().all(|piece| self.hand(Work::Piece(piece)))
            && (!last || words.rest().all(|piece| self.hand(Work::Piece(piece))))
            && !words.lost()
    }

    /// Asks for the sum, once.
    fn sum(&mut self) -> bool {
        if self.due.is_some() {
            return true;
        }
        let (tell, told) = oneshot::channel();
        self.due = Some(Due { told, late: Box::pin(sleep(WAIT)) });
        self.hand(Work::Tell(tell))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Told> {
        self.due.as_mut().map_or(Poll::Ready(Told::Nothing), |due| due.poll(cx))
    }

    /// The sum goes into the account; one that is late goes there behind the answer's end.
    fn told(self: Box<Self>, told: Told, tally: &mut Tally) {
        match told {
            Told::Count(usage) => tally.meter.counted(usage),
            Told::Nothing => {}
            Told::Late => tally.counting = Some(self),
        }
    }

    /// Has the account settled when all is counted that was handed over; whether that can be.
    pub fn settle(&self, tally: &mut Tally, end: End) -> bool {
        match self.lane.hand(&self.sums, Work::Settle(Box::new(tally.hand_over()), end)) {
            Err(Work::Settle(back, _)) => {
                *tally = *back;
                false
            }
            _ => true,
        }
    }
}
