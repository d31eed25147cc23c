//! What the ledger has not acknowledged yet: this journal's entries, and those that dead ones have left.
//!
//! Law: what is handed out is handed out again until it is acknowledged; only then may its segment go. Damage is told
//! and counted, and what stands behind it is read.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use levada_core::journal::{self as form, Chain, Reader};

use super::slots::Slots;
use super::{SEGMENT, path};
use crate::disk::{self, Disk, Owned, Region};

/// A place in a journal: everything before it has been read.
#[derive(Debug, Clone, Default)]
struct Place {
    segment: u64,
    region: Option<Arc<dyn Region>>,
    /// The byte of the segment; zero before its head.
    at: usize,
    chain: Chain,
}

/// One journal that is read.
pub struct Source {
    name: Box<str>,
    slots: Arc<Slots>,
    place: Place,
    /// It is a dead one's: it goes once all of it is acknowledged.
    owned: Option<Owned>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("name", &self.name).field("place", &self.place).finish_non_exhaustive()
    }
}

/// Lines for the ledger.
#[derive(Debug, Default)]
pub struct Lines {
    /// One JSON object a line.
    pub text: Vec<u8>,
    /// How many there are.
    pub count: usize,
    /// What could not be read.
    pub damages: Vec<String>,
}

/// All that is to be read, the dead before the living.
#[derive(Debug)]
pub struct Backlog {
    sources: Vec<Source>,
    /// Of the lines handed out last: whose they are, and where each ends.
    handed: Vec<(Box<str>, Place)>,
}

impl Source {
    /// The journal of this name, from its first segment that is there.
    pub fn new(name: &str, slots: Arc<Slots>, segments: &[String], owned: Option<Owned>) -> Self {
        let first = segments.iter().find_map(|one| one.strip_suffix(SEGMENT)?.parse().ok()).unwrap_or(1);
        let place = Place { segment: first, ..Place::default() };
        Self { name: name.into(), slots, place, owned }
    }
}

impl Backlog {
    /// Of one living journal.
    pub fn new(living: Source) -> Self {
        Self { sources: vec![living], handed: Vec::new() }
    }

    /// Takes over what a dead one has left.
    pub fn adopt(&mut self, dead: Source) {
        let last = self.sources.len().saturating_sub(1);
        self.sources.insert(last, dead);
    }

    /// The first `limit` lines that are not acknowledged, from the oldest on; of the living one those below `written`.
    pub fn read(&mut self, disk: &dyn Disk, written: u64, limit: usize) -> Lines {
        let mut lines = Lines::default();
        self.handed.clear();
        for source in &mut self.sources {
            let below = if source.owned.is_none() { written } else { u64::MAX };
            let mut walk = Walk { disk, name: &source.name, place: source.place.clone(), below };
            let acknowledged = source.slots.acknowledged().map_or(0, |word| word.load(Relaxed));
            while lines.count < limit {
                match walk.next() {
                    None => break,
                    Some(Err(damage)) => lines.damages.push(damage),
                    Some(Ok((number, _))) if number < acknowledged => source.place = walk.place.clone(),
                    Some(Ok((_, text))) => {
                        lines.add(&source.name, &text);
                        self.handed.push((source.name.clone(), walk.place.clone()));
                    }
                }
            }
        }
        lines
    }

    /// The ledger has the first `count` lines of those handed out last.
    pub fn acknowledge(&mut self, disk: &dyn Disk, count: usize) {
        for (name, place) in self.handed.drain(..).take(count) {
            let Some(source) = self.sources.iter_mut().find(|source| source.name == name) else { continue };
            if let Some(word) = source.slots.acknowledged() {
                word.store(place.chain.next, Relaxed);
            }
            // Nobody needs what stands before: the segment that is left behind goes.
            for segment in source.place.segment..place.segment {
                let _ = disk.remove(&path(&source.name, segment));
            }
            source.place = place;
        }
        self.handed.clear();
    }

