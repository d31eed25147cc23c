//! The newest records, in memory that outlives the process, until they are in the log.
//!
//! Law: to write here never waits for a disk. It has two sides, written in turn; a side is written again only when all of
//! it is in the log. An entry is one when its length is there, and its length is stored last.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use crate::disk::{self, Region};

/// The words of an entry before its text: length and checksum, number.
const HEAD: usize = 2;

/// Where entries are written.
#[derive(Debug)]
pub struct Hot {
    region: Arc<dyn Region>,
    side: usize,
    /// The word of the side that the next entry begins at.
    at: usize,
    next: u64,
    /// For each side, the number behind its last entry.
    ends: [u64; 2],
    entry: Vec<u8>,
}

impl Hot {
    /// In new memory.
    #[must_use]
    pub fn new(region: Arc<dyn Region>) -> Self {
        Self { region, side: 0, at: 0, next: 0, ends: [0; 2], entry: Vec::with_capacity(1024) }
    }

    /// How many bytes an entry with a text of this length takes.
    #[must_use]
    pub fn size(length: usize) -> usize {
        (HEAD + length.div_ceil(8)) * 8
    }

    /// The bytes that can be written while the log has all entries below `logged`, if none is larger than `largest`.
    #[must_use]
    pub fn room(&self, logged: u64, largest: usize) -> usize {
        let side = half(&*self.region) * 8;
        let here = side.saturating_sub(self.at * 8 + largest);
        let other = if self.is_free(1 - self.side, logged) { side.saturating_sub(largest) } else { 0 };
        here + other
    }

    /// Writes one entry; its number, or nothing where there is no room.
    pub fn write(&mut self, text: &[u8], logged: u64) -> Option<u64> {
        let size = Self::size(text.len()) / 8;
        let half = half(&*self.region);
        // One word more: the next length must be known to be missing.
        if self.at + size >= half {
            if !self.is_free(1 - self.side, logged) || size >= half {
                return None;
            }
            (self.side, self.at) = (1 - self.side, 0);
        }
        self.entry.clear();
        self.entry.extend_from_slice(&u32::try_from(text.len()).unwrap_or_default().to_le_bytes());
        self.entry.extend_from_slice(&[0; 4]);
        self.entry.extend_from_slice(&self.next.to_le_bytes());
        self.entry.extend_from_slice(text);
        let sum = crc32c::crc32c(self.entry.get(8..).unwrap_or_default());
        if let Some(place) = self.entry.get_mut(4..8) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
        let words = self.region.words();
        let begin = self.side * half + self.at;
        if let Some(behind) = words.get(begin + size) {
            behind.store(0, Release);
        }
        disk::store(words, begin, &self.entry);
        self.at += size;
        let number = self.next;
        self.next += 1;
        if let Some(end) = self.ends.get_mut(self.side) {
            *end = self.next;
        }
        Some(number)
    }

    fn is_free(&self, side: usize, logged: u64) -> bool {
        self.ends.get(side).is_some_and(|end| *end <= logged)
    }
}

/// The words of a side.
fn half(region: &dyn Region) -> usize {
    region.words().len() / 2
}

/// Follows what is written, entry by entry.
#[derive(Debug)]
pub struct Follower {
    region: Arc<dyn Region>,
    side: usize,
    at: usize,
    next: u64,
}

impl Follower {
    /// From the first entry on.
    #[must_use]
    pub fn new(region: Arc<dyn Region>) -> Self {
        Self { region, side: 0, at: 0, next: 0 }
    }

    /// What a dead one wrote, from the entry of this number on: it stands on either side, or nowhere.
    #[must_use]
    pub fn of_dead(region: Arc<dyn Region>, next: u64) -> Self {
        for side in 0..2 {
            let mut at = 0;
            while let Some((number, _, size)) = entry(&*region, side, at) {
                if number == next {
                    return Self { region, side, at, next };
                }
                at += size;
            }
        }
        Self { region, side: 0, at: 0, next }
    }

    /// The number of the next entry.
    #[must_use]
    pub fn stands(&self) -> u64 {
        self.next
    }

    /// Goes on behind an entry of a dead one that is not as it was written; false where nothing stands.
    pub fn skip_damage(&mut self) -> bool {
        let half = half(&*self.region);
        let begin = self.side * half;
        let written = self.region.words().get(begin + self.at).is_some_and(|word| word.load(Acquire) != 0);
        if !written || self.at >= half || entry(&*self.region, self.side, self.at).is_some() {
            return false;
        }
        let newer =
            |at: &usize| entry(&*self.region, self.side, *at).is_some_and(|(number, ..)| number > self.next);
        match (self.at + 1..half).find(newer) {
            Some(at) => {
                let number = entry(&*self.region, self.side, at).map_or(self.next, |(number, ..)| number);
                (self.at, self.next) = (at, number);
            }
            // The rest of this side is unreadable, or was never written.
            None => (self.side, self.at, self.next) = (1 - self.side, 0, self.next + 1),
        }
        true
    }
}

impl Iterator for Follower {
    type Item = Vec<u8>;

    /// The text of the next entry; nothing while it has not been written.
    fn next(&mut self) -> Option<Vec<u8>> {
        for (side, at) in [(self.side, self.at), (1 - self.side, 0)] {
            if let Some((number, text, size)) = entry(&*self.region, side, at)
                && number == self.next
            {
                (self.side, self.at, self.next) = (side, at + size, number + 1);
                return Some(text);
            }
        }
        None
    }
}

/// The entry at a place: number, text, words.
fn entry(region: &dyn Region, side: usize, at: usize) -> Option<(u64, Vec<u8>, usize)> {
    let half = half(region);
    let begin = side * half + at;
    let words = region.words().get(begin..(side + 1) * half)?;
    let first = words.first()?.load(Acquire);
    let length = usize::try_from(first & u64::from(u32::MAX)).ok()?;
    let size = Hot::size(length) / 8;
    if length == 0 || size > words.len() {
        return None;
    }
    let number = words.get(1)?.load(Acquire);
    let mut text = disk::load(words, HEAD, size - HEAD);
    text.truncate(length);
    let sum = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &text);
    (first >> 32 == u64::from(sum)).then_some((number, text, size))
}
