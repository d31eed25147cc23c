//! The journal: every call that was admitted, written down before the client has its last byte.
//!
//! Law: what was promised can be written: admission stops while there is still room for the calls under way, and no call
//! waits for a disk. Whoever dies leaves it to the next who lives; nothing is deleted that the ledger has not acknowledged.

mod backlog;
mod dead;
mod hot;
mod keeper;
mod log;
mod slots;
#[cfg(test)]
mod tests;
mod verify;

use std::io;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::Thread;

use levada_core::bounds;
use levada_core::journal::TEXT_BYTES;
use levada_core::record::{End, Record};
use levada_core::usage::{Source, Usage};

use crate::disk::{Disk, Owned, Region};
pub use backlog::Lines;
use backlog::{Backlog, Source as Read, bury, clear};
use dead::shed;
use hot::{Follower, Hot};
use keeper::Keeper;
use log::Log;
use slots::Slots;
pub use verify::{Verified, verify};

/// The names of the mapped files.
const SLOTS: &str = "slots";
const HOT: &str = "hot";
/// The end of a segment's name.
const SEGMENT: &str = ".log";

/// What a record must outlive before the client has its last byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process: it is in memory that is a file.
    #[default]
    Process,
    /// A loss of power: it is on the disk, with all that waited for the same flush.
    Power,
}

/// What it promises, and how much of the disk it may use for that, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// What it promises.
    pub durability: Durability,
    /// What is hot.
    pub hot: usize,
    /// One segment of the log.
    pub segment: usize,
    /// All segments of this worker together.
    pub quota: u64,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            hot: bounds::HOT_BYTES,
            segment: bounds::SEGMENT_BYTES,
            quota: bounds::JOURNAL_BYTES,
        }
    }
}

/// A call that is written down as begun.
#[derive(Debug)]
pub struct Begun {
    place: usize,
    number: u64,
    promised: u64,
}

impl Begun {
    /// The call's number in its journal.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// The journal of one worker.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    terms: Terms,
    /// Its folder.
    name: Box<str>,
    slots: Arc<Slots>,
    hot: Mutex<Hot>,
    keeper: Mutex<Keeper>,
    backlog: Mutex<Backlog>,
    /// Entries below this number are in the log.
    logged: AtomicU64,
    /// Bytes that can be written before the log has more, and bytes that calls under way have been promised.
    room: AtomicU64,
    promised: AtomicU64,
    calls: AtomicU64,
    /// The log has no room for more, or its disk has failed: nothing more is begun.
    full: AtomicBool,
    failed: AtomicBool,
    closed: AtomicBool,
    /// The thread that flushes, and who waits for it to have flushed up to an entry.
    flusher: OnceLock<Thread>,
    waiting: Mutex<Vec<Waker>>,
    _owned: Owned,
}

/// A segment's file.
fn path(folder: &str, number: u64) -> String {
    format!("{folder}/{number:08}{SEGMENT}")
}

/// The numbers of a journal's segments, in their order.
fn segments(disk: &dyn Disk, folder: &str) -> io::Result<Vec<u64>> {
    Ok(disk.list(folder)?.iter().filter_map(|name| log::numbered(name)).collect())
}

