//! The newest records, held in memory for the operator to look at.
//!
//! Law: bounded; the oldest make room. It is a window, not the ledger.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use levada_core::bounds;
use levada_core::record::Record;

/// The last [`bounds::RECORDS_HELD`] records.
#[derive(Debug, Default)]
pub struct Records(Mutex<VecDeque<Record>>);

impl Records {
    /// Takes one record.
    pub fn put(&self, record: Record) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The one that makes room is dropped after the lock.
        let oldest = if held.len() >= bounds::RECORDS_HELD { held.pop_front() } else { None };
        held.push_back(record);
        drop(held);
        drop(oldest);
    }

    /// The newest `limit` records as JSON lines, oldest first.
    #[must_use]
    pub fn lines(&self, limit: usize) -> Vec<u8> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = held.len().saturating_sub(limit);
        held.iter().skip(skip).flat_map(Record::line).collect()
    }
}
