//! What all calls write in: counters, the journal, the retry budget; and the word that a shutdown no longer waits.
//!
//! Law: shared by every call and every part, and nothing in it decides anything about a call.

use std::sync::Arc;

use tokio::sync::watch;

use levada_core::retry::Budget;

use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::retries::Retries;
use crate::tokens::counters::Counters;

/// The books of one engine.
#[derive(Debug)]
pub struct Books {
    /// The counters.
    pub metrics: Metrics,
    /// Where every call that is admitted is written down.
    pub journal: Arc<Journal>,
    /// The retry budget.
    pub retries: Retries,
    /// Who counts what backends do not.
    pub counters: Counters,
    cutting: watch::Sender<bool>,
}

impl Books {
    /// Empty books with this retry budget.
    #[must_use]
    pub fn new(metrics: Metrics, budget: Budget, journal: Arc<Journal>) -> Self {
        let retries = Retries::new(budget);
        Self { metrics, journal, retries, counters: Counters::default(), cutting: watch::Sender::new(false) }
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
