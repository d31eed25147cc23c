//! Who may use how much: what every call is asked for, reserved at its admission and settled at its end.
//!
//! Law: a call is counted under all its rules or under none, at once; what it did not use is given back exactly. Levels
//! are the key, its project, its tenant and the model; what the profile says holds where the key has no rate of its own.

mod seat;
mod standing;
mod table;
#[cfg(test)]
mod tests;
mod words;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use levada_core::auth::Key;
use levada_core::endpoint::Endpoint;
use levada_core::limit::cell::{Outcome, Room};
use levada_core::limit::price::Price;
use levada_core::limit::{Amounts, Measure, Rule, Unit as Counted, Window};
use levada_core::profile::rate::{Rate, Unit};
use levada_core::refusal::{Kind, Refusal};
use levada_core::snapshot::{Model, Snapshot};

use crate::disk::Disk;
pub use standing::Standing;
pub use table::Clock;
use table::{Locked, Table};
use words::Full;

/// What a level is called in the tags of its cells: these letters outlive a restart.
const KEY: u8 = b'k';
const PROJECT: u8 = b'p';
const TENANT: u8 = b't';
const MODEL: u8 = b'm';
/// The same for what a profile says, which is counted by itself.
const PROFILE: u8 = 0x20;

/// What is asked: by whom, at what.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The caller's key.
    pub key: &'a Key,
    /// The endpoint; nothing: a call that no window of some endpoints counts.
    pub endpoint: Option<Endpoint>,
    /// What the profile says.
    pub rate: &'a Rate,
    /// What the operator says of tenants and projects.
    pub snapshot: &'a Snapshot,
    /// The model, once it is known.
    pub model: Option<&'a Model>,
    /// When the call came, by the wall clock, in milliseconds since 1970.
    pub at_ms: u64,
}

/// What a call may use.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Tokens of its prompt, as far as they are known.
    pub input: u64,
    /// How long its answer may be.
    pub answer: Answer,
}

/// How long an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// At most so many tokens in all.
    Bounded(u64),
    /// Nobody has said: so many choices, each at most as long as this.
    Free {
        /// How many.
        choices: u64,
        /// How long at most.
        most: u64,
    },
}

/// What was reserved for a call, until it is settled.
#[derive(Debug)]
pub struct Reserved {
    table: Arc<Table>,
    row: usize,
    amounts: Amounts,
    price: Option<Price>,
}

/// An admitted call.
#[derive(Debug)]
pub struct Admitted {
    /// Where its caller stands now.
    pub standing: Standing,
    /// What it has reserved.
    pub reserved: Reserved,
    /// How long each choice may be, where the client has not said and a limit counts it.
    pub bound: Option<u64>,
}

/// One rule of a call, and its cell.
struct Held<'a> {
    rule: &'a Rule,
    tag: u64,
    place: usize,
    room: Room,
}

/// All limits.
#[derive(Debug)]
pub struct Limits {
    table: Arc<Table>,
}

impl Limits {
    /// The limits whose counts lie on this disk.
    ///
    /// # Errors
    /// There is no room for them, or too many processes share them.
    pub fn open(disk: Arc<dyn Disk>, clock: Clock) -> io::Result<Self> {
        Ok(Self { table: Arc::new(Table::open(disk, clock)?) })
    }

    /// Where the caller stands; nothing where nothing is limited.
    #[must_use]
    pub fn standing(&self, asked: Asked<'_>, now: Instant) -> Option<Standing> {
        let own = own(asked.key);
        let mut held = self.rules(&asked, own.as_ref());
        if held.is_empty() {
            return None;
        }
        let mut locked = self.table.lock();
        let now_ms = locked.now_ms(now);
        let mut standing = Standing::new(asked.at_ms, asked.rate.headers);
        for one in &mut held {
            let unused = Room { left: one.rule.most(), used: 0, reserved: 0, clear_ms: 0 };
            let room = match locked.find(one.tag) {
                Some(place) => one.rule.room(&mut locked.at(place), now_ms),
                None => unused,
            };
            standing.add(one.rule, &room);
        }
        Some(standing)
    }

