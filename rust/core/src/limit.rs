//! How many requests may pass in a window of time: pure arithmetic on what has passed and the time.
//!
//! Law: in no stretch of time as long as the window do more pass than it allows, wherever the stretch begins. Nothing
//! is kept but counters of a fixed size; what that costs is one slice (a sixtieth) of the window, in the caller's
//! disfavour. A clock that goes back stands still.

use crate::endpoint::Endpoint;

/// Into how many slices a window is cut at most; a slice is no shorter than a millisecond.
const SLICES: u64 = 60;
/// A stretch that is as long as the window touches one slice more.
const RING: usize = SLICES as usize + 1;

/// So many requests in so long a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// How many in the long run.
    pub requests: u32,
    /// The time, in milliseconds.
    pub per_ms: u64,
    /// How many at once, after a rest: at least as many.
    pub burst: u32,
    /// The endpoints that count; nothing: all of them.
    pub endpoints: Option<Vec<Endpoint>>,
}

impl Window {
    /// Whether requests to this endpoint count.
    #[must_use]
    pub fn counts(&self, endpoint: Endpoint) -> bool {
        self.endpoints.as_ref().is_none_or(|some| some.contains(&endpoint))
    }

    /// A slice, in milliseconds.
    fn slice_ms(&self) -> u64 {
        self.per_ms.div_ceil(SLICES).max(1)
    }

    /// How many slices a stretch as long as the window touches.
    fn touched(&self) -> u64 {
        self.per_ms.div_ceil(self.slice_ms()) + 1
    }

    /// How far apart requests are in the long run, in microseconds.
    fn interval_us(&self) -> u64 {
        (self.per_ms * 1000).div_ceil(u64::from(self.requests.max(1)))
    }
}

/// What there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// How many requests may pass now.
    pub left: u32,
    /// How long until one may pass, in milliseconds; 0 if one may now.
    pub wait_ms: u64,
    /// How long until nothing of the past counts any more, in milliseconds.
    pub clear_ms: u64,
}

/// What has passed, as far as a window remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Requests by slice; a slice's place is its number modulo the ring.
    slices: [u32; RING],
    /// Their sum.
    sum: u32,
    /// The number of the newest slice.
    newest: u64,
    /// When the long run has caught up with all that has passed, in microseconds.
    even_us: u64,
}

impl Default for Passed {
    fn default() -> Self {
        Self { slices: [0; RING], sum: 0, newest: 0, even_us: 0 }
    }
}

impl Passed {
    /// What there is room for at `now_ms`.
    pub fn room(&mut self, window: &Window, now_ms: u64) -> Room {
        let slice_ms = window.slice_ms();
        self.turn(window, now_ms);
        let now_ms = now_ms.max(self.newest * slice_ms);
        let at_once = Room {
            left: window.burst.saturating_sub(self.sum),
            wait_ms: self.gone(1 + self.sum.saturating_sub(window.burst), window, now_ms),
            clear_ms: self.gone(self.sum, window, now_ms),
        };
        if window.burst <= window.requests {
            return at_once.now_if_left();
        }
        let (interval, now_us) = (window.interval_us(), now_ms * 1000);
        let ahead = self.even_us.saturating_sub(now_us);
        let most = u64::from(window.burst) * interval;
        let left = most.saturating_sub(ahead) / interval;
        let wait_us = (ahead + interval).saturating_sub(most);
        Room {
            left: at_once.left.min(u32::try_from(left).unwrap_or(u32::MAX)),
            wait_ms: at_once.now_if_left().wait_ms.max(wait_us.div_ceil(1000)),
            clear_ms: at_once.clear_ms.max(ahead.div_ceil(1000)),
        }
        .now_if_left()
    }

    /// One request passes. Whoever calls has seen that there is room.
    pub fn take(&mut self, window: &Window, now_ms: u64) {
        self.turn(window, now_ms);
        if let Some(slice) = self.slices.get_mut(place(self.newest)) {
            *slice = slice.saturating_add(1);
        }
        self.sum = self.sum.saturating_add(1);
        self.even_us = self.even_us.max(now_ms * 1000) + window.interval_us();
    }

    /// Makes the slice of `now_ms` the newest, and forgets those that no stretch up to it can touch.
    fn turn(&mut self, window: &Window, now_ms: u64) {
        let number = now_ms / window.slice_ms();
        if number <= self.newest {
            return;
        }
        let untouched =
            (self.newest + 1..=number).take(RING).filter_map(|new| new.checked_sub(window.touched()));
        for old in untouched {
            if let Some(slice) = self.slices.get_mut(place(old)) {
                self.sum -= std::mem::take(slice);
            }
        }
        self.newest = number;
    }

