//! What dead workers have left: their records are read on, and their open calls are settled as interrupted.
//!
//! Law: a call is settled once. One whose record is in its journal has been; one whose slot is taken has not. A death in
//! the middle of this leaves it to be done again, under the same number, which the ledger knows.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::backlog::{Source, Walk};
use super::slots::{Left, Slots};
use super::{Journal, SLOTS, lock};

impl Journal {
    /// Takes over the journals whose owners are gone.
    pub(super) fn adopt(&self) {
        for name in self.disk.list("").unwrap_or_default() {
            if *name == *self.name {
                continue;
            }
            let Ok(Some(owned)) = self.disk.own(&name) else { continue };
            let Ok(region) = self.disk.open(&format!("{name}/{SLOTS}")) else {
                // It died before it had begun.
                let _ = self.disk.disown(&name, owned);
                continue;
            };
            let slots = Arc::new(Slots::new(region));
            let segments = self.disk.list(&name).unwrap_or_default();
            let dead = Source::new(&name, Arc::clone(&slots), &segments, Some(owned));
            let left = slots.left();
            let settled = if left.is_empty() { HashSet::new() } else { self.settled(&dead) };
            for call in left {
                let done = settled.contains(&call.number) || self.append(&interrupted(&name, &call));
                if done {
                    slots.free(call.place);
                }
            }
            lock(&self.backlog).adopt(dead);
        }
        lock(&self.backlog).bury(&*self.disk);
    }

    /// The numbers of the calls whose records a dead journal has.
    fn settled(&self, dead: &Source) -> HashSet<u64> {
        let entries = Walk::all(&*self.disk, dead).filter_map(Result::ok);
        entries.filter_map(|(_, text)| own_number(&text)).collect()
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
