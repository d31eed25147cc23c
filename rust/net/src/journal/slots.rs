//! The calls that are under way, where a dead process has left them: each has a slot with its record so far.
//!
//! Law: a slot is taken at admission and freed when its record is in the journal, so that whoever finds one taken
//! knows a call that nobody has settled. Numbers in it only grow; a torn one is an older one.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, PoisonError};

use levada_core::bounds;
use levada_core::usage::{Source, Usage};

use crate::disk::{self, Region};

/// The words of a slot.
const WORDS: usize = bounds::SLOT_BYTES / 8;
/// Its call's number, one more than it is; zero while the slot is free.
const NUMBER: usize = 0;
/// The counts of tokens.
const COUNTS: usize = 1;
const COUNTED: usize = 5;
/// How they are known.
const SOURCE: usize = COUNTS + COUNTED;
/// How many bytes the record has; it stands behind.
const LENGTH: usize = SOURCE + 1;
const TEXT: usize = LENGTH + 1;
/// The longest record that a slot holds.
pub const TEXT_BYTES: usize = bounds::SLOT_BYTES - TEXT * 8;

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
    /// How many bytes their file has: one slot more, for what the journal itself has to remember.
    pub const BYTES: usize = (bounds::OPEN_CALLS + 1) * bounds::SLOT_BYTES;

    /// The slots in `region`; those that are taken stay so.
    #[must_use]
    pub fn new(region: Arc<dyn Region>) -> Self {
        let count = region.words().len() / WORDS;
        let taken =
            |place: &usize| Self::slot(&*region, *place, NUMBER).is_none_or(|word| word.load(Acquire) != 0);
        // The lowest are used first, and again: what is never used costs no memory.
        let free = (1..count).rev().filter(|place| !taken(place)).collect();
        Self { region, free: Mutex::new(free) }
    }

    /// The word that remembers which entries the ledger has.
    #[must_use]
    pub fn acknowledged(&self) -> Option<&AtomicU64> {
        self.region.words().first()
    }

    fn slot(region: &dyn Region, place: usize, word: usize) -> Option<&AtomicU64> {
        region.words().get(place * WORDS + word)
    }

    /// Takes a slot for the call of this number; nothing where all are taken or the record is too long.
    pub fn take(&self, number: u64, text: &[u8]) -> Option<usize> {
        if text.len() > TEXT_BYTES {
            return None;
        }
        let place = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        let words = self.region.words();
        let first = place * WORDS;
        for word in words.iter().skip(first + COUNTS).take(COUNTED + 1) {
            word.store(0, Relaxed);
        }
        disk::store(words, first + TEXT, text);
        Self::slot(&*self.region, place, LENGTH)?.store(text.len() as u64, Relaxed);
        Self::slot(&*self.region, place, NUMBER)?.store(number + 1, Release);
        Some(place)
    }

    /// Notes how many tokens the call has cost so far.
    pub fn note(&self, place: usize, usage: &Usage, source: Source) {
        let counts = [usage.prompt, usage.completion, usage.cached, usage.created, usage.reasoning];
        let words = self.region.words().iter().skip(place * WORDS + COUNTS);
        for (word, count) in words.zip(counts.into_iter().chain([source as u64])) {
            word.store(count, Relaxed);
        }
    }

    /// Frees a slot whose record is in the journal.
    pub fn free(&self, place: usize) {
        if let Some(word) = Self::slot(&*self.region, place, NUMBER) {
            word.store(0, Release);
        }
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(place);
    }

    /// The calls in taken slots.
    #[must_use]
    pub fn left(&self) -> Vec<Left> {
        let words = self.region.words();
        let of = |place: usize| {
            let word = |at: usize| Self::slot(&*self.region, place, at).map_or(0, |word| word.load(Acquire));
            let number = word(NUMBER).checked_sub(1)?;
            let length = usize::try_from(word(LENGTH)).ok()?.min(TEXT_BYTES);
            let mut text = disk::load(words, place * WORDS + TEXT, length.div_ceil(8));
            text.truncate(length);
            let usage = Usage {
                prompt: word(COUNTS),
                completion: word(COUNTS + 1),
                cached: word(COUNTS + 2),
                created: word(COUNTS + 3),
                reasoning: word(COUNTS + 4),
                ..Usage::default()
            };
            let source = Source::ALL.into_iter().find(|one| *one as u64 == word(SOURCE)).unwrap_or_default();
            Some(Left { place, number, text, usage, source })
        };
        (1..words.len() / WORDS).filter_map(of).collect()
    }
}
