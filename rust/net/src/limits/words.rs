//! What a caller is told whose limits have no room: OpenAI's words, and how long to wait.
//!
//! Law: a caller for whom waiting is in vain is told so.

use levada_core::auth::Key;
use levada_core::limit::cell::Room;
use levada_core::limit::{Measure, Period, Rule, Unit, Window};
use levada_core::refusal::{Kind, Refusal};

use super::standing::span;

/// A rule without room for a call.
#[derive(Debug, Clone, Copy)]
pub struct Full<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// What there is.
    pub room: Room,
    /// How much the call asks for.
    pub amount: u64,
    /// How long to wait, in milliseconds.
    pub wait_ms: u64,
    /// Where its cell lies.
    pub place: usize,
}

impl Full<'_> {
    /// Whether no waiting helps, or none that a client would do.
    #[must_use]
    pub fn is_in_vain(&self) -> bool {
        let Rule::Budget { most, .. } = self.rule else { return self.amount > self.rule.most() };
        // What calls under way may give back is worth a wait.
        self.room.used.saturating_sub(self.room.reserved).saturating_add(self.amount.max(1)) > *most
    }

    /// The refusal, in the words for `model`.
    #[must_use]
    pub fn refusal(&self, key: &Key, model: &str) -> Refusal {
        let tenant = key.tenant.as_ref().map(|name| format!(" in organization {name}")).unwrap_or_default();
        let (limit, used, amount) = (self.rule.most(), self.room.used, self.amount);
        let (what, tokens) = match self.rule {
            Rule::Window(window) => {
                (format!("{} {}", measured(window), per(window)), window.measure != Measure::Requests)
            }
            Rule::Concurrency(_) => ("concurrent requests".to_owned(), false),
            Rule::Budget { .. } if self.is_in_vain() => return self.exhausted(),
            Rule::Budget { unit, period, .. } => (budget(*unit, *period), *unit == Unit::Tokens),
        };
        let seconds = u32::try_from(self.wait_ms.div_ceil(1000).max(1)).unwrap_or(u32::MAX);
        let refusal = Refusal::of(Kind::LimitReached).after(seconds);
        let refusal = if tokens {
            refusal.with_type(Some("tokens".to_owned()), Some("rate_limit_exceeded".to_owned()))
        } else {
            refusal
        };
        if self.is_in_vain() {
            return refusal.in_vain().message(format!(
                "Request too large for {model}{tenant} on {what}: Limit {limit}, Requested {amount}. The input or \
                 output tokens must be reduced in order to run successfully."
            ));
        }
        refusal.message(format!(
            "Rate limit reached for {model}{tenant} on {what}: Limit {limit}, Used {used}, Requested {amount}. \
             Please try again in {}.",
            span(self.wait_ms)
        ))
    }

    fn exhausted(&self) -> Refusal {
        Refusal::of(Kind::NoCredit)
    }
}

fn measured(window: &Window) -> &'static str {
    match window.measure {
        Measure::Requests => "requests",
        Measure::Input => "input tokens",
        Measure::Output => "output tokens",
        Measure::Tokens => "tokens",
    }
}

fn per(window: &Window) -> String {
    let letter = match window.measure {
        Measure::Requests => "R",
        Measure::Input => "IT",
        Measure::Output => "OT",
        Measure::Tokens => "T",
    };
    match window.per_ms {
        1000 => format!("per second ({letter}PS)"),
        60_000 => format!("per min ({letter}PM)"),
        3_600_000 => format!("per hour ({letter}PH)"),
        86_400_000 => format!("per day ({letter}PD)"),
        ms => format!("per {}", span(ms)),
    }
}

fn budget(unit: Unit, period: Period) -> String {
    let unit = if unit == Unit::Money { "money" } else { "tokens" };
    let period = match period {
        Period::Day => " of this day",
        Period::Month => " of this month",
        Period::Ever => "",
    };
    format!("the budget of {unit}{period}")
}
