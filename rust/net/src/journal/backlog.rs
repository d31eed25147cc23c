//! What the ledger has not acknowledged yet: this journal's entries, and those that dead ones have left.
//!
//! Law: what is handed out is handed out again until it is acknowledged; only then may its segment go. Damage is told,
//! and what stands behind it is read.

use std::io;
use std::sync::Arc;

use levada_core::journal::{self as form, Chain, Reader};

use super::slots::Slots;
use super::{path, segments};
use crate::disk::{Disk, File, Owned};

/// How many bytes of a segment are read at once: any entry fits.
const CHUNK: usize = 256 * 1024;

/// A place in a journal: everything before it has been read.
#[derive(Debug, Clone, Copy)]
struct Place {
    segment: u64,
    /// The byte of the segment; zero before its head.
    at: usize,
    chain: Chain,
}

impl Place {
    /// Before all that is there of a journal.
    fn first(disk: &dyn Disk, name: &str) -> Self {
        let all = segments(disk, name).unwrap_or_default();
        Self { segment: all.first().copied().unwrap_or(1), at: 0, chain: Chain::default() }
    }
}

/// One journal that is read.
pub struct Source {
    name: Box<str>,
    slots: Arc<Slots>,
    /// Everything before it is acknowledged; nothing before anything was.
    place: Option<Place>,
    /// It is a dead one's: it goes once all of it is acknowledged.
    owned: Option<Owned>,
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
    /// What could not be taken over.
    damages: Vec<String>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("name", &self.name).field("place", &self.place).finish_non_exhaustive()
    }
}

impl Source {
    /// The journal of this worker.
    pub fn living(name: &str, slots: Arc<Slots>) -> Self {
        Self { name: name.into(), slots, place: None, owned: None }
    }

    /// One whose owner is gone.
    pub fn dead(name: &str, slots: Arc<Slots>, owned: Owned) -> Self {
        Self { name: name.into(), slots, place: None, owned: Some(owned) }
    }

    /// Its slots were mapped anew.
    pub fn remap(&mut self, slots: Arc<Slots>) {
        self.slots = slots;
    }

    /// Where it is read from.
    fn place(&self, disk: &dyn Disk) -> Place {
        self.place.unwrap_or_else(|| Place::first(disk, &self.name))
    }

    /// Whether nothing is left of a dead one.
    fn is_done(&self, disk: &dyn Disk) -> bool {
        let acknowledged = self.slots.acknowledged();
        let open = |entry: Result<(u64, Vec<u8>), String>| !matches!(entry, Ok((number, _)) if number < acknowledged);
        self.owned.is_some() && !Walk::all(disk, self).any(open) && self.slots.left().is_empty()
    }
}

impl Backlog {
    /// Of one living journal.
    pub fn new(living: Source) -> Self {
        Self { sources: vec![living], handed: Vec::new(), damages: Vec::new() }
    }

    /// Takes over what a dead one has left.
    pub fn adopt(&mut self, dead: Source) {
        let last = self.sources.len().saturating_sub(1);
        self.sources.insert(last, dead);
    }

    /// Notes something that nobody can read.
    pub fn damaged(&mut self, what: String) {
        if !self.damages.contains(&what) {
            self.damages.push(what);
        }
    }

