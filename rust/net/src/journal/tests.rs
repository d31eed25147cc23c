//! The journal on a disk that dies: nothing that was settled is lost or doubled.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

use levada_core::record::{End, Record};
use levada_core::usage::{Source, Usage};
use serde_json::Value;

use super::{Begun, Durability, Journal, Slots, Terms, verify};
use crate::disk::Disk as _;
use crate::memory::Memory;

const SMALL: Terms =
    Terms { durability: Durability::Process, hot: 64 * 1024, segment: 32 * 1024, quota: 1 << 20 };

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
        usage: "none",
        suspect: false,
        images: None,
        audio_ms: None,
        characters: None,
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
    // Who has it all leaves the disk alone until there is more.
    let before = disk.opens.load(Relaxed);
    assert_eq!((journal.records(3).count, disk.opens.load(Relaxed)), (0, before));
    settle(&journal, "r5", 5);
    assert_eq!(drained(&journal).len(), 1);
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
    first.note(&open, &usage, Source::EngineRunning);
    settle(&first, "r2", 12);
    drop(first);
    let second = journal(&disk, "b");
    let found = drained(&second);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["a-0", "a-1", "a-2"]);
    let cut = &found["a-1"];
    assert_eq!(
        (&cut["end"], &cut["completion_tokens"], &cut["id"], &cut["usage"]),
        (&"interrupted".into(), &9.into(), &"r1".into(), &"engine_running".into())
    );
    // What is acknowledged is buried, and comes no more.
    second.adopt();
    assert!(disk.files("a").is_empty());
    drop(second);
    assert!(drained(&journal(&disk, "c")).is_empty());
}

#[test]
fn a_dead_workers_room_is_given_back_when_all_is_in_its_log() {
    let disk = Memory::default();
    let first = journal(&disk, "a");
    settle(&first, "r0", 10);
    let _open = first.begin(&mut record("r1")).unwrap();
    drop(first);
    let bytes = |file: &str| disk.mapped(&format!("a/{file}")).unwrap().words().len() * 8;
    assert_eq!((bytes("hot"), bytes("slots")), (SMALL.hot, Slots::BYTES));
    let second = journal(&disk, "b");
    assert_eq!((bytes("hot"), bytes("slots")), (0, Slots::CALLS_AT));
    second.adopt();
    assert!(!disk.files("a").is_empty(), "the ledger does not have it yet");
    // An heir's heir finds the same, and the ledger has it once.
    assert_eq!(second.records(1).count, 1);
    second.acknowledge(1);
    drop(second);
    let third = journal(&disk, "c");
    assert_eq!(drained(&third).keys().collect::<Vec<_>>(), ["a-1"]);
    third.adopt();
    assert!(disk.files("a").is_empty() && disk.files("b").is_empty());
}

#[test]
fn a_death_between_the_record_and_its_slot_settles_once() {
    let disk = Memory::default();
    let first = journal(&disk, "a");
    let mut record = record("r");
    let begun = first.begin(&mut record).unwrap();
    record.call = begun.number();
    record.end = End::Done;
    assert!(first.append(&record.text()).is_some());
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
fn a_journal_that_finds_no_room_leaves_nothing_behind() {
    let disk = Memory::default();
    *disk.room.lock().unwrap() = Some(0);
    for _ in 0..2 {
        let error = Journal::new(Arc::new(disk.clone()), "a", SMALL).unwrap_err();
        assert_eq!((error.kind(), disk.files("a").len()), (ErrorKind::StorageFull, 0));
    }
    *disk.room.lock().unwrap() = None;
    settle(&journal(&disk, "a"), "r", 1);
}

#[test]
fn what_the_dead_had_set_aside_is_room_for_who_comes_after() {
    let disk = Memory::default();
    let first = journal(&disk, "a");
    first.carry();
    settle(&first, "r", 10);
    let aside = disk.files("a").len();
    drop(first);
    *disk.room.lock().unwrap() = Some(0);
    let second = journal(&disk, "b");
    assert!(disk.files("a").len() < aside);
    assert_eq!(drained(&second).keys().collect::<Vec<_>>(), ["a-0"]);
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
fn the_last_bytes_wait_until_no_loss_of_power_takes_the_record() {
    let disk = Memory::default();
    let terms = Terms { durability: Durability::Power, ..SMALL };
    let journal = Journal::new(Arc::new(disk.clone()), "a", terms).unwrap();
    let cx = Context::from_waker(Waker::noop());
    let settled = |id: &str| {
        let begun = journal.begin(&mut record(id)).unwrap();
        journal.settle(&begun, &Record { call: begun.number(), ..record(id) }).unwrap()
    };
    let (first, second) = (settled("r0"), settled("r1"));
    assert_eq!(journal.poll_durable(second, &cx), Poll::Pending);
    journal.carry();
    assert_eq!(journal.poll_durable(first, &cx), Poll::Ready(true));
    assert_eq!(journal.poll_durable(second, &cx), Poll::Ready(true));
    let third = settled("r2");
    *disk.broken.lock().unwrap() = true;
    journal.carry();
    assert_eq!(journal.poll_durable(third, &cx), Poll::Ready(false));
}

#[test]
fn a_flipped_bit_in_what_is_hot_is_told_and_the_rest_is_read() {
    for place in [0, 3, 8 * 30] {
        let disk = Memory::default();
        let first = journal(&disk, "a");
        for call in 0..3 {
            settle(&first, &format!("r{call}"), call);
        }
        drop(first);
        disk.flip("a/hot", place);
        let second = journal(&disk, "b");
        let lines = second.records(10);
        assert_eq!(lines.count, 2, "{place}");
        assert_eq!(lines.damages, ["a/hot: an entry is not as it was written"], "{place}");
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_found_by_reading_through() {
    let disk = Memory::default();
    let first = journal(&disk, "a");
    for call in 0..300 {
        settle(&first, &format!("r{call}"), call);
        first.carry();
    }
    let sound = verify(&disk, SMALL).unwrap();
    assert_eq!((sound.entries, sound.damages.len()), (300, 0));
    let segments: Vec<_> = disk.files("a").into_iter().filter(|name| name.ends_with(".log")).collect();
    assert!(segments.len() > 3, "{segments:?}");
    // Only what is written can be damaged: behind the last entry of all nothing is.
    for (place, file) in [(3, &segments[0]), (17 * 8, &segments[1]), (1000 * 8, &segments[2])] {
        let file = format!("a/{file}");
        disk.flip(&file, place);
        let found = verify(&disk, SMALL).unwrap();
        assert!(!found.damages.is_empty(), "{file} {place}");
        disk.flip(&file, place);
    }
    assert_eq!(verify(&disk, SMALL).unwrap(), sound);
    disk.remove(&format!("a/{}", segments[1])).unwrap();
    assert!(verify(&disk, SMALL).unwrap().damages[0].ends_with("the segment is missing"));
}

#[test]
fn damage_is_told_and_the_rest_is_read() {
    let disk = Memory::default();
    let first = journal(&disk, "a");
    for call in 0..3 {
        settle(&first, &format!("r{call}"), call);
    }
    first.carry();
    disk.flip("a/00000001.log", 8 * 400); // in the second
    drop(first);
    let lines = journal(&disk, "b").records(10);
    assert_eq!(lines.count, 2);
    assert!(lines.damages[0].starts_with("a/00000001.log: at byte "), "{:?}", lines.damages);
}
