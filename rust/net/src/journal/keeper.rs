//! The thread that keeps a journal: flushes it, makes room, takes over from the dead.
//!
//! Law: the only place that waits for the disk. A flush that fails is never tried again on the same file: what it told
//! is lost, so nothing more is begun.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use super::{Journal, lock};

/// A loss of power takes no more than this and one flush.
const FLUSH: Duration = Duration::from_millis(50);
/// The dead are looked for every so many turns.
const LOOK: u32 = 20;

impl Journal {
    /// Keeps the journal until nobody else holds it.
    ///
    /// # Errors
    /// There can be no further thread.
    pub fn keep(self: &Arc<Self>) -> std::io::Result<()> {
        let kept = Arc::downgrade(self);
        let keep = move || {
            for turn in 1u32.. {
                thread::sleep(FLUSH);
                let Some(journal) = kept.upgrade() else { return };
                journal.flush();
                journal.make_room();
                if turn % LOOK == 0 {
                    journal.adopt();
                }
            }
        };
        thread::Builder::new().name("levada-journal".into()).spawn(keep).map(drop)
    }

    /// Makes what has been written last through a loss of power.
    pub(super) fn flush(&self) {
        let unsynced = std::mem::take(&mut lock(&self.writer).unsynced);
        if unsynced.iter().any(|segment| segment.sync().is_err()) {
            self.failed.store(true, Relaxed);
        }
    }
}