    /// The first `limit` lines that are not acknowledged, from the oldest on; of the living one those below `logged`.
    pub fn read(&mut self, disk: &dyn Disk, logged: u64, limit: usize) -> Lines {
        let mut lines = Lines { damages: self.damages.clone(), ..Lines::default() };
        self.handed.clear();
        for source in &self.sources {
            let below = if source.owned.is_none() { logged } else { u64::MAX };
            // All of it is acknowledged: the disk is left alone.
            if source.place.is_some_and(|place| place.chain.next >= below) {
                continue;
            }
            let mut walk = Walk::new(disk, source, below);
            let acknowledged = source.slots.acknowledged();
            while lines.count < limit {
                match walk.next() {
                    None => break,
                    Some(Err(damage)) => lines.damages.push(damage),
                    Some(Ok((number, _))) if number < acknowledged => {}
                    Some(Ok((_, text))) => {
                        lines.add(&source.name, &text);
                        self.handed.push((source.name.clone(), walk.place));
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
            source.slots.acknowledge(place.chain.next);
            // Nobody needs what stands before: the segment that is left behind goes.
            for segment in source.place(disk).segment..place.segment {
                let _ = disk.remove(&path(&source.name, segment));
            }
            source.place = Some(place);
        }
        self.handed.clear();
    }

    /// Removes the dead ones of which nothing is left.
    pub fn bury(&mut self, disk: &dyn Disk) {
        let (done, kept) = self.sources.drain(..).partition(|source| source.is_done(disk));
        self.sources = kept;
        for source in done {
            if let Source { name, owned: Some(owned), .. } = source {
                let _ = bury(disk, &name, owned);
            }
        }
    }
}

/// Removes a folder with all that is in it.
pub fn bury(disk: &dyn Disk, name: &str, owned: Owned) -> io::Result<()> {
    clear(disk, name)?;
    disk.disown(name, owned)
}

/// Removes all that is in a folder: its log first, for a folder without one is nobody's.
pub fn clear(disk: &dyn Disk, name: &str) -> io::Result<()> {
    disk.list(name)?.iter().try_for_each(|file| disk.remove(&format!("{name}/{file}")))
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

/// Goes through a journal's log, from segment to segment.
pub struct Walk<'a> {
    disk: &'a dyn Disk,
    name: &'a str,
    place: Place,
    below: u64,
    file: Option<Arc<dyn File>>,
    /// What was read of the file, and where it begins.
    bytes: Vec<u8>,
    begin: usize,
}

impl<'a> Walk<'a> {
    /// All of a dead journal that is not acknowledged.
    pub fn all(disk: &'a dyn Disk, source: &'a Source) -> Self {
        Self::new(disk, source, u64::MAX)
    }

    /// All that is there of a journal.
    pub fn whole(disk: &'a dyn Disk, name: &'a str) -> Self {
        Self::from(disk, name, Place::first(disk, name), u64::MAX)
    }

    fn new(disk: &'a dyn Disk, source: &'a Source, below: u64) -> Self {
        Self::from(disk, &source.name, source.place(disk), below)
    }

    fn from(disk: &'a dyn Disk, name: &'a str, place: Place, below: u64) -> Self {
        Self { disk, name, place, below, file: None, bytes: Vec::new(), begin: 0 }
    }

    /// Opens the segment of the place and reads its head; false where none has begun there.
    fn enter(&mut self) -> Result<bool, String> {
        let Ok(file) = self.disk.open(&path(self.name, self.place.segment)) else { return Ok(false) };
        if self.place.at > 0 {
            self.file = Some(file);
            return Ok(true);
        }
        let head = file.read(0, form::HEAD_BYTES).unwrap_or_default();
        if head.iter().all(|byte| *byte == 0) {
            return Ok(false);
        }
        self.file = Some(file);
        let before = self.place.chain;
        self.place.at = form::HEAD_BYTES;
        self.place.chain.loose = true;
        let told = form::begun(&head).map_err(|damage| self.damage(damage.what))?;
        self.place.chain = told;
        if before == Chain::default() || before.loose || told == before {
            Ok(true)
        } else {
            Err(self.damage("the segment does not go on where the one before ended"))
        }
    }

    /// Reads on where what was read may not hold the whole next entry.
    fn fill(&mut self) {
        let end = self.begin + self.bytes.len();
        let begun = (self.begin..=end).contains(&self.place.at);
        if let Some(file) = &self.file
            && (!begun || end - self.place.at < form::size(form::TEXT_BYTES))
        {
            self.begin = self.place.at;
            self.bytes = file.read(self.begin, CHUNK).unwrap_or_default();
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
            if self.file.is_none() {
                match self.enter() {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(damage) => return Some(Err(damage)),
                }
            }
            if self.place.chain.next >= self.below {
                return None;
            }
            self.fill();
            let mut reader = Reader::new(&self.bytes, self.place.at - self.begin, self.place.chain);
            let found = reader.next();
            let (at, chain) = (self.begin + reader.at(), reader.stands());
            let told = match found {
                Some(Ok(entry)) => Ok((entry.number, entry.text.to_vec())),
                Some(Err(damage)) => Err(self.damage(damage.what)),
                None => {
                    // It may go on in the next segment; if that has not begun, it is waited for here.
                    let here = (self.place, self.file.take());
                    self.place.segment += 1;
                    self.place.at = 0;
                    match self.enter() {
                        Ok(true) => {
                            (self.bytes, self.begin) = (Vec::new(), 0);
                            continue;
                        }
                        Ok(false) => {
                            (self.place, self.file) = here;
                            return None;
                        }
                        Err(damage) => {
                            (self.bytes, self.begin) = (Vec::new(), 0);
                            return Some(Err(damage));
                        }
                    }
                }
            };
            (self.place.at, self.place.chain) = (at, chain);
            return Some(told);
        }
    }
}
