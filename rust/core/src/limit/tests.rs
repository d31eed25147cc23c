//! The windows against a slow reference that remembers every event.

use proptest::prelude::*;

use super::cell::{Cell, Outcome, WORDS, is_idle, mend, settle};
use super::*;

const START: u64 = 1_800_000_000_000;

impl Cell for Vec<u64> {
    fn get(&self, at: usize) -> u64 {
        self[at]
    }
    fn set(&mut self, at: usize, value: u64) {
        self[at] = value;
    }
}

fn begun(rule: &Rule) -> Vec<u64> {
    let mut cell = vec![7; WORDS];
    rule.begin(&mut cell);
    cell
}

fn window(measure: Measure, most: u64, per_ms: u64, burst: u64) -> Rule {
    Rule::Window(Window { burst, ..Window::new(measure, most, per_ms) })
}

fn slice(rule: &Rule) -> (u64, u64, u64) {
    let Rule::Window(window) = rule else { unreachable!() };
    (window.slice_ms, window.per_ms, window.interval_us())
}

fn ask(rule: &Rule, cell: &mut Vec<u64>, now: u64) -> bool {
    let room = rule.room(cell, now);
    assert_eq!(room.left > 0, rule.wait_ms(cell, 1, now) == 0, "{room:?}");
    if room.left > 0 {
        rule.take(cell, 1, now);
    }
    room.left > 0
}

#[test]
fn three_a_minute() {
    let rule = window(Measure::Requests, 3, 60_000, 3);
    let mut cell = begun(&rule);
    let start = START + 500;
    for left in [3, 2, 1] {
        assert_eq!(rule.room(&mut cell, start).left, left);
        rule.take(&mut cell, 1, start);
    }
    let room = rule.room(&mut cell, start);
    assert_eq!((room.left, rule.wait_ms(&mut cell, 1, start), room.clear_ms), (0, 60_500, 60_500));
    assert_eq!(rule.room(&mut cell, start + 60_499).left, 0);
    assert!(!is_idle(&cell, start + 60_499));
    assert_eq!(rule.room(&mut cell, start + 60_500).left, 3);
    assert!(is_idle(&cell, start + 60_500));
    // A clock that goes back stands still.
    rule.take(&mut cell, 1, start + 60_500);
    assert_eq!(rule.room(&mut cell, start - 1_000_000).left, 2);
}

#[test]
fn a_burst_is_paid_back() {
    let rule = window(Measure::Requests, 5, 1000, 10);
    let mut cell = begun(&rule);
    let at_once = (0..20).filter(|_| ask(&rule, &mut cell, START)).count();
    assert_eq!(at_once, 10);
    // Five a second from then on, and never more than ten in one second.
    let later = (1..=10_000).filter(|ms| ask(&rule, &mut cell, START + ms)).count();
    assert!((48..=50).contains(&later), "{later}");
}

#[test]
fn a_window_of_a_moment_is_no_longer_than_that() {
    let rule = window(Measure::Requests, 1, 1, 1);
    let mut cell = begun(&rule);
    let asked = [0, 1, 2].map(|after| ask(&rule, &mut cell, START + after));
    assert_eq!(asked, [true, false, true]);
}

#[test]
fn a_month_begins_on_its_first() {
    let rule = Rule::Budget { unit: Unit::Tokens, most: 10, period: Period::Month };
    let mut cell = begun(&rule);
    // 2027-02-28T23:59:59Z, and a second later.
    let (last, first) = (1_803_859_199_000, 1_803_859_200_000);
    let call = Amounts { input: 4, output: 4, cost: 0 };
    assert_eq!(rule.room(&mut cell, last).left, 10);
    rule.take(&mut cell, rule.amount(&call), last);
    let room = rule.room(&mut cell, last);
    assert_eq!((room.left, room.used, room.reserved, room.clear_ms), (2, 8, 8, 1000));
    assert_eq!((rule.wait_ms(&mut cell, 2, last), rule.wait_ms(&mut cell, 3, last)), (0, 1000));
    assert_eq!(rule.room(&mut cell, first).left, 10);
    // What was reserved in February counts there.
    settle(&mut cell, &call, Outcome::Took(call), last, first);
    assert_eq!(rule.room(&mut cell, first).left, 10);
    for (days, months) in [(31, 1), (28, 1), (59, 2), (365, 12)] {
        let number = |ms| {
            let mut cell = begun(&rule);
            rule.room(&mut cell, ms);
            cell[1]
        };
        let january = 1_798_761_600_000; // 2027-01-01
        let from = if days == 28 { january + 31 * 86_400_000 } else { january };
        assert_eq!(number(from + days * 86_400_000) - number(from), months, "{days}");
        assert_eq!(number(from + days * 86_400_000 - 1) - number(from), months - 1, "{days}");
    }
}

