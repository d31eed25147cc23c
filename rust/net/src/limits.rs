//! Who may use how much: what every call is asked for, reserved at its admission and settled at its end.
//!
//! Law: a call is counted under all its rules or under none, at once; what it did not use is given back exactly. Levels
//! are the key, its project, its tenant and the model; what the profile says holds where the key has no rate of its own.

mod exchange;
mod seat;
mod standing;
mod table;
#[cfg(test)]
mod tests;
mod words;

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use levada_core::auth::Key;
use levada_core::endpoint::Endpoint;
use levada_core::limit::cell::{Cell, Outcome, Room};
use levada_core::limit::price::Price;
use levada_core::limit::{Amounts, Measure, Rule, Unit as Counted, Window};
use levada_core::profile::rate::{Rate, Unit};
use levada_core::refusal::{Kind, Refusal};
use levada_core::snapshot::{Model, Snapshot};

use crate::disk::Disk;
pub use exchange::Ticket;
use exchange::{Exchange, Wish};
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

/// Why a call is not admitted.
#[derive(Debug)]
pub enum Denied {
    /// There is no room.
    Refused(Refusal),
    /// There may be room at other hosts: this waits for their word.
    Short(Ticket),
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// One rule of a call, and its cell.
struct Held<'a> {
    rule: &'a Rule,
    level: u8,
    name: &'a str,
    tag: u64,
    place: usize,
    room: Room,
    /// How much more this host may use of it.
    share: u64,
}

/// All limits.
#[derive(Debug)]
pub struct Limits {
    table: Arc<Table>,
    exchange: OnceLock<Arc<Exchange>>,
}

/// Of what runs low, as much as so many calls take is asked for, or a hundredth of all.
const AHEAD: u64 = 16;
const LOW: u64 = 4;
/// How long whoever lacks what other hosts have is told to wait.
const OTHERS_MS: u64 = 1000;

impl Limits {
    /// The limits whose counts lie on this disk.
    ///
    /// # Errors
    /// There is no room for them, or too many processes share them.
    pub fn open(disk: Arc<dyn Disk>, clock: Clock) -> io::Result<Self> {
        Ok(Self { table: Arc::new(Table::open(disk, clock)?), exchange: OnceLock::new() })
    }

    /// Shares them with other hosts, so many in all, through this Redis, as long as the result is polled.
    ///
    /// # Errors
    /// This is no address of a Redis.
    pub fn share(&self, url: &str, hosts: u64) -> Result<impl Future<Output = ()> + Send + use<>, String> {
        let client = redis::Client::open(url).map_err(|error| error.to_string())?;
        let exchange = self.exchange.get_or_init(|| Arc::new(Exchange::new(Arc::clone(&self.table), hosts)));
        Ok(Arc::clone(exchange).run(client))
    }

