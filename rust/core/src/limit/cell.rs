//! The arithmetic of one rule on its cell: some words that hold what has passed.
//!
//! Law: in no stretch of time as long as a window does more pass than it allows, wherever the stretch begins. Nothing is
//! kept but counters of a fixed size; what that costs is one slice (a sixtieth) of the window, in the caller's disfavour.
//! What was reserved for a call counts from its admission on, and is corrected there. A clock that goes back stands still.

use super::{Amounts, Measure, Period, Rule, SLICES, Unit, Window, measured, share};

/// A stretch that is as long as the window touches one slice more.
const RING: u64 = SLICES + 1;
/// The words of a cell: its form, the newest slice (or the period), the sum (or what is settled), when the long run is
/// even (or what is reserved), the interval, the slices, and the share of a host.
pub const WORDS: usize = SHARE + share::WORDS;
pub(super) const SHARE: usize = SLICE + RING as usize;
const FORM: usize = 0;
const NEWEST: usize = 1;
const SUM: usize = 2;
const EVEN: usize = 3;
const INTERVAL: usize = 4;
const SLICE: usize = 5;
/// The same words, for a budget and for calls at once.
const PERIOD: usize = NEWEST;
const SETTLED: usize = SUM;
const RESERVED: usize = EVEN;
const CALLS: usize = SUM;

const WINDOW: u64 = 1;
const CONCURRENCY: u64 = 2;
const BUDGET: u64 = 3;
const DAY_MS: u64 = 86_400_000;

/// The words of a cell, wherever they lie.
pub trait Cell {
    /// One of them.
    fn get(&self, at: usize) -> u64;
    /// Changes one.
    fn set(&mut self, at: usize, value: u64);
}

/// What there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// How much may pass now.
    pub left: u64,
    /// How much counts now.
    pub used: u64,
    /// How much of that calls under way may give back.
    pub reserved: u64,
    /// How long until nothing of the past counts any more, in milliseconds.
    pub clear_ms: u64,
}

/// What becomes of what was reserved for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// This is what it took.
    Took(Amounts),
    /// It never was: the request does not count either.
    Never,
    /// Nobody knows: what was reserved stays counted.
    Unknown,
}

impl Rule {
    /// What its cell says of itself.
    #[must_use]
    pub(super) fn form(&self) -> u64 {
        match self {
            Self::Window(window) => {
                WINDOW | (window.measure as u64) << 2 | window.slice_ms << 8 | window.touched << 48
            }
            Self::Concurrency(_) => CONCURRENCY,
            Self::Budget { unit, period, .. } => BUDGET | (*unit as u64) << 2 | (*period as u64) << 4,
        }
    }

    /// Makes an empty cell its own.
    pub fn begin(&self, cell: &mut impl Cell) {
        for at in 0..WORDS {
            if cell.get(at) != 0 {
                cell.set(at, 0);
            }
        }
        cell.set(FORM, self.form());
    }

    /// What there is room for at `now_ms`.
    pub fn room(&self, cell: &mut impl Cell, now_ms: u64) -> Room {
        match self {
            Self::Window(window) => window.room(cell, now_ms),
            Self::Concurrency(most) => {
                let used = cell.get(CALLS);
                Room { left: most.saturating_sub(used), used, reserved: used, clear_ms: 0 }
            }
            Self::Budget { most, period, .. } => {
                roll(cell, *period, now_ms);
                let (settled, reserved) = (cell.get(SETTLED), cell.get(RESERVED));
                let used = settled.saturating_add(reserved);
                let clear_ms = period_end(*period, now_ms).saturating_sub(now_ms);
                Room { left: most.saturating_sub(used), used, reserved, clear_ms }
            }
        }
    }