    /// Reserves what a call may use; nothing where nothing is limited.
    ///
    /// # Errors
    /// There is no room: how long to wait.
    pub fn admit(&self, asked: Asked<'_>, wanted: Wanted, now: Instant) -> Result<Option<Admitted>, Refusal> {
        if asked.key.exhausted {
            return Err(Refusal::of(Kind::NoCredit));
        }
        let own = own(asked.key);
        let mut held = self.rules(&asked, own.as_ref());
        if held.is_empty() {
            return Ok(None);
        }
        let price = asked.model.and_then(|model| model.price);
        let (name, is_money) = (asked.model.map_or("", |model| &model.name), |one: &Held<'_>| {
            matches!(one.rule, Rule::Budget { unit: Counted::Money, .. })
        });
        if price.is_none() && held.iter().any(is_money) {
            return Err(Refusal::of(Kind::NoCredit).message(format!(
                "The model `{name}` has no price, and this key's budget is one of money."
            )));
        }
        let mut locked = self.table.lock();
        let now_ms = locked.now_ms(now);
        for one in &mut held {
            let place = locked.make(one.rule, one.tag, now_ms);
            one.place = place.ok_or_else(|| Refusal::of(Kind::Overloaded))?;
            one.room = one.rule.room(&mut locked.at(one.place), now_ms);
        }
        let (output, bound) = answer(&held, wanted, price.as_ref());
        let amounts = Amounts::expected(wanted.input, output, price.as_ref());
        if let Some(full) = full(&mut locked, &held, &amounts, now_ms) {
            return Err(full.refusal(asked.key, name));
        }
        let cells = held.iter().map(|one| (one.place, one.tag));
        let row = locked.reserve(now_ms, &amounts, cells).ok_or_else(|| Refusal::of(Kind::Overloaded))?;
        let mut standing = Standing::new(asked.at_ms, asked.rate.headers);
        for one in &held {
            one.rule.take(&mut locked.at(one.place), one.rule.amount(&amounts), now_ms);
            if matches!(one.rule, Rule::Window(_)) {
                standing.add(one.rule, &one.rule.room(&mut locked.at(one.place), now_ms));
            }
        }
        locked.done();
        drop(locked);
        let reserved = Reserved { table: Arc::clone(&self.table), row, amounts, price };
        Ok(Some(Admitted { standing, reserved, bound }))
    }

    /// Frees what dead processes hold; to be called every second.
    pub fn sweep(&self) {
        self.table.sweep();
    }

    /// How many calls have something reserved.
    #[must_use]
    pub fn open_calls(&self) -> usize {
        self.table.open_calls()
    }

    /// The rules that hold for a call, the nearest to the caller first.
    fn rules<'a>(&self, asked: &Asked<'a>, own: Option<&'a Rule>) -> Vec<Held<'a>> {
        let (key, snapshot) = (asked.key, asked.snapshot);
        let rated = own.is_some() || key.limits.iter().any(is_rate);
        let project = key.project.as_deref().map(|name| (name, named(&snapshot.projects, name)));
        let tenant = key.tenant.as_deref().map(|name| (name, named(&snapshot.tenants, name)));
        let levels = [
            Some((KEY, &*key.id, own.map_or(&key.limits[..], std::slice::from_ref))),
            own.map(|_| (KEY, &*key.id, &key.limits[..])),
            project.map(|(name, rules)| (PROJECT, name, rules)),
            tenant.map(|(name, rules)| (TENANT, name, rules)),
            asked.model.map(|model| (MODEL, &*model.name, &model.limits[..])),
            (!rated).then(|| {
                let (level, name) = sharing(key, asked.rate.unit);
                (level ^ PROFILE, name, &asked.rate.windows[..])
            }),
        ];
        let mut held = Vec::with_capacity(8);
        for (level, name, rules) in levels.into_iter().flatten() {
            for rule in rules.iter().filter(|rule| rule.counts(asked.endpoint)) {
                let tag = self.table.tag(level, name, rule.salt());
                let room = Room { left: 0, used: 0, reserved: 0, clear_ms: 0 };
                held.push(Held { rule, tag, place: 0, room });
            }
        }
        held
    }
}

impl Reserved {
    /// What it was: the input and the output.
    #[must_use]
    pub fn amounts(&self) -> Amounts {
        self.amounts
    }

