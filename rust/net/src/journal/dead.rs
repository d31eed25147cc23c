//! What dead workers have left: their records are read on, and their open calls are settled as interrupted.
//!
//! Law: a call is settled once. One whose record is in its journal has been; one whose slot is taken has not. A death in
//! the middle of this leaves it to be done again, under the same number, which the ledger knows.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use levada_core::{journal as form, planted};
use serde_json::{Map, Value};

use super::backlog::{Source, Walk};
use super::hot::Follower;
use super::keeper::Keeper;
use super::log::{self, Log};
use super::slots::{Left, Slots};
use super::{HOT, Journal, SLOTS, lock, segments};
use crate::disk::{Disk, Owned};

impl Journal {
    /// Takes over the journals whose owners are gone.
    pub(super) fn adopt(&self) {
        if planted::is("replay_skipped") {
            return;
        }
        for name in self.disk.list("").unwrap_or_default() {
            if *name == *self.name {
                continue;
            }
            let Ok(Some(owned)) = self.disk.own(&name) else { continue };
            if segments(&*self.disk, &name).is_ok_and(|all| all.is_empty()) {
                // It died before it had begun: nobody has written in it.
                let _ = super::backlog::bury(&*self.disk, &name, owned);
            } else if let Err(error) = self.inherit(&name, owned) {
                lock(&self.backlog).damaged(format!("{name}: {error}"));
            }
        }
        lock(&self.backlog).bury(&*self.disk);
    }

    fn inherit(&self, name: &str, owned: Owned) -> io::Result<()> {
        let slots = Arc::new(Slots::new(self.disk.mapped(&format!("{name}/{SLOTS}"))?));
        let log = Log::of_dead(Arc::clone(&self.disk), name, self.terms)?;
        let follower = Follower::of_dead(self.disk.mapped(&format!("{name}/{HOT}"))?, log.next());
        let mut keeper = Keeper::new(log, follower);
        if !planted::is("dead_hot_lost") {
            keeper.carry()?;
        }
        while keeper.skip_damage() {
            lock(&self.backlog).damaged(format!("{name}/{HOT}: an entry is not as it was written"));
            keeper.carry()?;
        }
        let mut dead = Source::dead(name, Arc::clone(&slots), owned);
        let left = slots.left();
        let settled = if left.is_empty() { HashSet::new() } else { self.settled(&dead) };
        for mut call in left {
            if planted::is("left_forgotten") {
                slots.free(call.place);
                continue;
            }
            if planted::is("interrupted_free") {
                call.usage = Default::default()
            }
            let fits = call.text.len() <= form::TEXT_BYTES;
            if settled.contains(&call.number) || (fits && self.append(&interrupted(name, &call)).is_some()) {
                slots.free(call.place);
            }
        }
        if slots.left().is_empty() {
            dead.remap(self.release(name, keeper)?);
        }
        lock(&self.backlog).adopt(dead);
        Ok(())
    }

    /// Gives back what a dead journal no longer needs: all of it is in its log. Where the disk cannot do that, it stays
    /// until the ledger has the log. What is left of its slots is the answer.
    fn release(&self, name: &str, keeper: Keeper) -> io::Result<Arc<Slots>> {
        let _ = keeper.end();
        for (file, bytes) in [(HOT, 0), (SLOTS, Slots::CALLS_AT)] {
            let _ = self.disk.cut(&format!("{name}/{file}"), bytes);
        }
        Ok(Arc::new(Slots::new(self.disk.mapped(&format!("{name}/{SLOTS}"))?)))
    }

    /// The numbers of the calls whose records a dead journal has.
    fn settled(&self, dead: &Source) -> HashSet<u64> {
        let entries = Walk::all(&*self.disk, dead).filter_map(Result::ok);
        entries.filter_map(|(_, text)| own_number(&text)).collect()
    }
}

/// Frees the room that the dead beside this journal had set aside and not used.
pub(super) fn shed(disk: &dyn Disk, name: &str) {
    for dead in disk.list("").unwrap_or_default().iter().filter(|dead| **dead != *name) {
        if let Ok(Some(_owned)) = disk.own(dead) {
            let _ = log::begun(disk, dead);
        }
    }
}

/// The number of a journal's own call; nothing for a call of another that was settled in it.
fn own_number(text: &[u8]) -> Option<u64> {
    let record: Map<String, Value> = serde_json::from_slice(text).ok()?;
    if record.contains_key("of") { None } else { record.get("call")?.as_u64() }
}

/// The record of a call that its own worker could not settle.
fn interrupted(journal: &str, call: &Left) -> Vec<u8> {
    let told: Map<String, Value> = serde_json::from_slice(&call.text).unwrap_or_default();
    let mut record = Map::new();
    record.insert("of".into(), journal.into());
    record.insert("call".into(), call.number.into());
    record.extend(told);
    let counts = [
        ("prompt_tokens", call.usage.prompt),
        ("completion_tokens", call.usage.completion),
        ("cached_tokens", call.usage.cached),
        ("created_tokens", call.usage.created),
        ("reasoning_tokens", call.usage.reasoning),
    ];
    record.extend(counts.map(|(name, count)| (name.to_owned(), count.into())));
    record.insert("usage".into(), call.source.name().into());
    serde_json::to_vec(&record).unwrap_or_default()
}
