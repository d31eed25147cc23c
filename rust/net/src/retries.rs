//! The retry budget of all calls together.
//!
//! Law: a call that begins pays in without a lock; only the rare one that wants to try again takes it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use levada_core::retry::Budget;

/// The retry budget, fed without a lock.
#[derive(Debug)]
pub struct Retries {
    calls: AtomicU64,
    budget: Mutex<Budget>,
    born: Instant,
}

impl Retries {
    /// A full budget.
    #[must_use]
    pub fn new(budget: Budget) -> Self {
        Self { calls: AtomicU64::new(0), budget: Mutex::new(budget), born: Instant::now() }
    }

    /// Goes on by other rules.
    pub fn replace(&self, budget: Budget) {
        *self.budget.lock().unwrap_or_else(PoisonError::into_inner) = budget;
    }

    /// A call has begun: it earns its share of a retry.
    pub fn called(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    /// Takes one retry, if the budget has it.
    pub fn may_retry(&self) -> bool {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        budget.deposit(self.calls.swap(0, Relaxed));
        budget.withdraw(now)
    }
}
