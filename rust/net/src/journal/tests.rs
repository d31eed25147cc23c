//! The journal on a disk that dies: nothing that was settled is lost or doubled.

use std::collections::BTreeMap;
use std::sync::Arc;

use levada_core::record::{End, Record};
use levada_core::usage::{Source, Usage};
use serde_json::Value;

use super::{Begun, Journal, Sizes};
use crate::disk;
use memory::Memory;

#[path = "../../tests/support/memory.rs"]
mod memory;

const SMALL: Sizes = Sizes { hot: 64 * 1024, segment: 32 * 1024, quota: 1 << 20 };

fn record(id: &str) -> Record<'_> {
    Record {
        call: 0,
        id,
        at_ms: 1,
        key: Some("k"),
        endpoint: Some("chat.completions"),
        model: Some("m"),
        backend: None,
        attempts: 0,
        stream: true,
        status: 200,
        end: End::Done,
        prompt_tokens: 0,
        completion_tokens: 0,
        cached_tokens: 0,
        created_tokens: 0,
        reasoning_tokens: 0,
        usage: "unknown",
        first_byte_us: None,
        total_us: 0,
    }
}

fn journal(disk: &Memory, name: &str) -> Journal {
    Journal::new(Arc::new(disk.clone()), name, SMALL).unwrap()
}

fn settle(journal: &Journal, id: &str, tokens: u64) {
    let mut record = record(id);
    let begun = journal.begin(&mut record).unwrap();
    let done = Record { call: begun.number(), end: End::Done, completion_tokens: tokens, ..record };
    journal.settle(&begun, &done);
}

/// All that is not acknowledged, by the call's own number; each once.
fn drained(journal: &Journal) -> BTreeMap<String, Value> {
    journal.carry();
    let mut found = BTreeMap::new();
    loop {
        let lines = journal.records(7);
        assert_eq!(lines.damages, Vec::<String>::new());
        for line in lines.text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let record: Value = serde_json::from_slice(line).unwrap();
            let of = record.get("of").unwrap_or(&record["journal"]).as_str().unwrap().to_owned();
            let before = found.insert(format!("{of}-{}", record["call"]), record);
            assert!(before.is_none(), "{before:?} came twice");
        }
        journal.acknowledge(lines.count);
        if lines.count == 0 {
            return found;
        }
    }
}

#[test]
fn what_is_settled_is_handed_out_until_it_is_acknowledged() {
    let disk = Memory::default();
    let journal = journal(&disk, "a");
    for call in 0..5 {
        settle(&journal, &format!("r{call}"), call);
    }
    assert_eq!(journal.records(3).count, 0);
    journal.carry();
    let lines = journal.records(3);
    assert_eq!(lines.count, 3);
    assert_eq!(lines.text, journal.records(3).text);
    journal.acknowledge(2);
    let rest = drained(&journal);
    assert_eq!(rest.keys().collect::<Vec<_>>(), ["a-2", "a-3", "a-4"]);
    assert_eq!(rest["a-3"]["completion_tokens"], 3);
    assert_eq!(rest["a-3"]["end"], "done");
}

#[test]
fn segments_come_and_go() {
    let disk = Memory::default();
    let journal = journal(&disk, "a");
    for round in 0..20 {
        for call in 0..50 {
            settle(&journal, &format!("r{call}"), call);
        }
        assert_eq!(drained(&journal).len(), 50, "round {round}");
    }
    assert!(disk.files("a").len() <= 6, "{:?}", disk.files("a"));
}

#[test]
fn a_killed_worker_loses_nothing() {
    let disk = Memory::default();
    let first = journal(&disk, "a");
    settle(&first, "r0", 10);
    let open = first.begin(&mut record("r1")).unwrap();
    let usage = Usage { prompt: 4, completion: 9, ..Usage::default() };
    first.note(&open, &usage, Source::EngineFinal);
    settle(&first, "r2", 12);
    drop(first);
    let second = journal(&disk, "b");
    let found = drained(&second);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["a-0", "a-1", "a-2"]);
    let cut = &found["a-1"];
    assert_eq!(
        (&cut["end"], &cut["completion_tokens"], &cut["id"], &cut["usage"]),
        (&"interrupted".into(), &9.into(), &"r1".into(), &"engine_final".into())
    );
    // What is acknowledged is buried, and comes no more.
    second.adopt();
    assert!(disk.files("a").is_empty());
    drop(second);
    assert!(drained(&journal(&disk, "c")).is_empty());
}

#[test]
fn a_death_between_the_record_and_its_slot_settles_once() {
    let disk = Memory::default();
    let first = journal(&disk, "a");
    let mut record = record("r");
    let begun = first.begin(&mut record).unwrap();
    record.call = begun.number();
    record.end = End::Done;
    assert!(first.append(&record.text()));
    drop(first);
    let found = drained(&journal(&disk, "b"));
    assert_eq!(found.len(), 1);
    assert_eq!(found["a-0"]["end"], "done");
}

#[test]
fn without_room_nothing_is_begun_and_what_is_begun_is_settled() {
    let disk = Memory::default();
    *disk.room.lock().unwrap() = Some(3);
    let journal = journal(&disk, "a");
    let mut begun = Vec::new();
    while let Some(one) = journal.begin(&mut record("r")) {
        begun.push(one);
    }
    assert!(begun.len() > 20, "{}", begun.len());
    let (mut count, name) = (0, "b".repeat(256));
    let mut settle_all = |begun: Vec<Begun>| {
        count += begun.len();
        for one in begun {
            let long = Record { call: one.number(), backend: Some(&name), ..record("r") };
            journal.settle(&one, &long);
        }
    };
    settle_all(begun);
    for _ in 0..1000 {
        journal.carry();
        settle_all(journal.begin(&mut record("r")).into_iter().collect());
    }
    assert!(!journal.admits());
    assert_eq!(drained(&journal).len(), count);
    *disk.room.lock().unwrap() = None;
    journal.carry();
    assert!(journal.admits());
    settle(&journal, "r", 1);
    assert_eq!(drained(&journal).len(), 1);
}

#[test]
fn a_loss_of_power_takes_only_what_was_not_flushed() {
    let disk = Memory::default();
    let first = journal(&disk, "a");
    settle(&first, "r0", 1);
    first.carry();
    settle(&first, "r1", 2);
    drop(first);
    disk.lose_power();
    let found = drained(&journal(&disk, "b"));
    assert_eq!(found.keys().collect::<Vec<_>>(), ["a-0"]);
}

#[test]
fn a_flush_that_fails_stops_admission() {
    let disk = Memory::default();
    let journal = journal(&disk, "a");
    settle(&journal, "r", 1);
    *disk.broken.lock().unwrap() = true;
    journal.carry();
    assert!(!journal.admits());
    assert!(journal.begin(&mut record("r")).is_none());
    drop(journal);
    *disk.broken.lock().unwrap() = false;
    assert_eq!(drained(&self::journal(&disk, "b")).len(), 1);
}

#[test]
fn damage_is_told_and_the_rest_is_read() {
    let disk = Memory::default();
    let first = journal(&disk, "a");
    for call in 0..3 {
        settle(&first, &format!("r{call}"), call);
    }
    first.carry();
    disk.flip("a/00000001.log", 8 * 600);
    drop(first);
    let lines = journal(&disk, "b").records(10);
    assert_eq!(lines.count, 2);
    assert!(lines.damages[0].starts_with("a/00000001.log: at byte "), "{:?}", lines.damages);
}
