//! Limits: how much of what may pass in how long a time, at once, or for how much money.
//!
//! Law: data only. `cell` does the arithmetic of one rule, on words that may lie anywhere; `read` brings a rule from its
//! document; `share` says what one of several hosts may use. A rule has one cell for each account that it holds for.

pub mod cell;
pub mod price;
mod read;
pub mod share;
#[cfg(test)]
mod tests;

pub(crate) use read::{accounts, list, section};

use crate::endpoint::Endpoint;
use price::Price;

/// Into how many slices a window is cut at most; a slice is no shorter than a millisecond.
const SLICES: u64 = 60;
/// A year: no window is longer.
pub const LONGEST_MS: u64 = 366 * 86_400_000;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Requests.
    Requests,
    /// Tokens of prompts.
    Input,
    /// Tokens of answers.
    Output,
    /// Both.
    Tokens,
}

/// So much in so long a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// What is counted.
    pub measure: Measure,
    /// How much in the long run.
    pub most: u64,
    /// The time, in milliseconds.
    pub per_ms: u64,
    /// How much at once, after a rest: at least as much.
    pub burst: u64,
    /// The endpoints that count, a bit each; nothing: all of them.
    pub endpoints: Option<u64>,
    /// A slice, in milliseconds.
    slice_ms: u64,
    /// How many slices a stretch as long as the window touches.
    touched: u64,
}

/// When a budget begins anew, by the calendar of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// Every day.
    Day,
    /// On the first of every month.
    Month,
    /// Never.
    Ever,
}

/// What a budget is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Millionths of the unit of money.
    Money,
    /// Tokens of prompts and answers.
    Tokens,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// So much in so long a time.
    Window(Window),
    /// So many calls at once.
    Concurrency(u64),
    /// So much in a period of the calendar.
    Budget {
        /// What it is counted in.
        unit: Unit,
        /// How much.
        most: u64,
        /// When it begins anew.
        period: Period,
    },
}

/// What a call takes, or has taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Tokens of the prompt.
    pub input: u64,
    /// Tokens of the answer.
    pub output: u64,
    /// Millionths of the unit of money.
    pub cost: u64,
}

impl Amounts {
    /// The tokens of a call that is still to come, and what they cost at most.
    #[must_use]
    pub fn expected(input: u64, output: u64, price: Option<&Price>) -> Self {
        Self { input, output, cost: price.map_or(0, |price| price.most(input, output)) }
    }

    /// Whether it is more than `other` in anything.
    #[must_use]
    pub fn exceeds(&self, other: &Self) -> bool {
        self.input > other.input || self.output > other.output || self.cost > other.cost
    }

    fn tokens(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

impl Window {
    /// So many requests a minute.
    #[must_use]
    pub fn a_minute(requests: u32) -> Self {
        Self::new(Measure::Requests, u64::from(requests), 60_000)
    }

    /// So much in so many milliseconds, and no more at once.
    #[must_use]
    pub fn new(measure: Measure, most: u64, per_ms: u64) -> Self {
        let slice_ms = per_ms.div_ceil(SLICES).max(1);
        let touched = per_ms.div_ceil(slice_ms) + 1;
        Self { measure, most, per_ms, burst: most, endpoints: None, slice_ms, touched }
    }

    /// How far apart requests are in the long run, in microseconds.
    fn interval_us(&self) -> u64 {
        (self.per_ms * 1000).div_ceil(self.most.max(1))
    }
}

/// The bits of some endpoints.
pub fn mask(endpoints: impl Iterator<Item = Endpoint>) -> u64 {
    endpoints.fold(0, |bits, endpoint| bits | 1 << endpoint as u32)
}

impl Rule {
    /// Whether it holds for a call to this endpoint; to none, for a call that goes to no backend.
    #[must_use]
    pub fn counts(&self, endpoint: Option<Endpoint>) -> bool {
        match (self, endpoint) {
            (Self::Window(Window { endpoints: Some(bits), .. }), Some(endpoint)) => {
                bits >> endpoint as u32 & 1 == 1
            }
            // A call that goes to no backend uses up nothing; it is told of what all calls share.
            (Self::Window(Window { endpoints: Some(_), .. }), None) => false,
            _ => true,
        }
    }

    /// How much at most.
    #[must_use]
    pub fn most(&self) -> u64 {
        match self {
            Self::Window(window) => window.burst,
            Self::Concurrency(most) | Self::Budget { most, .. } => *most,
        }
    }

    /// How much of a call it counts.
    #[must_use]
    pub fn amount(&self, call: &Amounts) -> u64 {
        match self {
            Self::Window(window) => measured(window.measure, call),
            Self::Concurrency(_) => 1,
            Self::Budget { unit: Unit::Money, .. } => call.cost,
            Self::Budget { unit: Unit::Tokens, .. } => call.tokens(),
        }
    }

    /// Whether a longer answer takes more of it.
    #[must_use]
    pub fn counts_output(&self) -> bool {
        match self {
            Self::Window(window) => matches!(window.measure, Measure::Output | Measure::Tokens),
            Self::Concurrency(_) => false,
            Self::Budget { .. } => true,
        }
    }

    /// How long an answer may be if a call with this prompt is to fit into `left`.
    #[must_use]
    pub fn answer(&self, left: u64, input: u64, price: Option<&Price>) -> u64 {
        match self {
            Self::Window(Window { measure: Measure::Output, .. }) => left,
            Self::Window(Window { measure: Measure::Tokens, .. })
            | Self::Budget { unit: Unit::Tokens, .. } => left.saturating_sub(input),
            Self::Budget { unit: Unit::Money, .. } => price.map_or(0, |price| price.answer(left, input)),
            Self::Window(_) | Self::Concurrency(_) => u64::MAX,
        }
    }

    /// What tells its cell from another's of the same account. How much it allows is no part of it: who is allowed more
    /// has still used what was used.
    #[must_use]
    pub fn salt(&self) -> u64 {
        match self {
            Self::Window(window) => {
                let endpoints = window.endpoints.unwrap_or(u64::MAX);
                self.form() ^ window.per_ms.rotate_left(20) ^ endpoints.wrapping_mul(0x9E37_79B9_7F4A_7C15)
            }
            Self::Concurrency(_) | Self::Budget { .. } => self.form(),
        }
    }
}

fn measured(measure: Measure, call: &Amounts) -> u64 {
    match measure {
        Measure::Requests => 1,
        Measure::Input => call.input,
        Measure::Output => call.output,
        Measure::Tokens => call.tokens(),
    }
}