    /// Whether other hosts' use is known.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.exchange.get().is_some_and(|exchange| exchange.is_up())
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
                Some(place) => {
                    let room = one.rule.room(&mut locked.at(place), now_ms);
                    self.together(one.rule, &locked.at(place), room, now_ms)
                }
                None => unused,
            };
            standing.add(one.rule, &room);
        }
        Some(standing)
    }

    /// Reserves what a call may use; nothing where nothing is limited. A call that has waited is told at the `last`.
    ///
    /// # Errors
    /// There is no room: how long to wait.
    pub fn admit(
        &self,
        asked: Asked<'_>,
        wanted: Wanted,
        now: Instant,
        last: bool,
    ) -> Result<Option<Admitted>, Denied> {
        if asked.key.exhausted {
            return Err(Refusal::of(Kind::NoCredit).into());
        }
        let own = own(asked.key);
        let mut held = self.rules(&asked, own.as_ref());
        if held.is_empty() {
            return Ok(None);
        }
        let price = asked.model.and_then(|model| model.price);
        let name = asked.model.map_or("", |model| &model.name);
        check_priced(&held, price.as_ref(), name)?;
        let mut locked = self.table.lock();
        let now_ms = locked.now_ms(now);
        let exchange = self.exchange.get();
        for one in &mut held {
            let place = locked.make(one.rule, one.tag, now_ms);
            one.place = place.ok_or_else(|| Refusal::of(Kind::Overloaded))?;
            one.room = one.rule.room(&mut locked.at(one.place), now_ms);
            if let Some(exchange) = exchange.filter(|_| one.rule.is_shared()) {
                let cell = locked.at(one.place);
                let (hosts, was_short) = (exchange.hosts(), one.rule.was_short(&cell, now_ms));
                let mut share = one.rule.share(&cell, hosts, exchange.unheard_ms(), now_ms);
                let is_unanswered = last || !exchange.is_up();
                if is_unanswered && !was_short {
                    share = share.saturating_add(one.rule.above(hosts));
                }
                one.share = share.saturating_sub(one.room.used);
                // Without a word from others there is no more than that.
                if is_unanswered || was_short {
                    one.room.left = one.room.left.min(one.share);
                }
            }
        }
        let (output, bound) = answer(&held, wanted, price.as_ref());
        let amounts = Amounts::expected(wanted.input, output, price.as_ref());
        if let Some(mut full) = full(&mut locked, &held, &amounts, now_ms) {
            full.room = self.together(full.rule, &locked.at(full.place), full.room, now_ms);
            return Err(full.refusal(asked.key, name).into());
        }
        let wishes = lacking(&held, &amounts);
        if !wishes.is_empty() {
            drop(locked);
            return match exchange.and_then(|exchange| exchange.ask(wishes)) {
                Some(ticket) => Err(Denied::Short(ticket)),
                None => self.admit(asked, wanted, now, true),
            };
        }
        let cells = held.iter().map(|one| (one.place, one.tag));
        let row = locked.reserve(now_ms, &amounts, cells).ok_or_else(|| Refusal::of(Kind::Overloaded))?;
        let mut standing = Standing::new(asked.at_ms, asked.rate.headers);
        for one in &held {
            one.rule.take(&mut locked.at(one.place), one.rule.amount(&amounts), now_ms);
            if matches!(one.rule, Rule::Window(_)) {
                let room = one.rule.room(&mut locked.at(one.place), now_ms);
                standing.add(one.rule, &self.together(one.rule, &locked.at(one.place), room, now_ms));
            }
        }
        locked.done();
        drop(locked);
        if let Some(exchange) = exchange {
            exchange.ask(running_low(&held, &amounts));
        }
        let reserved = Reserved { table: Arc::clone(&self.table), row, amounts, price };
        Ok(Some(Admitted { standing, reserved, bound }))
    }

    /// The room that all hosts have together.
    fn together(&self, rule: &Rule, cell: &impl Cell, room: Room, now_ms: u64) -> Room {
        if self.exchange.get().is_some() { rule.together(cell, room, now_ms) } else { room }
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
                held.push(Held { rule, level, name, tag, place: 0, room, share: u64::MAX });
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

/// A budget of money holds only for what has a price.
fn check_priced(held: &[Held<'_>], price: Option<&Price>, name: &str) -> Result<(), Refusal> {
    let is_money = |one: &Held<'_>| matches!(one.rule, Rule::Budget { unit: Counted::Money, .. });
    if price.is_none() && held.iter().any(is_money) {
        return Err(Refusal::of(Kind::NoCredit)
            .message(format!("The model `{name}` has no price, and this key's budget is one of money.")));
    }
    Ok(())
}

/// What this host's shares lack for a call.
fn lacking(held: &[Held<'_>], amounts: &Amounts) -> Vec<Wish> {
    let lacks = |one: &&Held<'_>| one.share < least(one.rule.amount(amounts), one.rule);
    held.iter().filter(lacks).map(|one| one.wish(least(one.rule.amount(amounts), one.rule))).collect()
}

/// A budget must have something left even for what costs nothing.
fn least(amount: u64, rule: &Rule) -> u64 {
    if matches!(rule, Rule::Budget { .. }) { amount.max(1) } else { amount }
}

/// What calls like this one will soon lack.
fn running_low(held: &[Held<'_>], amounts: &Amounts) -> Vec<Wish> {
    let is_low = |one: &&Held<'_>| {
        let amount = one.rule.amount(amounts);
        amount > 0 && one.share < amount.saturating_mul(LOW) && one.share < one.room.left
    };
    let wish = |one: &Held<'_>| Wish { need: 0, ..one.wish(one.rule.amount(amounts)) };
    held.iter().filter(is_low).map(wish).collect()
}

impl Held<'_> {
    /// So much of it, and some more for the calls to come.
    fn wish(&self, need: u64) -> Wish {
        let extra = need.saturating_mul(AHEAD).max(self.rule.most() / 100);
        Wish {
            tag: self.tag,
            level: self.level,
            name: self.name.into(),
            rule: self.rule.clone(),
            need,
            extra,
        }
    }
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
        // What others have may come back at any time.
        let wait_ms = if wait_ms == 0 { OTHERS_MS } else { wait_ms };
        let full = Full { rule, room, amount, wait_ms, place: one.place };
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
