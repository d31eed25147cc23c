//! The log: what was hot, in files that outlive a loss of power.
//!
//! Law: written by one hand, the keeper's or an heir's. What is committed is flushed; what could not be is never told to
//! be. A segment's room is all there before its first entry is written.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use levada_core::journal::{self as form, Chain, Reader};

use super::{SEGMENT, Terms, path, segments};
use crate::disk::{Disk, File};

/// Segments that are ready before they are needed.
const SPARE: usize = 2;

/// The end of a journal's log.
#[derive(Debug)]
pub struct Log {
    disk: Arc<dyn Disk>,
    folder: Box<str>,
    terms: Terms,
    chain: Chain,
    segment: Arc<dyn File>,
    /// The byte that the next entry is written at.
    at: usize,
    /// The number of the newest segment there is.
    newest: u64,
    spare: VecDeque<Arc<dyn File>>,
    /// Entries that are not written yet.
    pending: Vec<u8>,
    entry: Vec<u8>,
}

impl Log {
    /// A new log with one segment.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn new(disk: Arc<dyn Disk>, folder: &str, terms: Terms) -> io::Result<Self> {
        let segment = disk.make(&path(folder, 1), terms.segment)?;
        let mut log = Self {
            disk,
            folder: folder.into(),
            terms,
            chain: Chain::default(),
            segment,
            at: 0,
            newest: 1,
            spare: VecDeque::new(),
            pending: Vec::new(),
            entry: Vec::new(),
        };
        log.begin();
        log.commit()?;
        Ok(log)
    }

    /// The log of a dead worker, to be written on.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of_dead(disk: Arc<dyn Disk>, folder: &str, terms: Terms) -> io::Result<Self> {
        let (number, segment) = begun(&*disk, folder)?.ok_or(io::ErrorKind::NotFound)?;
        let bytes = segment.read(0, terms.segment)?;
        let chain = form::begun(&bytes).map_err(|damage| io::Error::other(damage.what))?;
        let mut reader = Reader::new(&bytes, form::HEAD_BYTES, chain);
        reader.by_ref().for_each(drop);
        let (chain, at) = (reader.stands(), reader.at());
        Ok(Self {
            disk,
            folder: folder.into(),
            terms,
            chain,
            segment,
            at,
            newest: number,
            spare: VecDeque::new(),
            pending: Vec::new(),
            entry: Vec::new(),
        })
    }

    /// The number of the next entry.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.chain.next
    }

    /// Puts one entry behind the others; it counts once it is committed.
    ///
    /// # Errors
    /// There is no room; nothing is changed.
    pub fn append(&mut self, text: &[u8]) -> io::Result<()> {
        let size = form::size(text.len());
        if self.at + self.pending.len() + size > self.terms.segment {
            self.make_room();
            let next = self.spare.pop_front().ok_or(io::ErrorKind::StorageFull)?;
            self.commit()?;
            self.segment = next;
            self.begin();
        }
        form::write(&mut self.chain, text, &mut self.entry);
        self.pending.extend_from_slice(&self.entry);
        Ok(())
    }

    /// Writes what is pending and waits for the disk.
    ///
    /// # Errors
    /// It is not known what of it is written.
    pub fn commit(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.segment.write(self.at, &self.pending)?;
        self.segment.sync()?;
        self.at += self.pending.len();
        self.pending.clear();
        Ok(())
    }

    /// Nothing more will be written: what was set aside for it is given back.
    ///
    /// # Errors
    /// The room stays taken.
    pub fn end(&self) -> io::Result<()> {
        self.disk.release(&path(&self.folder, self.newest), self.at)
    }

    /// Makes segments that will be needed, while the quota allows it; whether there is one.
    pub fn make_room(&mut self) -> bool {
        while self.spare.len() < SPARE {
            let used = segments(&*self.disk, &self.folder).map_or(0, |all| all.len() as u64);
            if (used + 1) * self.terms.segment as u64 > self.terms.quota {
                break;
            }
            let Ok(file) = self.disk.make(&path(&self.folder, self.newest + 1), self.terms.segment) else {
                break;
            };
            self.newest += 1;
            self.spare.push_back(file);
        }
        !self.spare.is_empty()
    }

    fn begin(&mut self) {
        self.at = 0;
        self.pending.extend_from_slice(&form::head(&self.chain));
    }
}

/// The newest segment of a dead worker's log that it had begun. Those that it had set aside are removed: whoever writes on
/// makes them anew.
///
/// # Errors
/// It cannot be read.
pub fn begun(disk: &dyn Disk, folder: &str) -> io::Result<Option<(u64, Arc<dyn File>)>> {
    let mut last = None;
    for number in segments(disk, folder)? {
        let file = disk.open(&path(folder, number))?;
        let head = file.read(0, form::HEAD_BYTES)?;
        if head.iter().all(|byte| *byte == 0) {
            disk.remove(&path(folder, number))?;
        } else {
            last = Some((number, file));
        }
    }
    Ok(last)
}

/// Whether a name is that of a segment, and which.
pub fn numbered(name: &str) -> Option<u64> {
    name.strip_suffix(SEGMENT)?.parse().ok()
}
