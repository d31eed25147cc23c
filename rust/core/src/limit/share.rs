//! What one of several hosts may use of a rule: its share, given by whoever sees the shares of all.
//!
//! Law: a host never uses more than its share, and the shares of all hosts are never more than the rule allows; so all of
//! them together never use more, in no stretch of time, whatever their clocks say. A share is lowered here before that
//! is told, and raised only by the answer to the newest question. A host that is alone comes down to its part at once,
//! and up to it when what others had is used up; without an answer all of them may use a hundredth more, and that is all.

#[cfg(test)]
mod tests;

use super::cell::{self, Cell, Room};
use super::{Rule, Window};

/// The words of a cell that hold its share: how much, until when, the newest question, what others have used, until when
/// that counts, and when there was last less than was asked for.
pub(super) const WORDS: usize = 6;
const SHARE: usize = cell::SHARE;
const UNTIL: usize = SHARE + 1;
const ASKED: usize = SHARE + 2;
const USED: usize = SHARE + 3;
const KNOWN: usize = SHARE + 4;
const SHORT: usize = SHARE + 5;

/// After so long without a word others keep a host's part for it (the script says the same): only then it is alone.
pub const ALONE_MS: u64 = 1000;
/// The part of a limit that hosts may use above their shares, all together, while they get no answer.
const ABOVE: u64 = 100;
/// The part of its part that a host keeps though it does not use it.
const FLOOR: u64 = 32;
/// How long after there was too little nobody asks again.
const PAUSE_MS: u64 = 20;
/// How long a share holds at least and at most, unless it is told anew.
const LAPSE_MS: (u64, u64) = (1000, 60_000);
/// How often what is unused of a budget is looked at.
const BUDGET_MS: u64 = 5000;
/// How long calls under way are believed to be those of a host that is not heard of.
const CALLS_MS: u64 = 60_000;
/// Sums are exact in every language up to here; a budget that is larger is shared as one of this size.
const EXACT: u64 = 1 << 53;

/// How much a host needs its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It has just asked for more.
    Now,
    /// It has asked within the last minute: a little is kept, so that the next call need not wait.
    Lately,
    /// It is long ago.
    Once,
}

/// What is asked for one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Which question it is: a later one is greater.
    pub number: u64,
    /// What the host keeps: what is used and what it still has. The first may be a little more than its share.
    pub keeps: u64,
    /// How much of it is used for good.
    pub used: u64,
    /// How much all hosts may have.
    pub most: u64,
    /// What a host has that nobody has heard of.
    pub alone: u64,
    /// How long what is told now counts, in milliseconds; 0: for ever.
    pub counts_ms: u64,
    /// The period of a budget.
    pub period: u64,
}

/// What is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answer {
    /// The share that the host has now.
    pub share: u64,
    /// What it is to come down to, because others wait for it.
    pub target: u64,
    /// What others have used for good.
    pub used: u64,
}