    /// Removes the dead ones of which nothing is left; how many there still are.
    pub fn bury(&mut self, disk: &dyn Disk) -> usize {
        let mut kept = Vec::with_capacity(self.sources.len());
        for mut source in self.sources.drain(..) {
            let mut walk = Walk { disk, name: &source.name, place: source.place.clone(), below: u64::MAX };
            let done = source.owned.is_some() && walk.next().is_none() && source.slots.left().is_empty();
            match source.owned.take() {
                Some(owned) if done => {
                    let _ = bury(disk, &source.name, owned);
                }
                owned => {
                    source.owned = owned;
                    kept.push(source);
                }
            }
        }
        self.sources = kept;
        self.sources.len() - 1
    }
}

/// Removes a folder with all that is in it.
fn bury(disk: &dyn Disk, name: &str, owned: Owned) -> io::Result<()> {
    for file in disk.list(name)? {
        disk.remove(&format!("{name}/{file}"))?;
    }
    disk.disown(name, owned)
}

impl Lines {
    fn add(&mut self, journal: &str, text: &[u8]) {
        self.count += 1;
        self.text.extend_from_slice(b"{\"journal\":\"");
        self.text.extend_from_slice(journal.as_bytes());
        self.text.extend_from_slice(b"\",");
        self.text.extend_from_slice(text.get(1..).unwrap_or_default());
        self.text.push(b'\n');
    }
}

/// Goes through a journal, from segment to segment.
pub struct Walk<'a> {
    disk: &'a dyn Disk,
    name: &'a str,
    place: Place,
    below: u64,
}

impl<'a> Walk<'a> {
    /// All of a dead journal.
    pub fn all(disk: &'a dyn Disk, source: &'a Source) -> Self {
        Self { disk, name: &source.name, place: source.place.clone(), below: u64::MAX }
    }

    /// The region of the place, and the place behind its head; nothing where no segment has begun there.
    fn enter(&mut self) -> Option<Result<Arc<dyn Region>, String>> {
        if let Some(region) = &self.place.region {
            return Some(Ok(Arc::clone(region)));
        }
        let region = self.disk.open(&path(self.name, self.place.segment)).ok()?;
        let head = disk::load(region.words(), 0, form::HEAD_BYTES / 8);
        if head.iter().all(|byte| *byte == 0) {
            return None;
        }
        let told = form::begun(&head);
        let first = self.place.at == 0 && self.place.chain == Chain::default();
        let before = self.place.chain;
        self.place.region = Some(Arc::clone(&region));
        self.place.at = form::HEAD_BYTES;
        match told {
            Ok(chain) => {
                self.place.chain = chain;
                if first || before.loose || chain == before {
                    Some(Ok(region))
                } else {
                    Some(Err(self.damage("the segment does not go on where the one before ended")))
                }
            }
            Err(damage) => Some(Err(self.damage(damage.what))),
        }
    }

    fn damage(&self, what: &str) -> String {
        format!("{}: at byte {}: {what}", path(self.name, self.place.segment), self.place.at)
    }
}

impl Iterator for Walk<'_> {
    /// An entry's number and text, or what is wrong and where.
    type Item = Result<(u64, Vec<u8>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let region = match self.enter()? {
                Ok(region) => region,
                Err(damage) => return Some(Err(damage)),
            };
            if self.place.chain.next >= self.below {
                return None;
            }
            // A chunk is long enough for any entry; what is cut off at its end is read with the next.
            let words = region.words();
            let bytes = disk::load(words, self.place.at / 8, form::size(form::TEXT_BYTES) / 8);
            let mut reader = Reader::new(&bytes, 0, self.place.chain);
            match reader.next() {
                Some(Ok(entry)) => {
                    let found = (entry.number, entry.text.to_vec());
                    self.place.at += reader.at();
                    self.place.chain = reader.stands();
                    return Some(Ok(found));
                }
                Some(Err(damage)) => {
                    let told = self.damage(damage.what);
                    self.place.at += reader.at();
                    self.place.chain = reader.stands();
                    return Some(Err(told));
                }
                None => {
                    let mut next = self.place.clone();
                    next.segment += 1;
                    next.region = None;
                    let here = std::mem::replace(&mut self.place, next);
                    match self.enter() {
                        Some(Ok(_)) => {}
                        Some(Err(damage)) => return Some(Err(damage)),
                        None => {
                            self.place = here;
                            return None;
                        }
                    }
                }
            }
        }
    }
}
