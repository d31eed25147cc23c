//! The journal: every call that was admitted, written down before the client has its last byte.
//!
//! Law: what was promised can be written: admission stops while there is still room for the calls under way. Whoever
//! dies leaves it to the next who lives; nothing is deleted that the ledger has not acknowledged.

mod backlog;
mod dead;
mod keeper;
mod slots;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use levada_core::journal::{self, Chain};
use levada_core::record::{End, Record};
use levada_core::usage::{Source, Usage};
use levada_core::{bounds, journal as form};

use crate::disk::{self, Disk, Owned, Region};
use backlog::{Backlog, Lines, Source as Read};
use slots::Slots;

/// The name of the file with the slots.
const SLOTS: &str = "slots";
/// The end of a segment's name.
const SEGMENT: &str = ".log";

/// How much of the disk it may use.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// One segment.
    pub segment: usize,
    /// All segments of this worker together.
    pub quota: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { segment: bounds::SEGMENT_BYTES, quota: bounds::JOURNAL_BYTES }
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
    sizes: Sizes,
    /// Its folder.
    name: Box<str>,
    slots: Arc<Slots>,
    writer: Mutex<Writer>,
    backlog: Mutex<Backlog>,
    /// Bytes that can be written before more room is made, and bytes that calls under way have been promised.
    room: AtomicU64,
    promised: AtomicU64,
    calls: AtomicU64,
    /// The disk has failed: what was written last may not last, and nothing more is begun.
    failed: AtomicBool,
    _owned: Owned,
}

/// The end that is written at.
#[derive(Debug)]
struct Writer {
    chain: Chain,
    segment: Arc<dyn Region>,
    /// The word that the next entry begins at.
    at: usize,
    /// The number of the newest segment.
    newest: u64,
    spare: Vec<Arc<dyn Region>>,
    /// Segments with entries that a loss of power could still take.
    unsynced: Vec<Arc<dyn Region>>,
    entry: Vec<u8>,
}