/// The files of a new journal.
fn files(disk: &Arc<dyn Disk>, name: &str, terms: Terms) -> io::Result<(Arc<Slots>, Arc<dyn Region>, Log)> {
    // Last what others look for: a journal without a log has never been written in.
    let slots = Arc::new(Slots::new(disk.map(&format!("{name}/{SLOTS}"), Slots::BYTES)?));
    let region = disk.map(&format!("{name}/{HOT}"), terms.hot)?;
    Ok((slots, region, Log::new(Arc::clone(disk), name, terms)?))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    /// A new journal in a folder of this name, which nobody has used; it takes over from the dead beside it.
    ///
    /// # Errors
    /// The disk has no room for it.
    pub fn new(disk: Arc<dyn Disk>, name: &str, terms: Terms) -> io::Result<Self> {
        let owned = disk.own(name)?.ok_or_else(|| io::Error::other("the journal has an owner"))?;
        let mut made = files(&disk, name, terms);
        if made.is_err() {
            // What the dead had set aside may be room enough; only who lives can hand on what else they left.
            clear(&*disk, name)?;
            shed(&*disk, name);
            made = files(&disk, name, terms);
        }
        let (slots, region, log) = match made {
            Ok(files) => files,
            Err(error) => {
                // Of what found no room nothing stays: it may be tried again for hours.
                bury(&*disk, name, owned)?;
                return Err(error);
            }
        };
        let hot = Hot::new(Arc::clone(&region));
        let journal = Self {
            terms,
            name: name.into(),
            backlog: Mutex::new(Backlog::new(Read::living(name, Arc::clone(&slots)))),
            slots,
            room: AtomicU64::new(hot.room(0, Hot::size(TEXT_BYTES)) as u64),
            hot: Mutex::new(hot),
            keeper: Mutex::new(Keeper::new(log, Follower::new(region))),
            logged: AtomicU64::new(0),
            promised: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            full: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            flusher: OnceLock::new(),
            waiting: Mutex::default(),
            _owned: owned,
            disk,
        };
        journal.adopt();
        journal.carry();
        Ok(journal)
    }

    /// Whether calls can be begun.
    #[must_use]
    pub fn admits(&self) -> bool {
        !self.failed.load(Relaxed) && !self.full.load(Relaxed)
    }

    /// Writes a call down as begun; nothing where it could not be settled for lack of room.
    ///
    /// `record` is what is left of it if nobody ever says more.
    pub fn begin(&self, record: &mut Record<'_>) -> Option<Begun> {
        if !self.admits() {
            return None;
        }
        let number = self.calls.fetch_add(1, Relaxed);
        record.call = number;
        record.end = End::Interrupted;
        let text = record.text();
        // What is not known yet makes the record longer.
        let promised = Hot::size(text.len() + bounds::RECORD_GROWTH) as u64;
        let before = self.promised.fetch_add(promised, AcqRel);
        let fits = before + promised <= self.room.load(Acquire);
        let Some(place) = fits.then(|| self.slots.take(number, &text)).flatten() else {
            self.promised.fetch_sub(promised, AcqRel);
            return None;
        };
        Some(Begun { place, number, promised })
    }

    /// Notes how many tokens a call has cost so far.
    pub fn note(&self, begun: &Begun, usage: &Usage, source: Source) {
        self.slots.note(begun.place, usage, source);
    }

    /// Writes the call's record; from here on a kill changes nothing. The number of its entry, where somebody must wait
    /// until that is durable.
    pub fn settle(&self, begun: &Begun, record: &Record<'_>) -> Option<u64> {
        let written = self.append(&record.text());
        self.promised.fetch_sub(begun.promised, AcqRel);
        // A record that found no room stays in its slot, for the next who lives.
        if written.is_some() {
            self.slots.free(begun.place);
        }
        match self.terms.durability {
            Durability::Process => None,
            // What could not be written never becomes durable.
            Durability::Power => Some(written.unwrap_or(u64::MAX)),
        }
    }

    /// Ready when the entry of this number would survive a loss of power; false when that will never be known.
    pub fn poll_durable(&self, entry: u64, cx: &Context<'_>) -> Poll<bool> {
        if self.logged.load(Acquire) > entry {
            return Poll::Ready(true);
        }
        lock(&self.waiting).push(cx.waker().clone());
        // A flush that ended in between has woken nobody.
        if self.logged.load(Acquire) > entry {
            return Poll::Ready(true);
        }
        if entry == u64::MAX || self.failed.load(Acquire) {
            return Poll::Ready(false);
        }
        if let Some(flusher) = self.flusher.get() {
            flusher.unpark();
        }
        Poll::Pending
    }

    /// Writes one entry; its number, if there was room.
    fn append(&self, text: &[u8]) -> Option<u64> {
        if text.len() > TEXT_BYTES {
            return None;
        }
        let logged = self.logged.load(Acquire);
        let mut hot = lock(&self.hot);
        let written = hot.write(text, logged);
        self.room.store(hot.room(logged, Hot::size(TEXT_BYTES)) as u64, Release);
        written
    }

    /// The first `limit` records that the ledger has not acknowledged, oldest first.
    #[must_use]
    pub fn records(&self, limit: usize) -> Lines {
        let logged = self.logged.load(Acquire);
        lock(&self.backlog).read(&*self.disk, logged, limit)
    }

    /// The ledger has the first `count` of the records that it was given last.
    pub fn acknowledge(&self, count: usize) {
        lock(&self.backlog).acknowledge(&*self.disk, count);
    }
}
