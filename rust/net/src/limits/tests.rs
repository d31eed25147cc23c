//! The table under kills, threads, restarts and clocks that jump; and what callers are told.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use levada_core::auth::Key;
use levada_core::endpoint::Endpoint;
use levada_core::limit::Amounts;
use levada_core::limit::cell::Outcome;
use levada_core::profile::rate::{Headers, Rate, Unit};
use levada_core::refusal::{Kind, Refusal};
use levada_core::snapshot::Snapshot;

use super::standing::tests::told;
use super::*;
use crate::memory::Memory;

const PEPPER: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn clock() -> Clock {
    Clock { boot: 7, since_ms: 1000, began: Instant::now() }
}

fn limits(disk: &Memory) -> Limits {
    Limits::open(Arc::new(disk.clone()), clock()).unwrap()
}

/// A snapshot with these parts of a model, and these tenants and projects.
fn snapshot(model: &str, more: &str) -> Snapshot {
    let profiles: serde_json::Value =
        serde_json::from_str(include_str!("../../../../tests/vectors/profiles.json")).unwrap();
    let text = format!(
        r#"{{"version":1,"auth":{{"pepper":"{PEPPER}"}},"backends":[],
        "models":[{{"name":"m","created":1,"owned_by":"o","pool":[]{model}}}],
        "deadlines":{{"connect":2.0,"first_byte":20.0,"idle":20.0,"total":60.0}},
        "limits":{{"body_bytes":2000000,"event_bytes":1048576}},"retry":{{"ratio":0.1,"per_second":3.0}},
        "breaker":{{"failures":3,"open_seconds":5.0}},"tls":null,"profiles":[{}]{more}}}"#,
        profiles["openai"]
    );
    Snapshot::parse(text.as_bytes()).unwrap()
}

fn plain() -> Snapshot {
    snapshot("", "")
}

fn key(id: &str, limits: &str) -> Key {
    let text = format!(
        r#"{{"replace":true,"set":[{{"id":"{id}","hash":"{PEPPER}","models":null,"expires":null,"limits":{limits}}}]}}"#
    );
    levada_core::auth::changes(text.as_bytes()).unwrap().set.remove(0).1
}

fn windows(all: &str) -> String {
    format!(r#"{{"windows":[{all}]}}"#)
}

fn rate(unit: Unit, windows: Vec<Rule>) -> Rate {
    Rate { unit, windows, headers: Headers::Span }
}

/// Who asks for the model under this rate.
fn asked<'a>(key: &'a Key, rate: &'a Rate, snapshot: &'a Snapshot) -> Asked<'a> {
    let model = snapshot.models.first();
    Asked { key, endpoint: Some(Endpoint::Chat), rate, snapshot, model, at_ms: 1_000_000 }
}

fn wanted(input: u64, output: u64) -> Wanted {
    Wanted { input, answer: Answer::Bounded(output) }
}

/// Asks for a call of a host that has its limits for itself.
fn admit(limits: &Limits, asked: Asked<'_>, wanted: Wanted) -> Result<Option<Admitted>, Refusal> {
    limits.admit(asked, wanted, Instant::now(), false).map_err(|denied| match denied {
        Denied::Refused(refusal) => refusal,
        Denied::Short(_) => unreachable!(),
    })
}

/// Asks for a call of a key alone.
fn ask(limits: &Limits, key: &Key, wanted: Wanted) -> Result<Admitted, Refusal> {
    let (rate, snapshot) = (rate(Unit::Key, Vec::new()), plain());
    admit(limits, asked(key, &rate, &snapshot), wanted).map(Option::unwrap)
}

#[test]
fn a_project_shares_and_pictures_have_a_window_of_their_own() {
    let mut of_pictures = Window::a_minute(1);
    of_pictures.endpoints = Some(levada_core::limit::mask([Endpoint::Images].into_iter()));
    let rate = rate(Unit::Project, vec![Rule::Window(Window::a_minute(3)), Rule::Window(of_pictures)]);
    let named = |id: &str, project: Option<&str>| Key {
        id: id.into(),
        project: project.map(Into::into),
        ..Key::default()
    };
    let (a, b, other) = (named("a", Some("p")), named("b", Some("p")), named("c", None));
    let (limits, snapshot) = (limits(&Memory::default()), plain());
    let take = |key: &Key, endpoint| {
        let asked = Asked { endpoint: Some(endpoint), ..asked(key, &rate, &snapshot) };
        admit(&limits, asked, wanted(1, 1)).map(|admitted| told(&admitted.unwrap().standing))
    };
    let stands = |key: &Key| told(&limits.standing(asked(key, &rate, &snapshot), Instant::now()).unwrap());
    assert_eq!(take(&a, Endpoint::Images).unwrap()[..2], ["1", "0"]);
    // The second picture is refused, and costs nothing of what all share.
    let refusal = take(&b, Endpoint::Images).unwrap_err();
    assert_eq!((refusal.status(), refusal.kind()), (429, Kind::LimitReached));
    assert_eq!(take(&b, Endpoint::Chat).unwrap()[..2], ["3", "1"]);
    assert_eq!(stands(&a)[..2], ["3", "1"]);
    assert_eq!(stands(&other)[..2], ["3", "3"]);
}

