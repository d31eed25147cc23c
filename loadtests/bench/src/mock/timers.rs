//! What is to happen at a moment: a wheel of millisecond slots, so that arming and firing cost a push
//! and a pop however many streams are under way.

const SLOTS: u64 = 8192;
const TICK: u64 = 1_000_000;

/// A wheel of slots of one millisecond. What lies further ahead than the wheel is long goes round.
pub struct Timers<T> {
    slots: Vec<Vec<(u64, T)>>,
    tick: u64,
    armed: usize,
}

impl<T> Timers<T> {
    /// An empty wheel that starts at `now`.
    pub fn new(now: u64) -> Self {
        Timers { slots: (0..SLOTS).map(|_| Vec::new()).collect(), tick: now / TICK, armed: 0 }
    }

    /// Whether nothing is armed.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// Arms `what` for the moment `due`, or the next tick if that is past.
    pub fn arm(&mut self, due: u64, what: T) {
        let tick = (due / TICK).max(self.tick + 1);
        self.slots[(tick % SLOTS) as usize].push((tick, what));
        self.armed += 1;
    }

    /// Moves all that is due at `now` to `out`.
    pub fn expire(&mut self, now: u64, out: &mut Vec<T>) {
        let end = now / TICK;
        while self.tick < end && self.armed > 0 {
            self.tick += 1;
            let tick = self.tick;
            let due = self.slots[(tick % SLOTS) as usize].extract_if(.., |(at, _)| *at <= tick);
            let before = out.len();
            out.extend(due.map(|(_, what)| what));
            self.armed -= out.len() - before;
        }
        self.tick = self.tick.max(end);
    }
}

#[cfg(test)]
mod tests {
    use super::{TICK, Timers};

    #[test]
    fn each_fires_once_and_not_before_its_tick() {
        let mut timers = Timers::new(0);
        for due in [0, 3 * TICK, 3 * TICK + 5, 9_000 * TICK] {
            timers.arm(due, due);
        }
        let mut fired = Vec::new();
        timers.expire(2 * TICK, &mut fired);
        assert_eq!(fired, [0]);
        timers.expire(8_999 * TICK, &mut fired);
        assert_eq!(fired, [0, 3 * TICK, 3 * TICK + 5]);
        timers.expire(9_001 * TICK, &mut fired);
        assert!(fired.len() == 4 && timers.is_empty());
    }
}
