//! One backend as the calls see it: how many it serves, whether its breaker lets more through, its idle connections.
//!
//! Law: these are the only shared mutable numbers of the hot path. They live as long as the backend's address stands
//! in the configuration, across swaps.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use levada_core::breaker::{Gate, Rules, Seen, State};

use crate::client::Dialer;
use crate::metrics::BackendMetrics;

/// The live side of one backend.
#[derive(Debug)]
pub struct Load {
    /// How to reach it; holds the idle connections.
    pub dialer: Dialer,
    /// Its counters; `in_flight` is the load that routing compares.
    pub metrics: BackendMetrics,
    breaker: Mutex<State>,
    /// Whether the breaker needs a look; false on the common path.
    disturbed: AtomicBool,
    /// How many answers it had given when the last probe came back.
    reported: AtomicU64,
    born: Instant,
}

impl Load {
    /// A backend that has not failed yet.
    #[must_use]
    pub fn new(dialer: Dialer, metrics: BackendMetrics) -> Self {
        metrics.up.set(1);
        Self {
            dialer,
            metrics,
            breaker: Mutex::new(State::CLOSED),
            disturbed: AtomicBool::new(false),
            reported: AtomicU64::new(0),
            born: Instant::now(),
        }
    }

    /// Its load, or nothing while its breaker is shut.
    #[must_use]
    pub fn weight(&self, rules: &Rules) -> Option<u32> {
        if self.disturbed.load(Relaxed) && self.state().gate(self.now_ms(), rules) == Gate::Shut {
            return None;
        }
        Some(u32::try_from(self.metrics.in_flight.get()).unwrap_or_default())
    }

    /// Begins an attempt. If its breaker was asking for a trial, this is it.
    #[must_use]
    pub fn begin(self: &Arc<Self>, rules: &Rules) -> InFlight {
        if self.disturbed.load(Relaxed) {
            let now = self.now_ms();
            let mut state = self.lock();
            if state.gate(now, rules) == Gate::Try {
                *state = state.taken(now);
            }
        }
        self.metrics.in_flight.inc();
        InFlight(Arc::clone(self))
    }

    /// What an attempt or a probe has seen.
    pub fn seen(&self, seen: Seen, rules: &Rules) {
        if seen == Seen::Success && !self.disturbed.load(Relaxed) {
            return;
        }
        let now = self.now_ms();
        let mut state = self.lock();
        *state = state.after(seen, now, rules);
        let closed = *state == State::CLOSED;
        let up = !matches!(*state, State::Open { .. });
        drop(state);
        self.disturbed.store(!closed, Relaxed);
        self.metrics.up.set(i64::from(up));
    }

    /// What a probe has seen. The probe of a server at its limit may time out; what answers or holds calls is not down.
    pub fn report(&self, up: bool, rules: &Rules) {
        let answered = self.metrics.answered.get();
        let busy = self.reported.swap(answered, Relaxed) != answered || self.metrics.in_flight.get() > 0;
        if up {
            self.seen(Seen::Up, rules);
        } else if !busy {
            self.seen(Seen::Down, rules);
        }
    }

    fn state(&self) -> State {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// One attempt under way; dropping it gives the place back.
#[derive(Debug)]
pub struct InFlight(Arc<Load>);

impl std::ops::Deref for InFlight {
    type Target = Arc<Load>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.metrics.in_flight.dec();
    }
}