#[test]
fn after_a_loss_of_power_the_sums_are_right() {
    let rule = window(Measure::Tokens, 100, 60_000, 100);
    let mut cell = begun(&rule);
    rule.room(&mut cell, START);
    rule.take(&mut cell, 30, START);
    cell[2] = 5;
    mend(&mut cell);
    assert_eq!(rule.room(&mut cell, START).left, 70);
    let calls = Rule::Concurrency(2);
    let mut cell = begun(&calls);
    calls.take(&mut cell, 1, START);
    mend(&mut cell);
    assert_eq!(calls.room(&mut cell, START).left, 2);
    let budget = Rule::Budget { unit: Unit::Money, most: 10, period: Period::Ever };
    let mut cell = begun(&budget);
    budget.take(&mut cell, 3, START);
    mend(&mut cell);
    let room = budget.room(&mut cell, START);
    assert_eq!((room.used, room.reserved), (3, 0));
}

/// What a step of the test does.
#[derive(Debug, Clone)]
enum Step {
    Admit { wait: u64, input: u64, output: u64 },
    Settle { wait: u64, which: usize, share: u64 },
    Abort { wait: u64, which: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..400, 0u64..30, 0u64..30)
            .prop_map(|(wait, input, output)| Step::Admit { wait, input, output }),
        2 => (0u64..400, any::<usize>(), 0u64..=100)
            .prop_map(|(wait, which, share)| Step::Settle { wait, which, share }),
        1 => (0u64..400, any::<usize>()).prop_map(|(wait, which)| Step::Abort { wait, which }),
    ]
}

/// An event of the reference: when, and how much it counts now.
type Event = (u64, u64);

