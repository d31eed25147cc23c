//! The calls that are under way, where a dead process has left them: each has a slot with its record so far.
//!
//! Law: a slot is taken at admission and freed when its record is written, so that whoever finds one taken knows a call
//! that nobody has settled. Numbers in it only grow; a torn one is an older one.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, PoisonError};

use levada_core::usage::{Source, Usage};
use levada_core::{bounds, planted};

use crate::disk::{self, Region};

/// The word that remembers which entries the ledger has.
const ACKNOWLEDGED: usize = 0;
/// The slots' calls, one word each: a call's number and one, or zero while its slot is free. They lie together, so that
/// to look for open calls is to look at few pages.
const CALLS: usize = 8;
/// The slots behind them.
const SLOTS: usize = CALLS + bounds::OPEN_CALLS;
const WORDS: usize = bounds::SLOT_BYTES / 8;
/// In a slot: the counts of tokens, how they are known, how many bytes the record has, the record.
const COUNTS: usize = 5;
const SOURCE: usize = COUNTS;
const LENGTH: usize = SOURCE + 1;
const TEXT: usize = LENGTH + 1;
/// The longest record that a slot holds.
const TEXT_BYTES: usize = bounds::SLOT_BYTES - TEXT * 8;

/// A call found in a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The slot's place.
    pub place: usize,
    /// The call's number in its journal.
    pub number: u64,
    /// Its record so far.
    pub text: Vec<u8>,
    /// Its tokens so far.
    pub usage: Usage,
    /// How they are known.
    pub source: Source,
}

/// The slots of one journal.
#[derive(Debug)]
pub struct Slots {
    region: Arc<dyn Region>,
    free: Mutex<Vec<usize>>,
}

impl Slots {
    /// Where the calls begin; what stands before them outlives them.
    pub const CALLS_AT: usize = CALLS * 8;
    /// How many bytes their file has.
    pub const BYTES: usize = (SLOTS + bounds::OPEN_CALLS * WORDS) * 8;

    /// The slots in `region`; those that are taken stay so.
    #[must_use]
    pub fn new(region: Arc<dyn Region>) -> Self {
        let slots = Self { region, free: Mutex::default() };
        // The lowest are used first, and again: what is never used costs no memory.
        let free = (0..bounds::OPEN_CALLS).rev().filter(|place| slots.word(CALLS + place) == 0).collect();
        Self { free: Mutex::new(free), ..slots }
    }

    /// The entries below this number are the ledger's.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.word(ACKNOWLEDGED)
    }

    /// The ledger has the entries below this number.
    pub fn acknowledge(&self, number: u64) {
        self.put(ACKNOWLEDGED, number);
    }

    fn word(&self, at: usize) -> u64 {
        self.region.words().get(at).map_or(0, |word| word.load(Acquire))
    }

    fn put(&self, at: usize, value: u64) {
        if let Some(word) = self.region.words().get(at) {
            word.store(value, Release);
        }
    }

    /// Takes a slot for the call of this number; nothing where all are taken or the record is too long.
    pub fn take(&self, number: u64, text: &[u8]) -> Option<usize> {
        if text.len() > TEXT_BYTES {
            return None;
        }
        let place = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        let slot = SLOTS + place * WORDS;
        self.note(place, &Usage::default(), Source::default());
        self.put(slot + LENGTH, text.len() as u64);
        disk::store(self.region.words(), slot + TEXT, text);
        self.put(CALLS + place, if planted::is("slot_freed_early") { 0 } else { number + 1 });
        Some(place)
    }

    /// Notes how many tokens the call has cost so far.
    pub fn note(&self, place: usize, usage: &Usage, source: Source) {
        let counts = [usage.prompt, usage.completion, usage.cached, usage.created, usage.reasoning];
        let words = self.region.words().iter().skip(SLOTS + place * WORDS);
        for (word, count) in words.zip(counts.into_iter().chain([source as u64])) {
            word.store(count, Relaxed);
        }
    }

    /// Frees a slot whose record is written.
    pub fn free(&self, place: usize) {
        self.put(CALLS + place, 0);
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(place);
    }

    /// The calls in taken slots.
    #[must_use]
    pub fn left(&self) -> Vec<Left> {
        let of = |place: usize| {
            let number = self.word(CALLS + place).checked_sub(1)?;
            let slot = SLOTS + place * WORDS;
            let length = usize::try_from(self.word(slot + LENGTH)).ok()?.min(TEXT_BYTES);
            let mut text = disk::load(self.region.words(), slot + TEXT, length.div_ceil(8));
            text.truncate(length);
            let [prompt, completion, cached, created, reasoning] =
                std::array::from_fn(|count| self.word(slot + count));
            let usage = Usage { prompt, completion, cached, created, reasoning, ..Usage::default() };
            let source = Source::ALL.into_iter().find(|one| *one as u64 == self.word(slot + SOURCE));
            Some(Left { place, number, text, usage, source: source.unwrap_or_default() })
        };
        (0..bounds::OPEN_CALLS).filter_map(of).collect()
    }
}