#[test]
fn a_key_of_its_own_rate_and_one_without_credit() {
    let rate = rate(Unit::Contract, vec![Rule::Window(Window::a_minute(1))]);
    let (limits, snapshot) = (limits(&Memory::default()), plain());
    let take = |key: &Key| admit(&limits, asked(key, &rate, &snapshot), wanted(1, 1));
    let own = Key { id: "a".into(), requests_per_minute: Some(2), ..Key::default() };
    for left in ["1", "0"] {
        assert_eq!(told(&take(&own).unwrap().unwrap().standing)[1], left);
    }
    let refusal = take(&own).unwrap_err();
    assert!(refusal.words().starts_with(
        "Rate limit reached for m on requests per min (RPM): Limit 2, Used 2, Requested 1. Please try again in 1m"
    ));
    let broke = Key { id: "b".into(), exhausted: true, ..Key::default() };
    assert_eq!(take(&broke).unwrap_err().kind(), Kind::NoCredit);
    let other = Key { id: "c".into(), ..Key::default() };
    assert!(take(&other).is_ok());
    // A rate among a key's limits takes the place of the profile's, too.
    let two = key("d", &windows(r#"{"count":"requests","most":2,"per_ms":60000}"#));
    assert_eq!(told(&take(&two).unwrap().unwrap().standing)[..2], ["2", "1"]);
}

#[test]
fn tokens_are_reserved_and_corrected() {
    let limits = limits(&Memory::default());
    let key = key("k", &windows(r#"{"count":"tokens","most":100,"per_ms":60000}"#));
    let first = ask(&limits, &key, wanted(20, 30)).unwrap();
    assert_eq!(told(&first.standing)[..2], ["100", "50"]);
    let refusal = ask(&limits, &key, wanted(20, 31)).unwrap_err();
    assert!(
        refusal.words().starts_with(
            "Rate limit reached for m on tokens per min (TPM): Limit 100, Used 50, Requested 51."
        )
    );
    let after = |refusal: &Refusal| {
        let mut headers = refusal.headers();
        headers.find(|(name, _)| *name == "retry-after").map(|(_, value)| value.parse::<u32>().unwrap())
    };
    assert!((1..=120).contains(&after(&refusal).unwrap()));
    first.reserved.settle(Some(Took { input: 5, cached: 1, output: 6 }));
    let second = ask(&limits, &key, wanted(0, 89)).unwrap();
    second.reserved.abort();
    let third = ask(&limits, &key, wanted(0, 80)).unwrap();
    // What nobody told stays counted.
    third.reserved.settle(None);
    assert_eq!(told(&ask(&limits, &key, wanted(0, 9)).unwrap().standing)[1], "0");
    let large = ask(&limits, &key, wanted(50, 51)).unwrap_err();
    assert!(large.words().starts_with("Request too large for m on tokens per min (TPM): Limit 100"));
    assert!(large.headers().any(|(name, value)| name == "x-should-retry" && value == "false"));
    assert_eq!(limits.open_calls(), 1);
}

#[test]
fn an_answer_without_a_bound_is_given_what_is_left() {
    let limits = limits(&Memory::default());
    let key = key(
        "k",
        &windows(
            r#"{"count":"tokens","most":100,"per_ms":60000},{"count":"output","most":1000,"per_ms":86400000}"#,
        ),
    );
    let free = |input, choices| Wanted { input, answer: Answer::Free { choices, most: 25 } };
    assert_eq!(ask(&limits, &key, free(20, 1)).unwrap().bound, Some(25));
    assert_eq!(ask(&limits, &key, free(15, 2)).unwrap().bound, Some(20));
    // All is reserved.
    assert_eq!(ask(&limits, &key, free(0, 1)).unwrap_err().kind(), Kind::LimitReached);
    let of_requests = self::key("r", &windows(r#"{"count":"requests","most":9,"per_ms":60000}"#));
    assert_eq!(ask(&limits, &of_requests, free(20, 1)).unwrap().bound, None);
}

#[test]
fn only_so_many_at_once() {
    let limits = limits(&Memory::default());
    let key = key("k", r#"{"concurrency":2}"#);
    let (one, _two) = (ask(&limits, &key, wanted(1, 1)).unwrap(), ask(&limits, &key, wanted(1, 1)).unwrap());
    let refusal = ask(&limits, &key, wanted(1, 1)).unwrap_err();
    assert_eq!(
        refusal.words(),
        "Rate limit reached for m on concurrent requests: Limit 2, Used 2, Requested 1. Please try again in 1s."
    );
    one.reserved.settle(Some(Took::default()));
    assert!(ask(&limits, &key, wanted(1, 1)).is_ok());
}

#[test]
fn money_is_reserved_and_a_model_without_a_price_costs_nobody_knows_what() {
    let limits = limits(&Memory::default());
    let key = key("k", r#"{"budgets":[{"unit":"money","most":100,"per":"ever"}]}"#);
    let priced = snapshot(r#","price":{"input":1000000,"cached":500000,"output":2000000}"#, "");
    let (rate, unpriced) = (Rate::default(), plain());
    let take = |snapshot, wanted| admit(&limits, asked(&key, &rate, snapshot), wanted);
    assert!(take(&unpriced, wanted(1, 1)).unwrap_err().words().contains("has no price"));
    let first = take(&priced, wanted(20, 30)).unwrap().unwrap();
    assert_eq!(first.reserved.amounts(), Amounts { input: 20, output: 30, cost: 80 });
    // It may fit once the first has ended: worth a wait.
    assert_eq!(take(&priced, wanted(1, 10)).unwrap_err().kind(), Kind::LimitReached);
    assert_eq!(take(&priced, wanted(101, 0)).unwrap_err().kind(), Kind::NoCredit);
    first.reserved.settle(Some(Took { input: 20, cached: 10, output: 1 }));
    // 17 are gone.
    assert_eq!(take(&priced, wanted(3, 41)).unwrap_err().kind(), Kind::NoCredit);
    let last = take(&priced, wanted(3, 40)).unwrap().unwrap();
    last.reserved.settle(None);
    for wanted in [wanted(0, 0), wanted(1, 0)] {
        let refusal = take(&priced, wanted).unwrap_err();
        assert_eq!((refusal.kind(), refusal.status()), (Kind::NoCredit, 429));
    }
}

#[test]
fn every_level_counts_and_one_that_is_full_takes_nothing_of_the_others() {
    let limits = limits(&Memory::default());
    let of = |most: u32| format!(r#"{{"windows":[{{"count":"requests","most":{most},"per_ms":60000}}]}}"#);
    let snapshot = snapshot(
        &format!(r#","limits":{}"#, of(5)),
        &format!(
            r#","tenants":[{{"name":"t","limits":{}}}],"projects":[{{"name":"*","limits":{}}}]"#,
            of(4),
            of(3)
        ),
    );
    let rate = rate(Unit::Key, Vec::new());
    let of_key = |id: &str, project: &str, most: u32| Key {
        tenant: Some("t".into()),
        project: Some(project.into()),
        ..key(id, &of(most))
    };
    let (a, b, c) = (of_key("a", "p", 2), of_key("b", "p", 9), of_key("c", "q", 9));
    let none = Key { id: "d".into(), ..Key::default() };
    let take = |key: &Key| {
        let admitted = admit(&limits, asked(key, &rate, &snapshot), wanted(1, 1));
        admitted.map(|one| told(&one.unwrap().standing)[..2].join("/"))
    };
    assert_eq!([take(&a).unwrap(), take(&a).unwrap()], ["2/1", "2/0"]);
    assert!(take(&a).is_err());
    assert_eq!(take(&b).unwrap(), "3/0");
    assert!(take(&b).unwrap_err().words().contains("Limit 3, Used 3"));
    assert_eq!(take(&c).unwrap(), "4/0");
    assert!(take(&c).unwrap_err().words().contains("Limit 4, Used 4"));
    // The refused ones are counted nowhere: one is left for all.
    assert_eq!(take(&none).unwrap(), "5/0");
    assert!(take(&none).is_err());
}

#[test]
fn old_and_new_share_and_nothing_is_forgotten() {
    let disk = Memory::default();
    let key = key(
        "k",
        r#"{"windows":[{"count":"requests","most":4,"per_ms":60000}],"concurrency":3,"budgets":[{"unit":"tokens","most":100,"per":"month"}]}"#,
    );
    let old = limits(&disk);
    let open = ask(&old, &key, wanted(10, 10)).unwrap();
    let new = limits(&disk);
    assert_eq!(told(&ask(&new, &key, wanted(10, 10)).unwrap().standing)[1], "2");
    open.reserved.settle(Some(Took { input: 1, cached: 0, output: 1 }));
    let cut = ask(&old, &key, wanted(30, 30)).unwrap();
    // It is killed: nobody settles that.
    drop(cut);
    drop(old);
    assert!(ask(&new, &key, wanted(9, 10)).unwrap_err().words().contains("the budget of tokens"));
    new.sweep();
    // The killed one's 60 stay counted, its place is free.
    let last = ask(&new, &key, wanted(9, 9)).unwrap();
    assert_eq!(told(&last.standing)[1], "0");
    last.reserved.abort();
    drop(new);
    let third = limits(&disk);
    let last = ask(&third, &key, wanted(18, 20)).unwrap_err();
    assert_eq!(last.kind(), Kind::LimitReached, "{}", last.words());
    assert_eq!(ask(&third, &key, wanted(18, 21)).unwrap_err().kind(), Kind::NoCredit);
}

/// Dies while it has the lock, after `changes` of its words.
fn die_inside(limits: Limits, tag: u64, changes: usize) {
    let table = Arc::clone(&limits.table);
    let mut locked = table.lock();
    let now_ms = locked.now_ms(Instant::now());
    let rule = Rule::Window(Window::a_minute(9));
    let place = locked.make(&rule, tag, now_ms).unwrap();
    rule.room(&mut locked.at(place), now_ms);
    locked.done();
    let amounts = Amounts::default();
    if changes > 0 {
        locked.reserve(now_ms, &amounts, [(place, tag)].into_iter()).unwrap();
    }
    if changes > 1 {
        rule.take(&mut locked.at(place), 1, now_ms);
    }
    std::mem::forget(locked);
    // The lock in memory went with the process, its words stay.
    drop(table);
    drop(limits);
}

#[test]
fn a_kill_in_the_middle_of_a_change_undoes_it_and_blocks_nobody() {
    let rule = Rule::Window(Window::a_minute(9));
    let used = |limits: &Limits, tag| {
        let mut locked = limits.table.lock();
        let now_ms = locked.now_ms(Instant::now());
        let place = locked.find(tag).unwrap();
        rule.room(&mut locked.at(place), now_ms).used
    };
    for changes in 0..3 {
        // Somebody else lives and meets the lock.
        let disk = Memory::default();
        let (first, second) = (limits(&disk), limits(&disk));
        die_inside(first, 77, changes);
        assert_eq!(used(&second, 77), 0);
        second.sweep();
        let third = limits(&disk);
        assert_eq!(used(&third, 77), 0);
        assert_eq!(third.open_calls(), 0);
        // Nobody lives, and the next takes the same seat; or somebody sweeps before anybody asks.
        let disk = Memory::default();
        die_inside(limits(&disk), 77, changes);
        assert_eq!(used(&limits(&disk), 77), 0);
        let (first, second) = (limits(&disk), limits(&disk));
        die_inside(first, 78, changes);
        second.sweep();
        assert_eq!(used(&second, 78), 0);
    }
}

#[test]
fn no_jump_of_a_clock_admits_what_had_to_wait() {
    let disk = Memory::default();
    let key = key("k", &windows(r#"{"count":"requests","most":1,"per_ms":60000}"#));
    let at = |clock: Clock| Limits::open(Arc::new(disk.clone()), clock).unwrap();
    assert!(ask(&at(clock()), &key, wanted(1, 1)).is_ok());
    let hour = 3_600_000;
    // A process whose clock stands before the others'.
    assert!(ask(&at(Clock { since_ms: 0, ..clock() }), &key, wanted(1, 1)).is_err());
    // A reboot that took no time, by a wall clock that has gone back: nothing is forgotten.
    let limits = at(Clock { boot: 8, since_ms: 5, began: Instant::now() });
    assert!(ask(&limits, &key, wanted(1, 1)).is_err());
    // One whose clock stands before the others' reserves and gives back in their time.
    let tokens = self::key("t", &windows(r#"{"count":"tokens","most":100,"per_ms":60000}"#));
    let behind = at(Clock { boot: 8, since_ms: 5, began: Instant::now() });
    let before = at(Clock { boot: 8, since_ms: 600_000, began: Instant::now() });
    drop(ask(&before, &tokens, wanted(1, 0)).unwrap());
    ask(&behind, &tokens, wanted(50, 0)).unwrap().reserved.abort();
    assert_eq!(told(&ask(&behind, &tokens, wanted(2, 0)).unwrap().standing)[1], "97");
    // The time goes on as long as the machine runs.
    let ahead = Instant::now() + Duration::from_millis(hour);
    let (rate, snapshot) = (Rate::default(), plain());
    assert!(limits.admit(asked(&key, &rate, &snapshot), wanted(1, 1), ahead, true).is_ok());
}

#[test]
fn after_a_loss_of_power_nobody_is_under_way() {
    let disk = Memory::default();
    let key = key("k", r#"{"concurrency":1,"budgets":[{"unit":"tokens","most":10,"per":"ever"}]}"#);
    let first = limits(&disk);
    drop(ask(&first, &key, wanted(3, 3)).unwrap()); // nobody settles it
    die_inside(first, 77, 2);
    let second = Limits::open(Arc::new(disk), Clock { boot: 8, ..clock() }).unwrap();
    assert_eq!(ask(&second, &key, wanted(3, 3)).unwrap_err().kind(), Kind::NoCredit);
    assert!(ask(&second, &key, wanted(2, 2)).is_ok());
}

#[test]
fn sixty_four_at_once_never_overspend() {
    const MOST: u64 = 5000;
    let disk = Memory::default();
    let both = [limits(&disk), limits(&disk)];
    let key = key("k", r#"{"concurrency":40,"budgets":[{"unit":"tokens","most":5000,"per":"ever"}]}"#);
    let (spent, seen) = (std::sync::atomic::AtomicU64::new(0), std::sync::atomic::AtomicU64::new(0));
    let tag = both[0].table.tag(KEY, "k", key.limits[1].salt());
    std::thread::scope(|scope| {
        for caller in 0..64u64 {
            let (both, key, spent, seen) = (&both, &key, &spent, &seen);
            scope.spawn(move || {
                let mut draw = fastrand::Rng::with_seed(caller);
                let (rate, snapshot) = (Rate::default(), plain());
                for _ in 0..60 {
                    let limits = &both[draw.usize(..2)];
                    let (input, output) = (draw.u64(0..20), draw.u64(1..20));
                    let wanted = wanted(input, output);
                    if let Ok(Some(admitted)) = admit(limits, asked(key, &rate, &snapshot), wanted) {
                        let mut locked = limits.table.lock();
                        let place = locked.find(tag).unwrap();
                        let room = key.limits[1].room(&mut locked.at(place), 1);
                        assert!(room.used <= MOST, "{room:?}");
                        drop(locked);
                        match draw.u8(..3) {
                            0 => admitted.reserved.abort(),
                            1 => {
                                admitted.reserved.settle(None);
                                spent.fetch_add(input + output, Relaxed);
                            }
                            _ => {
                                admitted.reserved.settle(Some(Took { input, cached: 0, output: output / 2 }));
                                spent.fetch_add(input + output / 2, Relaxed);
                            }
                        }
                        seen.fetch_add(1, Relaxed);
                    }
                }
            });
        }
    });
    let mut locked = both[0].table.lock();
    let place = locked.find(tag).unwrap();
    let room = key.limits[1].room(&mut locked.at(place), 1);
    assert_eq!((room.used, room.reserved), (spent.into_inner(), 0));
    assert!(room.used <= MOST && room.used > MOST - 40 && seen.into_inner() > 200, "{room:?}");
    drop(locked);
    assert_eq!(both.map(|one| one.open_calls()), [0, 0]);
}

#[test]
fn a_full_table_refuses_and_old_counts_make_room() {
    let limits = limits(&Memory::default());
    let rule = Rule::Window(Window::a_minute(9));
    let mut locked = limits.table.lock();
    let now = locked.now_ms(Instant::now());
    // All of these have the same place of their own.
    let tag = |number: u64| 5 << 20 | number;
    let made = (1..=65).map(|number| {
        let place = locked.make(&rule, tag(number), now)?;
        rule.room(&mut locked.at(place), now);
        rule.take(&mut locked.at(place), 1, now);
        Some(place)
    });
    assert_eq!(made.filter(Option::is_some).count(), 64);
    assert!(locked.make(&rule, tag(99), now + 59_000).is_none());
    let place = locked.make(&rule, tag(99), now + 62_000).unwrap();
    assert_eq!(locked.find(tag(1)), None);
    // Who had it before gives nothing back there.
    rule.take(&mut locked.at(place), 1, now + 62_000);
    let row = locked.reserve(now + 62_000, &Amounts::default(), [(place, tag(1))].into_iter()).unwrap();
    locked.settle(row, Outcome::Never, now + 62_000);
    assert_eq!(rule.room(&mut locked.at(place), now + 62_000).used, 1);
}