fn in_stretch(events: &[Event], from: u64, to: u64) -> u64 {
    events.iter().filter(|(at, _)| (from..=to).contains(at)).map(|(_, amount)| amount).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_stretch_holds_more_than_the_window_allows(
        requests in 1u64..20, extra in 0u64..20, per_ms in prop_oneof![1u64..130, 1u64..5000],
        steps in prop::collection::vec(0u64..700, 1..400)
    ) {
        let rule = window(Measure::Requests, requests, per_ms, requests + extra);
        let (slice_ms, per_ms, interval_us) = slice(&rule);
        let burst = requests + extra;
        let (mut cell, mut now, mut admitted) = (begun(&rule), START, Vec::new());
        for step in steps {
            now += step;
            let recent = |span: u64| admitted.iter().filter(|&&at| at + span > now).count() as u64;
            // Whoever is refused has really used what there is, up to one slice of the window.
            let slack = per_ms + 2 * slice_ms;
            let idle = recent(slack.max(interval_us.div_ceil(1000) * burst)) == 0;
            if rule.room(&mut cell, now).left > 0 {
                rule.take(&mut cell, 1, now);
                admitted.push(now);
                prop_assert!(admitted.iter().filter(|&&at| at + per_ms > now).count() as u64 <= burst);
            } else {
                let wait = rule.wait_ms(&mut cell, 1, now);
                prop_assert!(!idle);
                prop_assert!(rule.room(&mut cell.clone(), now + wait).left > 0, "waited in vain");
                prop_assert!(rule.room(&mut cell.clone(), now + wait - 1).left == 0, "waited too long");
            }
        }
        // The long run: what passed beyond the first burst came at the rate.
        let most = burst + (now - START) * requests / per_ms + 1;
        if extra > 0 {
            prop_assert!(admitted.len() as u64 <= most, "{} > {most}", admitted.len());
        }
    }

    /// Reserve, settle and abort in any order and at any times, against a list of events: never more than the limit in
    /// any stretch, never refused where the stretch is one slice longer and has room, refunds exact.
    #[test]
    fn what_is_reserved_and_settled_is_as_the_reference_has_it(
        measure in prop_oneof![Just(Measure::Input), Just(Measure::Output), Just(Measure::Tokens), Just(Measure::Requests)],
        most in 1u64..120, per_ms in prop_oneof![1u64..130, 1000u64..5000, (10u64..90).prop_map(|slice| slice * 60)],
        steps in prop::collection::vec(step(), 1..300)
    ) {
        let rule = window(measure, most, per_ms, most);
        let (slice_ms, per_ms, _) = slice(&rule);
        // A slice of a window that is no multiple of sixty milliseconds is rounded up.
        let stricter = if per_ms % 60 == 0 { slice_ms } else { 2 * slice_ms };
        let (mut cell, mut now) = (begun(&rule), START);
        let mut events: Vec<Event> = Vec::new();
        let mut open: Vec<(usize, Amounts)> = Vec::new();
        for step in steps {
            match step {
                Step::Admit { wait, input, output } => {
                    now += wait;
                    let call = Amounts { input, output, cost: 0 };
                    let amount = rule.amount(&call);
                    let room = rule.room(&mut cell, now);
                    // The cell counts all of the stretch, and at most a slice more at its beginning.
                    let (whole, longer) = (
                        in_stretch(&events, now + 1 - per_ms, now),
                        in_stretch(&events, now + 1 - per_ms - stricter, now),
                    );
                    prop_assert!((whole..=longer).contains(&room.used), "{whole} {} {longer}", room.used);
                    if amount <= room.left {
                        rule.take(&mut cell, amount, now);
                        open.push((events.len(), call));
                        events.push((now, amount));
                        prop_assert!(in_stretch(&events, now + 1 - per_ms, now) <= most);
                    } else {
                        prop_assert!(longer + amount > most);
                        let wait = rule.wait_ms(&mut cell, amount, now);
                        prop_assert!(wait > 0);
                        if amount <= most {
                            prop_assert!(rule.room(&mut cell.clone(), now + wait).left >= amount);
                        }
                    }
                }
                Step::Settle { wait, which, share } if !open.is_empty() => {
                    now += wait;
                    let (event, call) = open.swap_remove(which % open.len());
                    let part = |all: u64| all * share / 100;
                    let took = Amounts { input: part(call.input), output: part(call.output), cost: 0 };
                    settle(&mut cell, &call, Outcome::Took(took), events[event].0, now);
                    events[event].1 = rule.amount(&took);
                }
                Step::Abort { wait, which } if !open.is_empty() => {
                    now += wait;
                    let (event, call) = open.swap_remove(which % open.len());
                    settle(&mut cell, &call, Outcome::Never, events[event].0, now);
                    events[event].1 = 0;
                }
                _ => {}
            }
        }
        // All that is given back at once leaves nothing behind.
        let before = rule.room(&mut cell, now);
        let call = Amounts { input: 3, output: 4, cost: 0 };
        rule.take(&mut cell, rule.amount(&call), now);
        settle(&mut cell, &call, Outcome::Never, now, now);
        prop_assert_eq!(rule.room(&mut cell, now), before);
    }

    /// A budget never has more settled and reserved than it allows, and what nobody used is there again.
    #[test]
    fn a_budget_is_never_overspent(most in 0u64..300, steps in prop::collection::vec(step(), 1..200)) {
        let rule = Rule::Budget { unit: Unit::Tokens, most, period: Period::Ever };
        let (mut cell, mut used, mut open) = (begun(&rule), 0u64, Vec::<Amounts>::new());
        for step in steps {
            match step {
                Step::Admit { input, output, .. } => {
                    let call = Amounts { input, output, cost: 0 };
                    let room = rule.room(&mut cell, START);
                    let reserved: u64 = open.iter().map(|call| rule.amount(call)).sum();
                    prop_assert_eq!((room.used, room.reserved), (used + reserved, reserved));
                    prop_assert!(room.used <= most);
                    if rule.amount(&call) <= room.left {
                        rule.take(&mut cell, rule.amount(&call), START);
                        open.push(call);
                    }
                }
                Step::Settle { which, share, .. } if !open.is_empty() => {
                    let call = open.swap_remove(which % open.len());
                    let took = Amounts { input: call.input * share / 100, ..call };
                    let outcome = if share == 100 { Outcome::Unknown } else { Outcome::Took(took) };
                    settle(&mut cell, &call, outcome, START, START);
                    used += rule.amount(&took);
                }
                Step::Abort { which, .. } if !open.is_empty() => {
                    let call = open.swap_remove(which % open.len());
                    settle(&mut cell, &call, Outcome::Never, START, START);
                }
                _ => {}
            }
        }
    }
}
