//! How many retries are allowed: a share of the recent calls and a few per second besides.
//!
//! Law: pure arithmetic on calls and time. A backend that fails every call must not be hit twice as hard for it, so
//! retries are paid from a budget that only calls and time fill, and that what is older than ten seconds has left.

/// How far back calls count, and how many seconds of the steady part are saved up.
const WINDOW_SECONDS: f64 = 10.0;

/// The retry budget of one gateway, in retries.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    ratio: f64,
    per_second: f64,
    /// Calls since `at_ms`, not yet turned into retries.
    calls: f64,
    /// Retries that calls have earned; they fade over the window.
    earned: f64,
    /// Retries that time has given; never more than the window's worth.
    steady: f64,
    at_ms: u64,
}

impl Budget {
    /// `ratio` retries per call, and `per_second` retries each second, of which ten seconds' worth are there at once.
    /// Time starts at 0 ms.
    #[must_use]
    pub fn new(ratio: f64, per_second: f64) -> Self {
        let steady = per_second * WINDOW_SECONDS;
        Self { ratio, per_second, calls: 0.0, earned: 0.0, steady, at_ms: 0 }
    }

    /// Counts calls.
    pub fn deposit(&mut self, calls: u64) {
        self.calls += calls as f64;
    }

    /// Takes one retry if there is one.
    #[must_use]
    pub fn withdraw(&mut self, now_ms: u64) -> bool {
        self.settle(now_ms);
        if self.earned + self.steady < 1.0 {
            return false;
        }
        let from_earned = self.earned.min(1.0);
        self.earned -= from_earned;
        self.steady -= 1.0 - from_earned;
        true
    }

    /// Brings both parts to now. The calls since the last time are taken as spread evenly over it.
    fn settle(&mut self, now_ms: u64) {
        let seconds = now_ms.saturating_sub(self.at_ms) as f64 / 1000.0;
        let kept = (1.0 - seconds / WINDOW_SECONDS).max(0.0);
        let recent = if seconds > WINDOW_SECONDS { WINDOW_SECONDS / seconds } else { 1.0 };
        self.earned = self.earned * kept + self.calls * recent * self.ratio;
        self.steady = (self.steady + seconds * self.per_second).min(self.per_second * WINDOW_SECONDS);
        self.calls = 0.0;
        self.at_ms = self.at_ms.max(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;
    use proptest::prelude::*;

    fn taken(budget: &mut Budget, now_ms: u64) -> usize {
        (0..100_000).take_while(|_| budget.withdraw(now_ms)).count()
    }

    #[test]
    fn time_gives_a_few() {
        let mut budget = Budget::new(0.1, 3.0);
        assert_eq!(taken(&mut budget, 0), 30);
        assert_eq!(taken(&mut budget, 1_000), 3);
        assert_eq!(taken(&mut budget, 1_300), 0);
        assert_eq!(taken(&mut budget, 60_000), 30);
    }

    #[test]
    fn calls_earn_their_share() {
        let mut budget = Budget::new(0.25, 0.0);
        assert!(!budget.withdraw(0));
        budget.deposit(40);
        assert_eq!(taken(&mut budget, 0), 10);
        budget.deposit(3);
        assert_eq!(taken(&mut budget, 0), 0);
        budget.deposit(1);
        assert_eq!(taken(&mut budget, 0), 1);
    }

    #[test]
    fn what_is_old_has_left() {
        let mut budget = Budget::new(0.1, 0.0);
        budget.deposit(36_000);
        // Ten calls a second for an hour: a hundred in the last ten seconds.
        assert_eq!(taken(&mut budget, 3_600_000), 10);
        budget.deposit(1_000);
        assert!(budget.withdraw(3_600_000));
        assert!(!budget.withdraw(3_610_000));
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing() {
        let mut budget = Budget::new(0.0, 1.0);
        assert_eq!(taken(&mut budget, 50_000), 10);
        assert_eq!(taken(&mut budget, 10_000), 0);
        assert_eq!(taken(&mut budget, 50_900), 0);
        assert_eq!(taken(&mut budget, 51_000), 1);
    }

    proptest! {
        #[test]
        fn never_more_than_calls_and_time_allow(
            ratio in 0.0..1.0_f64,
            per_second in 0.0..5.0_f64,
            steps in prop::collection::vec((0_u64..3_000, 0_u64..20, 0_usize..20), 1..60),
        ) {
            let mut budget = Budget::new(ratio, per_second);
            let (mut now, mut calls, mut retries) = (0, 0, 0);
            for (pause, deposits, wanted) in steps {
                now += pause;
                calls += deposits;
                budget.deposit(deposits);
                retries += (0..wanted).filter(|_| budget.withdraw(now)).count();
                let seconds = now as f64 / 1000.0;
                let allowed = ratio * calls as f64 + per_second * (seconds + 10.0);
                prop_assert!(retries as f64 <= allowed + 1e-6);
            }
        }
    }
}
