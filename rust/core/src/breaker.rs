//! Whether a backend is called: closed (it is), open (it is not), trial (one call finds out).
//!
//! Law: a pure table. What happened, the time and the rules go in, the next state comes out; `net` keeps the state.

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// So many failures in a row open it.
    pub failures: u32,
    /// How long it stays open before one call may try, in milliseconds.
    pub open_ms: u64,
}

/// Where the breaker of one backend stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Calls pass.
    Closed {
        /// Failures since the last success.
        failures: u32,
    },
    /// No call passes before this time.
    Open {
        /// When one call may try.
        until_ms: u64,
    },
    /// One call is finding out.
    Trial {
        /// When that call was let through.
        since_ms: u64,
    },
}

/// What was learnt of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A call was answered.
    Success,
    /// A call failed by the backend's fault.
    Failure,
    /// A probe found it down.
    Down,
    /// A probe found it up.
    Up,
    /// Nothing: the call was given up before it reached the backend.
    Nothing,
}

/// What a breaker says to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Go.
    Pass,
    /// Go if you are the one that finds out: follow with `State::taken`.
    Try,
    /// Go elsewhere.
    Shut,
}

impl State {
    /// The state of a backend of which nothing is known.
    pub const CLOSED: Self = Self::Closed { failures: 0 };

    /// Whether a call may go to the backend now.
    ///
    /// A trial that has told nothing for as long as a breaker stays open is given up, and another call may try: a lost
    /// trial must not shut a backend out for ever.
    #[must_use]
    pub fn gate(self, now_ms: u64, rules: &Rules) -> Gate {
        let opens_ms = match self {
            Self::Closed { .. } => return Gate::Pass,
            Self::Open { until_ms } => until_ms,
            Self::Trial { since_ms } => since_ms.saturating_add(rules.open_ms),
        };
        if now_ms >= opens_ms { Gate::Try } else { Gate::Shut }
    }

    /// The state once a call has taken `Gate::Try`.
    #[must_use]
    pub fn taken(self, now_ms: u64) -> Self {
        match self {
            Self::Closed { .. } => self,
            Self::Open { .. } | Self::Trial { .. } => Self::Trial { since_ms: now_ms },
        }
    }

    /// The state after something was seen.
    ///
    /// A call that ends while the breaker is open began before it opened, so it says nothing new. A probe that finds the
    /// backend up does not close the breaker either, as a server may be healthy and fail every call: it allows a trial.
    #[must_use]
    pub fn after(self, seen: Seen, now_ms: u64, rules: &Rules) -> Self {
        let open = Self::Open { until_ms: now_ms.saturating_add(rules.open_ms) };
        match (self, seen) {
            (_, Seen::Down) => open,
            (Self::Closed { .. } | Self::Trial { .. }, Seen::Success) => Self::CLOSED,
            (Self::Closed { failures }, Seen::Failure) => {
                let failures = failures.saturating_add(1);
                if failures >= rules.failures { open } else { Self::Closed { failures } }
            }
            (Self::Trial { .. }, Seen::Failure) => open,
            (Self::Open { until_ms }, Seen::Up) => Self::Open { until_ms: until_ms.min(now_ms) },
            (Self::Open { .. }, Seen::Success | Seen::Failure) => self,
            (Self::Closed { .. } | Self::Trial { .. }, Seen::Up) => self,
            // The next call may find out in its place.
            (Self::Trial { .. }, Seen::Nothing) => Self::Open { until_ms: now_ms },
            (Self::Closed { .. } | Self::Open { .. }, Seen::Nothing) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Gate, Rules, Seen, State};

    const RULES: Rules = Rules { failures: 3, open_ms: 5_000 };

    const fn closed(failures: u32) -> State {
        State::Closed { failures }
    }

    const fn open(until_ms: u64) -> State {
        State::Open { until_ms }
    }

    const fn trial(since_ms: u64) -> State {
        State::Trial { since_ms }
    }

    #[test]
    fn the_table() {
        let now = 10_000;
        let rows = [
            (closed(0), Seen::Success, closed(0)),
            (closed(2), Seen::Success, closed(0)),
            (closed(0), Seen::Failure, closed(1)),
            (closed(1), Seen::Failure, closed(2)),
            (closed(2), Seen::Failure, open(15_000)),
            (closed(u32::MAX), Seen::Failure, open(15_000)),
            (closed(1), Seen::Down, open(15_000)),
            (closed(1), Seen::Up, closed(1)),
            (open(12_000), Seen::Success, open(12_000)),
            (open(12_000), Seen::Failure, open(12_000)),
            (open(12_000), Seen::Down, open(15_000)),
            (open(12_000), Seen::Up, open(10_000)),
            (open(9_000), Seen::Up, open(9_000)),
            (trial(9_000), Seen::Success, closed(0)),
            (trial(9_000), Seen::Failure, open(15_000)),
            (trial(9_000), Seen::Down, open(15_000)),
            (trial(9_000), Seen::Up, trial(9_000)),
            (closed(2), Seen::Nothing, closed(2)),
            (open(12_000), Seen::Nothing, open(12_000)),
            (trial(9_000), Seen::Nothing, open(10_000)),
        ];
        for (before, seen, after) in rows {
            assert_eq!(before.after(seen, now, &RULES), after, "{before:?} {seen:?}");
        }
    }

    #[test]
    fn the_gate() {
        let rows = [
            (closed(2), 0, Gate::Pass),
            (open(5_000), 4_999, Gate::Shut),
            (open(5_000), 5_000, Gate::Try),
            (trial(5_000), 5_000, Gate::Shut),
            (trial(5_000), 9_999, Gate::Shut),
            (trial(5_000), 10_000, Gate::Try),
            (trial(u64::MAX), u64::MAX - 1, Gate::Shut),
        ];
        for (state, now, gate) in rows {
            assert_eq!(state.gate(now, &RULES), gate, "{state:?} at {now}");
        }
    }

    #[test]
    fn one_call_tries_and_the_next_waits() {
        let state = open(5_000).taken(6_000);
        assert_eq!(state, trial(6_000));
        assert_eq!(state.gate(6_001, &RULES), Gate::Shut);
        assert_eq!(state.taken(11_000), trial(11_000));
        assert_eq!(closed(1).taken(6_000), closed(1));
    }
}
