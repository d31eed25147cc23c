//! A process's seat at the table: what it has reserved, and what it is about to change.
//!
//! Law: whoever is killed leaves both behind. Half a change is undone, for every word is noted before it is changed; and
//! what was reserved for calls that nobody will settle stays counted, but holds no place any more.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use levada_core::bounds;
use levada_core::limit::Amounts;

use crate::disk::{Disk, Owned, Region};

/// How many words are noted, and the notes: where, and what stood there.
const NOTED: usize = 0;
const NOTES: usize = 1;
/// A call has up to so many cells, of each of which all slices may change.
pub const MOST_NOTES: usize = 4096;
/// Which rows are taken. They lie together, so that to look for them is to look at few pages.
const TAKEN: usize = NOTES + 2 * MOST_NOTES;
/// The rows of what is reserved: when, the amounts, how many cells, and the cells.
const ROWS: usize = TAKEN + bounds::OPEN_CALLS;
const AT: usize = 0;
const AMOUNTS: usize = 1;
const COUNT: usize = 4;
const CELLS: usize = 5;
const ROW_WORDS: usize = CELLS + bounds::CALL_RULES;
const BYTES: usize = (ROWS + bounds::OPEN_CALLS * ROW_WORDS) * 8;

/// A seat that this process has.
#[derive(Debug)]
pub struct Seat {
    /// Its number, from 0 on.
    pub number: usize,
    /// Its words.
    pub region: Arc<dyn Region>,
    _owned: Owned,
}

/// What was reserved for one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// When.
    pub at_ms: u64,
    /// How much.
    pub amounts: Amounts,
    /// Of how many cells.
    pub count: usize,
}

/// The folder of a seat.
pub fn folder(number: usize) -> String {
    format!("seat-{number:02}")
}

fn path(number: usize) -> String {
    format!("{}/open", folder(number))
}

impl Seat {
    /// The lowest seat that nobody who lives has.
    ///
    /// # Errors
    /// All are taken, or the disk has no room.
    pub fn take(disk: &dyn Disk) -> io::Result<Self> {
        for number in 0..bounds::SEATS {
            let Some(owned) = disk.own(&folder(number))? else { continue };
            let region = words(disk, number).or_else(|| {
                let _ = disk.remove(&path(number)); // one that was never finished
                disk.map(&path(number), BYTES).ok()
            });
            let region = region.ok_or_else(|| io::Error::other("there is no room for open calls"))?;
            return Ok(Self { number, region, _owned: owned });
        }
        Err(io::Error::other("too many processes share the limits of this data folder"))
    }

    /// The rows that are free, the lowest last.
    pub fn free(&self) -> Vec<usize> {
        (0..bounds::OPEN_CALLS).rev().filter(|row| get(self.region.words(), taken(*row)) == 0).collect()
    }
}

/// The words of a seat, if there are any.
pub fn words(disk: &dyn Disk, number: usize) -> Option<Arc<dyn Region>> {
    disk.mapped(&path(number)).ok().filter(|region| region.words().len() * 8 == BYTES)
}

fn get(words: &[AtomicU64], at: usize) -> u64 {
    words.get(at).map_or(0, |word| word.load(Relaxed))
}

/// Stores are seen in their order, also by who looks after a kill.
pub fn put(words: &[AtomicU64], at: usize, value: u64) {
    if let Some(word) = words.get(at) {
        word.store(value, Release);
    }
}

/// The place of the word that says whether a row is taken.
pub fn taken(row: usize) -> usize {
    TAKEN + row
}

fn base(row: usize) -> usize {
    ROWS + row * ROW_WORDS
}

/// Notes that the word at `address` was `before`, as the `noted`th of a change.
pub fn note(words: &[AtomicU64], noted: usize, address: u64, before: u64) {
    if noted < MOST_NOTES {
        put(words, NOTES + 2 * noted, address);
        put(words, NOTES + 2 * noted + 1, before);
        put(words, NOTED, noted as u64 + 1);
    }
}

/// The change is whole.
pub fn forget(words: &[AtomicU64]) {
    put(words, NOTED, 0);
}

/// What is noted of a change that was never finished, the last first.
pub fn noted(words: &[AtomicU64]) -> impl Iterator<Item = (u64, u64)> {
    let count = words.get(NOTED).map_or(0, |word| word.load(Acquire));
    let count = usize::try_from(count).unwrap_or_default().min(MOST_NOTES);
    (0..count).rev().map(|one| (get(words, NOTES + 2 * one), get(words, NOTES + 2 * one + 1)))
}

/// Writes what a free row is to say once it is taken.
pub fn write(
    words: &[AtomicU64],
    row: usize,
    at_ms: u64,
    amounts: &Amounts,
    cells: impl Iterator<Item = u64>,
) {
    let base = base(row);
    put(words, base + AT, at_ms);
    for (at, amount) in [amounts.input, amounts.output, amounts.cost].into_iter().enumerate() {
        put(words, base + AMOUNTS + at, amount);
    }
    let mut count = 0;
    for cell in cells.take(bounds::CALL_RULES) {
        put(words, base + CELLS + count, cell);
        count += 1;
    }
    put(words, base + COUNT, count as u64);
}

/// What a row says.
pub fn read(words: &[AtomicU64], row: usize) -> Row {
    let base = base(row);
    let [input, output, cost] = std::array::from_fn(|at| get(words, base + AMOUNTS + at));
    let count = usize::try_from(get(words, base + COUNT)).unwrap_or_default().min(bounds::CALL_RULES);
    Row { at_ms: get(words, base + AT), amounts: Amounts { input, output, cost }, count }
}

/// One of a row's cells: its place above, a part of its tag below.
pub fn cell(words: &[AtomicU64], row: usize, at: usize) -> u64 {
    get(words, base(row) + CELLS + at)
}

/// The rows that are taken.
pub fn open(words: &[AtomicU64]) -> impl Iterator<Item = usize> {
    (0..bounds::OPEN_CALLS).filter(|row| get(words, taken(*row)) != 0)
}

/// Forgets everything: nobody can be under way.
pub fn clear(words: &[AtomicU64]) {
    forget(words);
    (0..bounds::OPEN_CALLS).for_each(|row| put(words, taken(row), 0));
}