    /// How long until `amount` may pass, in milliseconds; 0 if it may now. More than `most` never may.
    pub fn wait_ms(&self, cell: &mut impl Cell, amount: u64, now_ms: u64) -> u64 {
        match self {
            Self::Window(window) => window.wait_ms(cell, amount, now_ms),
            // Whoever is under way may end at any time.
            Self::Concurrency(most) => {
                if cell.get(CALLS) + amount > *most {
                    1000
                } else {
                    0
                }
            }
            Self::Budget { most, period, .. } => {
                let (settled, reserved) = (cell.get(SETTLED), cell.get(RESERVED));
                match settled.saturating_add(amount) {
                    all if all.saturating_add(reserved) <= *most => 0,
                    all if all <= *most => 1000,
                    _ => period_end(*period, now_ms).saturating_sub(now_ms).max(1),
                }
            }
        }
    }

    /// So much passes. Whoever calls has seen, at the same time, that there is room.
    pub fn take(&self, cell: &mut impl Cell, amount: u64, now_ms: u64) {
        match self {
            Self::Window(window) => window.take(cell, amount, now_ms),
            Self::Concurrency(_) => add(cell, CALLS, amount),
            Self::Budget { .. } => add(cell, RESERVED, amount),
        }
    }
}

/// Corrects what was reserved for a call at `at_ms`.
pub fn settle(cell: &mut impl Cell, reserved: &Amounts, outcome: Outcome, at_ms: u64, now_ms: u64) {
    let form = cell.get(FORM);
    match form & 3 {
        WINDOW => settle_window(cell, form, reserved, outcome, at_ms, now_ms),
        CONCURRENCY => subtract(cell, CALLS, 1),
        BUDGET => {
            let of =
                |call: &Amounts| if form >> 2 & 1 == Unit::Money as u64 { call.cost } else { call.tokens() };
            // What was reserved in an earlier period counted there.
            if cell.get(PERIOD) != period_number(period(form), at_ms) {
                return;
            }
            subtract(cell, RESERVED, of(reserved));
            let took = match outcome {
                Outcome::Took(took) => of(&took),
                Outcome::Unknown => of(reserved),
                Outcome::Never => 0,
            };
            add(cell, SETTLED, took);
        }
        _ => {}
    }
}

fn settle_window(
    cell: &mut impl Cell,
    form: u64,
    reserved: &Amounts,
    outcome: Outcome,
    at_ms: u64,
    now_ms: u64,
) {
    let measure = match form >> 2 & 3 {
        0 => Measure::Requests,
        1 => Measure::Input,
        2 => Measure::Output,
        _ => Measure::Tokens,
    };
    let reserved = measured(measure, reserved);
    let took = match outcome {
        Outcome::Took(took) => measured(measure, &took),
        Outcome::Unknown => reserved,
        Outcome::Never => 0,
    };
    if took < reserved {
        give_back(cell, form, reserved - took, at_ms);
        if measure == Measure::Requests {
            let (even, interval) = (cell.get(EVEN), cell.get(INTERVAL));
            cell.set(EVEN, even.saturating_sub(interval));
        }
    } else if took > reserved {
        // It must not, but where it has, it counts.
        turn(cell, form, now_ms);
        count(cell, took - reserved);
    }
}

/// Whether nothing in the cell counts any more, nor ever will.
pub fn is_idle(cell: &impl Cell, now_ms: u64) -> bool {
    let form = cell.get(FORM);
    match form & 3 {
        WINDOW => {
            let gone = (cell.get(NEWEST) + touched(form)).saturating_mul(slice_ms(form));
            (cell.get(SUM) == 0 || now_ms >= gone) && cell.get(EVEN) <= now_ms.saturating_mul(1000)
        }
        CONCURRENCY => cell.get(CALLS) == 0,
        BUDGET => {
            let period = period(form);
            let empty = cell.get(SETTLED) == 0 && cell.get(RESERVED) == 0 && !share::has_some(cell);
            empty || cell.get(PERIOD) < period_number(period, now_ms)
        }
        _ => true,
    }
}