/// A segment's file.
fn path(folder: &str, number: u64) -> String {
    format!("{folder}/{number:08}{SEGMENT}")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    /// A new journal in a folder of this name, which nobody has used.
    ///
    /// # Errors
    /// The disk has no room for it.
    pub fn new(disk: Arc<dyn Disk>, name: &str, sizes: Sizes) -> io::Result<Self> {
        let owned = disk.own(name)?.ok_or_else(|| io::Error::other("the journal has an owner"))?;
        let slots = Arc::new(Slots::new(disk.make(&format!("{name}/{SLOTS}"), Slots::BYTES)?));
        let segment = disk.make(&path(name, 1), sizes.segment)?;
        let writer = Writer::new(segment, 1);
        let journal = Self {
            sizes,
            name: name.into(),
            room: AtomicU64::new(writer.room() as u64),
            writer: Mutex::new(writer),
            backlog: Mutex::new(Backlog::new(Read::new(name, Arc::clone(&slots), &[], None))),
            promised: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            _owned: owned,
            slots,
            disk,
        };
        journal.make_room();
        journal.adopt();
        Ok(journal)
    }

    /// Writes a call down as begun; nothing where it could not be settled for lack of room.
    ///
    /// `record` is what is left of it if nobody ever says more.
    pub fn begin(&self, record: &mut Record) -> Option<Begun> {
        if self.failed.load(Relaxed) {
            return None;
        }
        let number = self.calls.fetch_add(1, Relaxed);
        record.call = number;
        record.end = End::Interrupted;
        let text = record.text();
        // Numbers that are not known yet make the record longer.
        let promised = form::size(text.len() + bounds::RECORD_GROWTH) as u64;
        let before = self.promised.fetch_add(promised, AcqRel);
        let place =
            if before + promised <= self.room.load(Acquire) { self.slots.take(number, &text) } else { None };
        let Some(place) = place else {
            self.promised.fetch_sub(promised, AcqRel);
            return None;
        };
        Some(Begun { place, number, promised })
    }

    /// Notes how many tokens a call has cost so far.
    pub fn note(&self, begun: &Begun, usage: &Usage, source: Source) {
        self.slots.note(begun.place, usage, source);
    }

    /// Writes the call's record; from here on a kill changes nothing.
    pub fn settle(&self, begun: Begun, record: &Record) {
        let written = self.append(&record.text());
        self.promised.fetch_sub(begun.promised, AcqRel);
        // A record that found no room stays in its slot, for the next who lives.
        if written {
            self.slots.free(begun.place);
        }
    }

    /// Writes one entry; whether there was room.
    fn append(&self, text: &[u8]) -> bool {
        let mut writer = lock(&self.writer);
        let size = form::size(text.len());
        if text.len() > form::TEXT_BYTES || !writer.fits(size) {
            self.failed.store(true, Relaxed);
            return false;
        }
        writer.write(text);
        self.room.store(writer.room() as u64, Release);
        true
    }

    /// Whether new calls are written down.
    #[must_use]
    pub fn admits(&self) -> bool {
        !self.failed.load(Relaxed) && self.room.load(Acquire) >= (self.sizes.segment / 2) as u64
    }

    /// The first `limit` records that the ledger has not acknowledged, oldest first.
    #[must_use]
    pub fn records(&self, limit: usize) -> Lines {
        let written = lock(&self.writer).chain.next;
        lock(&self.backlog).read(&*self.disk, written, limit)
    }

    /// The ledger has the first `count` of the records that it was given last.
    pub fn acknowledge(&self, count: usize) {
        lock(&self.backlog).acknowledge(&*self.disk, count);
    }

    /// Sees to it that a whole segment is free behind the one that is written.
    fn make_room(&self) {
        loop {
            let (newest, spare) = {
                let writer = lock(&self.writer);
                (writer.newest, writer.spare.len())
            };
            if spare >= bounds::SPARE_SEGMENTS || self.used() + self.sizes.segment as u64 > self.sizes.quota {
                return;
            }
            // The file is made without the lock: it may take long.
            let Ok(region) = self.disk.make(&path(&self.name, newest + 1), self.sizes.segment) else {
                return;
            };
            let mut writer = lock(&self.writer);
            writer.newest = newest + 1;
            writer.spare.insert(0, region);
            self.room.store(writer.room() as u64, Release);
        }
    }

    /// The bytes of all its segments.
    fn used(&self) -> u64 {
        let names = self.disk.list(&self.name).unwrap_or_default();
        names.iter().filter(|name| name.ends_with(SEGMENT)).count() as u64 * self.sizes.segment as u64
    }
}

impl Writer {
    fn new(segment: Arc<dyn Region>, newest: u64) -> Self {
        let mut writer = Self {
            chain: Chain::default(),
            segment,
            at: 0,
            newest,
            spare: Vec::new(),
            unsynced: Vec::new(),
            entry: Vec::with_capacity(1024),
        };
        writer.begin();
        writer
    }

    /// Writes the head of the segment.
    fn begin(&mut self) {
        disk::store(self.segment.words(), 0, &journal::head(&self.chain));
        self.at = form::HEAD_BYTES / 8;
    }

    /// The bytes that are left, in this segment and the spare ones.
    fn room(&self) -> usize {
        // The last entry of a segment may not fit: then its end stays empty.
        let lost = form::size(form::TEXT_BYTES);
        let left = (self.segment.words().len().saturating_sub(self.at) * 8).saturating_sub(lost);
        let spare =
            self.spare.iter().map(|one| (one.words().len() * 8).saturating_sub(lost + form::HEAD_BYTES));
        left + spare.sum::<usize>()
    }

    fn fits(&self, size: usize) -> bool {
        (self.segment.words().len() - self.at) * 8 >= size || !self.spare.is_empty()
    }

    fn write(&mut self, text: &[u8]) {
        let size = form::size(text.len());
        if (self.segment.words().len() - self.at) * 8 < size
            && let Some(next) = self.spare.pop()
        {
            self.segment = next;
            self.begin();
        }
        journal::write(&mut self.chain, text, &mut self.entry);
        disk::store(self.segment.words(), self.at, &self.entry);
        self.at += size / 8;
        if self.unsynced.last().is_none_or(|last| !Arc::ptr_eq(last, &self.segment)) {
            self.unsynced.push(Arc::clone(&self.segment));
        }
    }
}
