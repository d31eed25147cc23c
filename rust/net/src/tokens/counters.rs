//! The threads that count: bounded queues, one for each, in which a call's pieces keep their order.
//!
//! Law: who hands something over never waits. What finds no room is not counted, and the call is estimated; its
//! account is never lost for that.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;

use bytes::Bytes;
use levada_core::bounds;
use levada_core::record::End;
use levada_core::usage::Usage;
use levada_core::words::Piece;
use tokio::sync::oneshot;

use super::Tokenizer;
use crate::tally::Tally;

/// What is counted of one call.
#[derive(Debug)]
pub struct Sums {
    tokenizer: Arc<Tokenizer>,
    prompt: AtomicU64,
    completion: AtomicU64,
    failed: AtomicBool,
}

impl Sums {
    /// Nothing yet.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Arc<Self> {
        let (prompt, completion, failed) = Default::default();
        Arc::new(Self { tokenizer, prompt, completion, failed })
    }

    /// What was counted, if all could be.
    fn usage(&self) -> Option<Usage> {
        let (prompt, completion) = (self.prompt.load(Relaxed), self.completion.load(Relaxed));
        (!self.failed.load(Relaxed)).then_some(Usage { prompt, completion, ..Usage::default() })
    }

    fn add(&self, sum: &AtomicU64, count: Option<u64>) {
        match count {
            Some(count) => drop(sum.fetch_add(count, Relaxed)),
            None => self.failed.store(true, Relaxed),
        }
    }
}

/// What a thread does next.
#[derive(Debug)]
pub enum Work {
    /// Counts what a request's body asks.
    Prompt(Bytes),
    /// Counts a piece of the answer.
    Piece(Piece),
    /// Counts a whole answer.
    Answer(Bytes),
    /// Tells what was counted of the call.
    Tell(oneshot::Sender<Option<Usage>>),
    /// Settles the account of a call whose client has gone.
    Settle(Box<Tally>, End),
}

impl Work {
    fn bytes(&self) -> usize {
        match self {
            Self::Prompt(body) | Self::Answer(body) => body.len(),
            Self::Piece(piece) => piece.text.len(),
            Self::Tell(_) | Self::Settle(..) => 0,
        }
    }

    fn run(self, sums: &Sums) {
        let tokenizer = &sums.tokenizer;
        match self {
            Self::Prompt(body) => sums.add(&sums.prompt, tokenizer.count_request(&body)),
            Self::Piece(piece) => sums.add(&sums.completion, tokenizer.count_piece(&piece)),
            Self::Answer(body) => sums.add(&sums.completion, tokenizer.count_answer(&body)),
            // Whoever has stopped waiting has settled without it.
            Self::Tell(whom) => drop(whom.send(sums.usage())),
            Self::Settle(mut tally, end) => {
                if let Some(usage) = sums.usage() {
                    tally.meter.counted(usage);
                }
                tally.settle(end);
            }
        }
    }
}

type Job = (Arc<Sums>, Work);

/// The way to one thread.
#[derive(Debug, Clone)]
pub struct Lane {
    jobs: SyncSender<Job>,
    waiting: Arc<AtomicUsize>,
}

impl Lane {
    fn start(number: usize) -> Option<Self> {
        let (jobs, queue) = sync_channel(bounds::COUNTING_PIECES);
        let waiting = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&waiting);
        let name = format!("levada-count-{number}");
        thread::Builder::new().name(name).spawn(move || serve(&queue, &seen)).ok()?;
        Some(Self { jobs, waiting })
    }

    /// Hands work over.
    ///
    /// # Errors
    /// There is no room for it: it comes back.
    pub fn hand(&self, sums: &Arc<Sums>, work: Work) -> Result<(), Work> {
        let bytes = work.bytes();
        if self.waiting.fetch_add(bytes, Relaxed) + bytes > bounds::COUNTING_BYTES {
            self.waiting.fetch_sub(bytes, Relaxed);
            return Err(work);
        }
        self.jobs.try_send((Arc::clone(sums), work)).map_err(|error| {
            self.waiting.fetch_sub(bytes, Relaxed);
            let (TrySendError::Full((_, work)) | TrySendError::Disconnected((_, work))) = error;
            work
        })
    }
}

fn serve(queue: &Receiver<Job>, waiting: &AtomicUsize) {
    for (sums, work) in queue {
        let bytes = work.bytes();
        // A thread that is gone would leave its calls without a count for good.
        let _ = catch_unwind(AssertUnwindSafe(|| work.run(&sums)));
        waiting.fetch_sub(bytes, Relaxed);
    }
}

/// The threads, begun when they are first needed; they end with the last who could hand them something.
#[derive(Debug, Default)]
pub struct Counters {
    lanes: OnceLock<Vec<Lane>>,
    next: AtomicUsize,
}

impl Counters {
    /// A thread for one call; they take turns.
    pub fn lane(&self) -> Option<Lane> {
        let lanes =
            self.lanes.get_or_init(|| (0..bounds::COUNTING_THREADS).filter_map(Lane::start).collect());
        lanes.get(self.next.fetch_add(1, Relaxed) % lanes.len().max(1)).cloned()
    }
}