/// After a loss of power, when words of different times may lie beside each other and no call is under way.
pub fn mend(cell: &mut impl Cell) {
    match cell.get(FORM) & 3 {
        WINDOW => {
            let sum = (0..RING as usize).fold(0u64, |sum, at| sum.saturating_add(cell.get(SLICE + at)));
            cell.set(SUM, sum);
        }
        CONCURRENCY => cell.set(CALLS, 0),
        BUDGET => {
            let reserved = cell.get(RESERVED);
            add(cell, SETTLED, reserved);
            cell.set(RESERVED, 0);
        }
        _ => {}
    }
}

impl Window {
    fn room(&self, cell: &mut impl Cell, now_ms: u64) -> Room {
        turn(cell, cell.get(FORM), now_ms);
        let now_ms = self.at_least(cell, now_ms);
        let sum = cell.get(SUM);
        let room = Room {
            left: self.burst.saturating_sub(sum),
            used: sum,
            reserved: 0,
            clear_ms: self.clear_ms(cell, now_ms),
        };
        if self.burst <= self.most {
            return room;
        }
        let ahead = cell.get(EVEN).saturating_sub(now_ms.saturating_mul(1000));
        let room_us = self.burst.saturating_mul(self.interval_us()).saturating_sub(ahead);
        Room {
            left: room.left.min(room_us / self.interval_us()),
            clear_ms: room.clear_ms.max(ahead.div_ceil(1000)),
            ..room
        }
    }

    fn wait_ms(&self, cell: &mut impl Cell, amount: u64, now_ms: u64) -> u64 {
        let now_ms = self.at_least(cell, now_ms);
        let over = cell.get(SUM).saturating_add(amount).saturating_sub(self.burst);
        let gone = if over == 0 { 0 } else { self.gone_ms(cell, over, now_ms) };
        if self.burst <= self.most {
            return gone;
        }
        let ahead = cell.get(EVEN).saturating_sub(now_ms.saturating_mul(1000));
        let wanted = ahead.saturating_add(self.interval_us().saturating_mul(amount));
        gone.max(wanted.saturating_sub(self.burst.saturating_mul(self.interval_us())).div_ceil(1000))
    }

    fn take(&self, cell: &mut impl Cell, amount: u64, now_ms: u64) {
        turn(cell, cell.get(FORM), now_ms);
        count(cell, amount);
        if self.burst > self.most {
            let interval = self.interval_us();
            let even = cell.get(EVEN).max(now_ms.saturating_mul(1000));
            cell.set(EVEN, even.saturating_add(interval.saturating_mul(amount)));
            if cell.get(INTERVAL) != interval {
                cell.set(INTERVAL, interval);
            }
        }
    }

    /// The time, which is not before the newest slice.
    fn at_least(&self, cell: &impl Cell, now_ms: u64) -> u64 {
        now_ms.max(cell.get(NEWEST).saturating_mul(self.slice_ms))
    }

    /// How long until all has gone: until its newest part has.
    fn clear_ms(&self, cell: &impl Cell, now_ms: u64) -> u64 {
        if cell.get(SUM) == 0 {
            return 0;
        }
        let newest = cell.get(NEWEST);
        let full = |number: &u64| cell.get(place(*number)) > 0;
        let last = (0..self.touched).map_while(|age| newest.checked_sub(age)).find(full);
        last.map_or(0, |number| self.until_gone(number, now_ms))
    }

    /// How long until so much of the oldest has gone.
    fn gone_ms(&self, cell: &impl Cell, mut over: u64, now_ms: u64) -> u64 {
        let newest = cell.get(NEWEST);
        for age in (0..self.touched).rev() {
            let Some(number) = newest.checked_sub(age) else { continue };
            let held = cell.get(place(number));
            if held >= over {
                return self.until_gone(number, now_ms);
            }
            over -= held;
        }
        // More than there is: never, in truth; whoever waits may look again when all is gone.
        self.until_gone(newest, now_ms)
    }

