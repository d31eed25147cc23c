//! What all calls write in: counters, records, the retry budget; and the word that a shutdown no longer waits.
//!
//! Law: shared by every call and every part, and nothing in it decides anything about a call.

use tokio::sync::watch;

use levada_core::retry::Budget;

use crate::metrics::Metrics;
use crate::records::Records;
use crate::retries::Retries;

/// The books of one engine.
#[derive(Debug)]
pub struct Books {
    /// The counters.
    pub metrics: Metrics,
    /// The newest records.
    pub records: Records,
    /// The retry budget.
    pub retries: Retries,
    cutting: watch::Sender<bool>,
}

impl Books {
    /// Empty books with this retry budget.
    #[must_use]
    pub fn new(metrics: Metrics, budget: Budget) -> Self {
        let (records, retries) = (Records::default(), Retries::new(budget));
        Self { metrics, records, retries, cutting: watch::Sender::new(false) }
    }

    /// From now on, calls that end without a word were cut by a shutdown; those still under way are.
    pub fn cut(&self) {
        self.cutting.send_replace(true);
    }

    /// Whether a shutdown no longer waits.
    #[must_use]
    pub fn is_cutting(&self) -> bool {
        *self.cutting.borrow()
    }

    /// Done when a shutdown no longer waits.
    pub fn cutting(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut cutting = self.cutting.subscribe();
        async move {
            // Books that are gone cut nobody: a call holds them.
            let _ = cutting.wait_for(|cut| *cut).await;
        }
    }
}