    /// How long until so many of the oldest have gone, in milliseconds.
    fn gone(&self, mut count: u32, window: &Window, now_ms: u64) -> u64 {
        for age in (0..window.touched()).rev() {
            let Some(number) = self.newest.checked_sub(age) else { continue };
            let held = self.slices.get(place(number)).copied().unwrap_or_default();
            if held >= count {
                return if held == 0 {
                    0
                } else {
                    ((number + window.touched()) * window.slice_ms()).saturating_sub(now_ms)
                };
            }
            count -= held;
        }
        0
    }
}

impl Room {
    /// There is no wait where something is left.
    fn now_if_left(self) -> Self {
        Self { wait_ms: if self.left > 0 { 0 } else { self.wait_ms }, ..self }
    }
}

/// Where a slice lies in the ring.
fn place(number: u64) -> usize {
    usize::try_from(number % RING as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(requests: u32, per_ms: u64, burst: u32) -> Window {
        Window { requests, per_ms, burst, endpoints: None }
    }

    fn ask(passed: &mut Passed, window: &Window, now: u64) -> bool {
        let room = passed.room(window, now);
        assert_eq!(room.left > 0, room.wait_ms == 0, "{room:?}");
        if room.left > 0 {
            passed.take(window, now);
        }
        room.left > 0
    }

    #[test]
    fn three_a_minute() {
        let (window, mut passed) = (window(3, 60_000, 3), Passed::default());
        let start = 1_800_000_000_500;
        for left in [3, 2, 1] {
            assert_eq!(passed.room(&window, start).left, left);
            passed.take(&window, start);
        }
        let room = passed.room(&window, start);
        assert_eq!((room.left, room.wait_ms, room.clear_ms), (0, 60_500, 60_500));
        assert_eq!(passed.room(&window, start + 60_499).left, 0);
        assert_eq!(passed.room(&window, start + 60_500), Room { left: 3, wait_ms: 0, clear_ms: 0 });
        // A clock that goes back stands still.
        passed.take(&window, start + 60_500);
        assert_eq!(passed.room(&window, start - 1_000_000).left, 2);
    }

    #[test]
    fn a_burst_is_paid_back() {
        let (window, mut passed) = (window(5, 1000, 10), Passed::default());
        let start = 1_800_000_000_000;
        let at_once = (0..20).filter(|_| ask(&mut passed, &window, start)).count();
        assert_eq!(at_once, 10);
        // Five a second from then on, and never more than ten in one second.
        let later = (1..=10_000).filter(|ms| ask(&mut passed, &window, start + ms)).count();
        assert!((48..=50).contains(&later), "{later}");
    }

    #[test]
    fn a_window_of_a_moment_is_no_longer_than_that() {
        let (window, mut passed) = (window(1, 1, 1), Passed::default());
        assert!(ask(&mut passed, &window, 1_800_000_000_000));
        assert!(!ask(&mut passed, &window, 1_800_000_000_001));
        assert!(ask(&mut passed, &window, 1_800_000_000_002));
    }

    proptest! {
        #[test]
        fn no_stretch_holds_more_than_the_window_allows(
            requests in 1u32..20, extra in 0u32..20, per_ms in prop_oneof![1u64..130, 1u64..5000], steps in prop::collection::vec(0u64..700, 1..400)
        ) {
            let window = window(requests, per_ms, requests + extra);
            let (mut passed, mut now, mut admitted) = (Passed::default(), 1_800_000_000_000u64, Vec::new());
            for step in steps {
                now += step;
                let recent = |span: u64| admitted.iter().filter(|&&at| at + span > now).count() as u64;
                // Whoever is refused has really used what there is, up to one slice of the window.
                let slack = window.per_ms + 2 * window.slice_ms();
                let idle = recent(slack.max(window.interval_us().div_ceil(1000) * u64::from(window.burst))) == 0;
                let room = passed.room(&window, now);
                if room.left > 0 {
                    passed.take(&window, now);
                    admitted.push(now);
                    prop_assert!(admitted.iter().filter(|&&at| at + per_ms > now).count() as u32 <= window.burst);
                } else {
                    prop_assert!(!idle);
                    prop_assert!(passed.clone().room(&window, now + room.wait_ms).left > 0, "waited in vain");
                    prop_assert!(passed.clone().room(&window, now + room.wait_ms - 1).left == 0, "waited too long");
                }
            }
            // The long run: what passed beyond the first burst came at the rate.
            let span = now - 1_800_000_000_000;
            let most = u64::from(window.burst) + span * u64::from(requests) / per_ms + 1;
            if window.burst > window.requests {
                prop_assert!(admitted.len() as u64 <= most, "{} > {most}", admitted.len());
            }
        }
    }
}