impl Rule {
    /// Whether hosts share it. A window that allows a burst is one of a profile, and each host keeps it for itself.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        !matches!(self, Self::Window(Window { burst, most, .. }) if burst > most)
    }

    /// How often its share is told anew; it holds twice as long.
    #[must_use]
    pub fn renewal_ms(&self) -> u64 {
        match self {
            Self::Window(window) => (window.per_ms / 100).clamp(LAPSE_MS.0, LAPSE_MS.1) / 2,
            Self::Concurrency(_) => LAPSE_MS.0 / 2,
            Self::Budget { .. } => BUDGET_MS,
        }
    }

    /// What one of so many hosts has by itself: of a budget nothing, for that would be spent.
    #[must_use]
    pub fn alone(&self, hosts: u64) -> u64 {
        match self {
            Self::Budget { .. } => 0,
            _ => self.most() / hosts.max(1),
        }
    }

    /// What one of so many hosts may use above its share while it gets no answer, so that it need not refuse all.
    #[must_use]
    pub fn above(&self, hosts: u64) -> u64 {
        match self {
            Self::Budget { .. } => 0,
            _ => self.most() / ABOVE / hosts.max(1),
        }
    }

    /// How much the host may have in use: its share, or what it has alone. `unheard_ms` is how long ago it last heard of
    /// the others, if that is too long.
    #[must_use]
    pub fn share(&self, cell: &impl Cell, hosts: u64, unheard_ms: Option<u64>, now_ms: u64) -> u64 {
        let Some(unheard_ms) = unheard_ms.filter(|_| !matches!(self, Self::Budget { .. })) else {
            return self.held(cell, now_ms);
        };
        let part = self.alone(hosts);
        if unheard_ms >= ALONE_MS.saturating_add(self.counts_ms()) {
            return part;
        }
        // What others had they may still have in use, and they come up to their parts no sooner.
        part.min(self.held(cell, now_ms.saturating_sub(unheard_ms)))
    }

    fn held(&self, cell: &impl Cell, now_ms: u64) -> u64 {
        let holds = matches!(self, Self::Budget { .. }) || now_ms < cell.get(UNTIL);
        if holds { cell.get(SHARE) } else { 0 }
    }

    /// How long what is told of it counts, in milliseconds; 0: for ever.
    fn counts_ms(&self) -> u64 {
        match self {
            Self::Window(window) => window.per_ms.saturating_add(window.per_ms / 30 + 4 * self.renewal_ms()),
            Self::Concurrency(_) => CALLS_MS,
            Self::Budget { .. } => 0,
        }
    }

    /// Whether there was too little a moment ago.
    #[must_use]
    pub fn was_short(&self, cell: &impl Cell, now_ms: u64) -> bool {
        now_ms < cell.get(SHORT)
    }

    /// The room that all hosts have together, as far as is known: what clients are told.
    #[must_use]
    pub fn together(&self, cell: &impl Cell, room: Room, now_ms: u64) -> Room {
        let used = if now_ms < cell.get(KNOWN) { cell.get(USED) } else { 0 };
        Room { used: room.used.saturating_add(used), left: room.left.saturating_sub(used), ..room }
    }

    /// Asks anew, and gives back what is not needed.
    pub fn question(
        &self,
        cell: &mut impl Cell,
        hosts: u64,
        need: Need,
        unheard_ms: Option<u64>,
        now_ms: u64,
    ) -> Question {
        let room = self.room(cell, now_ms);
        let unused = self.share(cell, hosts, unheard_ms, now_ms).saturating_sub(room.used);
        let kept = match need {
            Need::Now => unused,
            Need::Lately => (unused / 2).max(unused.min(self.most() / hosts.max(1) / FLOOR)),
            Need::Once => unused / 2,
        };
        let keeps = room.used.saturating_add(kept);
        // Milliseconds, so that a cell that is begun anew goes on where it was.
        let number = (now_ms << 10).max(cell.get(ASKED).saturating_add(1));
        cell.set(ASKED, number);
        // What is used above it becomes no part of it.
        cell.set(SHARE, keeps.min(cell.get(SHARE)));
        let firm = if matches!(self, Self::Budget { .. }) { room.reserved } else { 0 };
        Question {
            number,
            keeps,
            used: room.used.saturating_sub(firm),
            most: self.most().min(EXACT),
            alone: self.alone(hosts),
            counts_ms: self.counts_ms(),
            period: cell::period_of(self, cell),
        }
    }

    /// Takes the answer to a question of `asked_ms`; whether it is one to the newest.
    pub fn answer_to(
        &self,
        cell: &mut impl Cell,
        question: &Question,
        answer: &Answer,
        wanted: u64,
        asked_ms: u64,
    ) -> bool {
        if cell.get(ASKED) != question.number || cell::period_of(self, cell) != question.period {
            return false;
        }
        cell.set(SHARE, answer.share.min(answer.target));
        cell.set(UNTIL, asked_ms.saturating_add(2 * self.renewal_ms()));
        cell.set(USED, answer.used);
        let counts_ms = if question.counts_ms == 0 { u64::MAX } else { question.counts_ms };
        cell.set(KNOWN, asked_ms.saturating_add(counts_ms));
        if answer.share < question.keeps.saturating_add(wanted) {
            cell.set(SHORT, asked_ms.saturating_add(PAUSE_MS));
        }
        true
    }
}

/// Forgets the share: a period has begun in which nobody has one.
pub(super) fn forget(cell: &mut impl Cell) {
    for at in [SHARE, USED, KNOWN, SHORT] {
        cell.set(at, 0);
    }
}

/// Whether the host has a share of its own, which it must not forget.
pub(super) fn has_some(cell: &impl Cell) -> bool {
    cell.get(SHARE) > 0
}
