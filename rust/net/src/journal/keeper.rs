//! The thread that keeps a journal: carries what is hot into the log, and takes over from the dead.
//!
//! Law: the only place that waits for the disk. A flush that fails is never tried again: what it told is lost, so nothing
//! more is begun.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::thread;
use std::time::Duration;

use levada_core::journal::TEXT_BYTES;

use super::hot::{Follower, Hot};
use super::log::Log;
use super::{Journal, lock};

/// A loss of power takes no more than this and one flush.
const FLUSH: Duration = Duration::from_millis(50);
/// The dead are looked for every so many turns.
const LOOK: u32 = 20;

/// What the thread works with.
#[derive(Debug)]
pub struct Keeper {
    log: Log,
    follower: Follower,
    /// What the log had no room for.
    held: Option<Vec<u8>>,
}

impl Keeper {
    /// For this log and what is hot before it.
    pub fn new(log: Log, follower: Follower) -> Self {
        Self { log, follower, held: None }
    }

    /// Goes on behind an entry of a dead one that is not as it was written; false where nothing stands.
    pub fn skip_damage(&mut self) -> bool {
        self.follower.skip_damage()
    }

    /// Nothing more will be carried: what was set aside for it is given back.
    ///
    /// # Errors
    /// The room stays taken.
    pub fn end(&self) -> io::Result<()> {
        self.log.end()
    }

    /// Carries all that is hot into the log; the number that comes next.
    ///
    /// # Errors
    /// There is no room, or the disk has failed.
    pub fn carry(&mut self) -> io::Result<u64> {
        while let Some(text) = self.held.take().or_else(|| self.follower.next()) {
            if let Err(error) = self.log.append(&text) {
                self.held = Some(text);
                return Err(error);
            }
        }
        self.log.commit()?;
        Ok(self.follower.stands())
    }
}

impl Journal {
    /// Ends the thread; what is written from now on stays hot, for the next who lives.
    pub fn close(&self) {
        self.carry();
        self.closed.store(true, Relaxed);
        if let Some(flusher) = self.flusher.get() {
            flusher.unpark();
        }
    }

    /// Keeps the journal until it is closed, or nobody else holds it.
    ///
    /// # Errors
    /// There can be no further thread.
    pub fn keep(self: &Arc<Self>) -> io::Result<()> {
        let kept = Arc::downgrade(self);
        let keep = move || {
            for turn in 1u32.. {
                // Sooner where a call waits for it.
                thread::park_timeout(FLUSH);
                let Some(journal) = kept.upgrade().filter(|journal| !journal.closed.load(Relaxed)) else {
                    return;
                };
                journal.carry();
                if turn % LOOK == 0 {
                    journal.adopt();
                }
            }
        };
        let thread = thread::Builder::new().name("levada-journal".into()).spawn(keep)?;
        let _ = self.flusher.set(thread.thread().clone());
        Ok(())
    }

    /// Carries what is hot into the log, and says whether more may be begun.
    pub fn carry(&self) {
        if self.failed.load(Relaxed) {
            return;
        }
        let mut keeper = lock(&self.keeper);
        // Without a segment to spare what is under way has room where it is hot, and nothing more is begun.
        let spare = keeper.log.make_room();
        match keeper.carry() {
            Ok(next) => {
                self.logged.store(next, Release);
                let room = lock(&self.hot).room(next, Hot::size(TEXT_BYTES));
                self.room.store(room as u64, Release);
                self.full.store(!spare, Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                self.full.store(true, Relaxed);
                // Who waits for the disk waits on: there may be room the next time.
                return;
            }
            Err(_) => self.failed.store(true, Release),
        }
        drop(keeper);
        for waker in std::mem::take(&mut *lock(&self.waiting)) {
            waker.wake();
        }
    }
}