    /// The call has ended, and this is what it took; nothing: nobody knows, and what was reserved stays counted.
    pub fn settle(self, took: Option<Took>) {
        let outcome = match took {
            None => Outcome::Unknown,
            Some(took) => {
                let cost = self.price.map_or(0, |price| price.cost(took.input, took.cached, took.output));
                Outcome::Took(Amounts { input: took.input, output: took.output, cost })
            }
        };
        self.end(outcome);
    }

    /// The call was not begun after all: it counts nowhere.
    pub fn abort(self) {
        self.end(Outcome::Never);
    }

    fn end(self, outcome: Outcome) {
        // The time is of use only where more was taken than reserved, which is rare.
        let over = matches!(outcome, Outcome::Took(took) if took.exceeds(&self.amounts));
        let mut locked = self.table.lock();
        let now_ms = if over { locked.now_ms(Instant::now()) } else { 0 };
        locked.settle(self.row, outcome, now_ms);
    }
}

/// The tokens that a call has taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Took {
    /// Those of its prompt.
    pub input: u64,
    /// Those of them that came from the backend's cache.
    pub cached: u64,
    /// Those of its answer.
    pub output: u64,
}

/// How long the answer may be in all; and each choice, where the limits decide it.
fn answer(held: &[Held<'_>], wanted: Wanted, price: Option<&Price>) -> (u64, Option<u64>) {
    let (choices, most) = match wanted.answer {
        Answer::Bounded(output) => return (output, None),
        Answer::Free { choices, most } => (choices.max(1), most),
    };
    if !held.iter().any(|one| one.rule.counts_output()) {
        return (0, None);
    }
    let left = held.iter().map(|one| one.rule.answer(one.room.left, wanted.input, price)).min();
    // With no room for a single token the call is refused for the shortest answer.
    let each = (left.unwrap_or(u64::MAX) / choices).min(most).max(1);
    (each.saturating_mul(choices), Some(each))
}

/// The rule without room: one for which waiting is in vain, or the last to have some.
fn full<'a>(locked: &mut Locked<'_>, held: &[Held<'a>], amounts: &Amounts, now_ms: u64) -> Option<Full<'a>> {
    let mut worst: Option<Full<'a>> = None;
    for one in held {
        let (rule, room, amount) = (one.rule, one.room, one.rule.amount(amounts));
        if amount <= room.left && !(amount == 0 && is_spent(rule, &room)) {
            continue;
        }
        let wait_ms = rule.wait_ms(&mut locked.at(one.place), amount.max(1), now_ms);
        let full = Full { rule, room, amount, wait_ms };
        let rank = |full: &Full<'_>| (full.is_in_vain(), full.wait_ms);
        if worst.as_ref().is_none_or(|worst| rank(worst) < rank(&full)) {
            worst = Some(full);
        }
    }
    worst
}

/// Whether a budget is gone, so that not even what costs nothing passes.
fn is_spent(rule: &Rule, room: &Room) -> bool {
    matches!(rule, Rule::Budget { .. }) && room.left == 0
}

/// The requests a minute that the key alone has, in place of what the profile says.
fn own(key: &Key) -> Option<Rule> {
    let given = key.requests_per_minute.filter(|_| !key.limits.iter().any(is_rate));
    given.map(|requests| Rule::Window(Window::a_minute(requests)))
}

fn is_rate(rule: &Rule) -> bool {
    matches!(rule, Rule::Window(Window { measure: Measure::Requests, .. }))
}

/// The rules of the one that is named, or of all that are not.
fn named<'a>(all: &'a std::collections::HashMap<Box<str>, Vec<Rule>>, name: &str) -> &'a [Rule] {
    all.get(name).or_else(|| all.get("*")).map_or(&[], Vec::as_slice)
}

/// Who shares what a profile says.
fn sharing(key: &Key, unit: Unit) -> (u8, &str) {
    match (unit, &key.project) {
        (Unit::Project, Some(project)) => (PROJECT, project),
        (Unit::Key | Unit::Project, _) => (KEY, &key.id),
        (Unit::Contract, _) => (TENANT, key.tenant.as_deref().unwrap_or_default()),
    }
}