    fn until_gone(&self, number: u64, now_ms: u64) -> u64 {
        ((number + self.touched) * self.slice_ms).saturating_sub(now_ms)
    }
}

/// Makes the slice of `now_ms` the newest, and forgets those that no stretch up to it can touch.
fn turn(cell: &mut impl Cell, form: u64, now_ms: u64) {
    let (number, newest) = (now_ms / slice_ms(form).max(1), cell.get(NEWEST));
    if number <= newest {
        return;
    }
    if cell.get(SUM) > 0 {
        let untouched = (newest + 1..=number).take(RING as usize);
        for old in untouched.filter_map(|new| new.checked_sub(touched(form))) {
            let held = cell.get(place(old));
            if held > 0 {
                cell.set(place(old), 0);
                subtract(cell, SUM, held);
            }
        }
    }
    cell.set(NEWEST, number);
}

/// Counts in the newest slice.
fn count(cell: &mut impl Cell, amount: u64) {
    if amount > 0 {
        add(cell, place(cell.get(NEWEST)), amount);
        add(cell, SUM, amount);
    }
}

/// Takes back what was counted at `at_ms`, where that still counts.
fn give_back(cell: &mut impl Cell, form: u64, amount: u64, at_ms: u64) {
    // A clock that had gone back stood still at the newest.
    let (number, newest) = (at_ms / slice_ms(form).max(1), cell.get(NEWEST));
    if number + touched(form) > newest {
        let amount = amount.min(cell.get(place(number)));
        subtract(cell, place(number), amount);
        subtract(cell, SUM, amount);
    }
}

fn slice_ms(form: u64) -> u64 {
    form >> 8 & 0xFF_FFFF_FFFF
}

fn touched(form: u64) -> u64 {
    form >> 48
}

fn period(form: u64) -> Period {
    match form >> 4 & 3 {
        0 => Period::Day,
        1 => Period::Month,
        _ => Period::Ever,
    }
}

/// Where a slice lies.
fn place(number: u64) -> usize {
    SLICE + usize::try_from(number % RING).unwrap_or_default()
}

fn add(cell: &mut impl Cell, at: usize, amount: u64) {
    cell.set(at, cell.get(at).saturating_add(amount));
}

fn subtract(cell: &mut impl Cell, at: usize, amount: u64) {
    cell.set(at, cell.get(at).saturating_sub(amount));
}

/// Begins a period anew, if it has come.
fn roll(cell: &mut impl Cell, period: Period, now_ms: u64) {
    let number = period_number(period, now_ms);
    if number > cell.get(PERIOD) {
        cell.set(SETTLED, 0);
        cell.set(RESERVED, 0);
        cell.set(PERIOD, number);
        share::forget(cell);
    }
}

/// The number of a budget's period; 0 for all else.
pub(super) fn period_of(rule: &Rule, cell: &impl Cell) -> u64 {
    if matches!(rule, Rule::Budget { .. }) { cell.get(PERIOD) } else { 0 }
}

/// The number of the period, from 1970 on.
fn period_number(period: Period, ms: u64) -> u64 {
    match period {
        Period::Day => ms / DAY_MS,
        Period::Month => month(ms / DAY_MS),
        Period::Ever => 0,
    }
}

/// When the period ends, in milliseconds since 1970.
fn period_end(period: Period, ms: u64) -> u64 {
    match period {
        Period::Day => (ms / DAY_MS + 1) * DAY_MS,
        Period::Month => {
            let day = ms / DAY_MS;
            let next = (day + 1..=day + 31).find(|next| month(*next) > month(day));
            next.unwrap_or(day + 31) * DAY_MS
        }
        Period::Ever => u64::MAX,
    }
}

/// The month in which a day since 1970 lies, counted from the year 0 on (the years of this reckoning begin in March).
fn month(day: u64) -> u64 {
    let since = day + 719_468;
    let (era, of_era) = (since / 146_097, since % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    (era * 400 + year) * 12 + (5 * of_year + 2) / 153
}
