//! Several hosts with clocks of their own, answers that are lost or come late, against a list of all that has passed.

use proptest::prelude::*;

use super::super::cell::{Outcome, WORDS, is_idle, settle};
use super::super::{Amounts, Measure, Period, Unit};
use super::*;

const START: u64 = 1_800_000_000_000;
const HOSTS: usize = 3;

fn window(most: u64, per_ms: u64) -> Rule {
    Rule::Window(Window::new(Measure::Tokens, most, per_ms))
}

fn budget(most: u64) -> Rule {
    Rule::Budget { unit: Unit::Tokens, most, period: Period::Ever }
}

fn begun(rule: &Rule) -> Vec<u64> {
    let mut cell = vec![7; WORDS];
    rule.begin(&mut cell);
    cell
}

/// What is kept where all hosts can see it, as the script keeps it.
#[derive(Debug, Default)]
struct Shares {
    held: [Option<(u64, u64, u64)>; HOSTS],
}

impl Shares {
    fn ask(&mut self, host: usize, question: &Question, need: u64, extra: u64, now: u64) -> Option<Answer> {
        let mut others = 0;
        for (at, one) in self.held.iter_mut().enumerate() {
            match one {
                Some((_, _, till)) if at != host && *till != 0 && *till <= now => *one = None,
                Some((share, ..)) if at != host => others += *share,
                _ => {}
            }
        }
        if self.held[host].is_some_and(|(_, number, _)| number >= question.number) {
            return None;
        }
        let free = question.most.saturating_sub(others + question.keeps);
        let more = free.min(need);
        let more = more + extra.min((free - more) / (2 * HOSTS as u64));
        let till = if question.counts_ms == 0 { 0 } else { now + question.counts_ms };
        self.held[host] = Some((question.keeps + more, question.number, till));
        let target = (question.most / HOSTS as u64).max(question.most.saturating_sub(others));
        Some(Answer { more, target, others, used: 0 })
    }
}

#[derive(Debug, Clone)]
enum Step {
    Admit {
        host: usize,
        input: u64,
        output: u64,
    },
    Settle {
        which: usize,
        share: u64,
    },
    Ask {
        host: usize,
        need: u64,
        idle: bool,
        lost: bool,
    },
    /// Answers come later than what was asked by another worker of the same host.
    Cross {
        host: usize,
        need: u64,
    },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..HOSTS, 0u64..20, 0u64..20).prop_map(|(host, input, output)| Step::Admit { host, input, output }),
        3 => (any::<usize>(), 0u64..=100).prop_map(|(which, share)| Step::Settle { which, share }),
        5 => (0..HOSTS, 0u64..60, any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(host, need, idle, lost)| Step::Ask { host, need, idle, lost }),
        1 => (0..HOSTS, 0u64..60).prop_map(|(host, need)| Step::Cross { host, need }),
        3 => (0u64..900).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn all_hosts_together_use_no_more_than_there_is(
        rule in prop_oneof![(1u64..150, 500u64..5000).prop_map(|(most, per)| window(most, per)), (1u64..150).prop_map(budget)],
        skews in [0u64..100_000, 0u64..100_000, 0u64..100_000],
        steps in prop::collection::vec(step(), 1..300)
    ) {
        let mut cells = [begun(&rule), begun(&rule), begun(&rule)];
        let (mut shares, mut now) = (Shares::default(), START);
        // When, how much, and whose.
        let mut passed: Vec<(u64, u64)> = Vec::new();
        let mut open: Vec<(usize, usize, Amounts, u64)> = Vec::new();
        for step in steps {
            match step {
                Step::Admit { host, input, output } => {
                    let (cell, at) = (&mut cells[host], now + skews[host]);
                    let call = Amounts { input, output, cost: 0 };
                    let amount = rule.amount(&call);
                    let room = rule.room(cell, at);
                    let share = rule.share(cell, HOSTS as u64, false, at).saturating_sub(room.used);
                    if amount <= room.left.min(share) {
                        rule.take(cell, amount, at);
                        open.push((host, passed.len(), call, at));
                        passed.push((now, amount));
                    }
                }
                Step::Settle { which, share } if !open.is_empty() => {
                    let (host, event, call, at) = open.swap_remove(which % open.len());
                    let took = Amounts { input: call.input * share / 100, ..call };
                    settle(&mut cells[host], &call, Outcome::Took(took), at, now + skews[host]);
                    passed[event].1 = rule.amount(&took);
                }
                Step::Ask { host, need, idle, lost } => {
                    let (cell, at) = (&mut cells[host], now + skews[host]);
                    let question = rule.question(cell, HOSTS as u64, idle, at);
                    let answer = shares.ask(host, &question, need, need * 4, now);
                    if let Some(answer) = answer.filter(|_| !lost) {
                        prop_assert!(rule.answer_to(cell, &question, &answer, need, at));
                    }
                }
                Step::Cross { host, need } => {
                    let (cell, at) = (&mut cells[host], now + skews[host]);
                    let first = rule.question(cell, HOSTS as u64, false, at);
                    let second = rule.question(cell, HOSTS as u64, true, at);
                    let late = shares.ask(host, &first, need, 0, now).unwrap();
                    let newest = shares.ask(host, &second, 0, 0, now).unwrap();
                    prop_assert!(rule.answer_to(cell, &second, &newest, 0, at));
                    prop_assert!(!rule.answer_to(cell, &first, &late, need, at));
                    // One that is heard after a later one is none.
                    prop_assert_eq!(shares.ask(host, &first, need, 0, now), None);
                }
                Step::Wait(ms) => now += ms,
                Step::Settle { .. } => {}
            }
            let since = if let Rule::Window(window) = &rule { now + 1 - window.per_ms } else { 0 };
            let all: u64 = passed.iter().filter(|(at, _)| *at >= since).map(|(_, amount)| amount).sum();
            prop_assert!(all <= rule.most(), "{all} of {}", rule.most());
        }
    }
}

#[test]
fn who_is_alone_has_its_part_and_not_what_others_had() {
    let rule = window(100, 60_000);
    let mut cell = begun(&rule);
    // Nothing was ever heard.
    assert_eq!((rule.share(&cell, 3, false, START), rule.share(&cell, 3, true, START)), (0, 33));
    let question = rule.question(&mut cell, 3, false, START);
    let answer = Answer { more: 10, target: 100, others: 80, used: 70 };
    assert!(rule.answer_to(&mut cell, &question, &answer, 10, START));
    assert_eq!((rule.share(&cell, 3, false, START), rule.share(&cell, 3, true, START)), (10, 20));
    let room = rule.room(&mut cell, START);
    assert_eq!(rule.together(&cell, room, START).left, 30);
    // It has lapsed: what others had counts as long as it may have passed in the window.
    let lapsed = START + 1000;
    assert_eq!((rule.share(&cell, 3, false, lapsed), rule.share(&cell, 3, true, lapsed)), (0, 20));
    assert_eq!(rule.share(&cell, 3, true, START + 70_000), 33);
    // Of a budget only what was given is there, for as long as it takes.
    let rule = budget(100);
    let mut cell = begun(&rule);
    assert_eq!(rule.share(&cell, 3, true, START), 0);
    let question = rule.question(&mut cell, 3, false, START);
    assert!(rule.answer_to(&mut cell, &question, &answer, 20, START));
    assert!(rule.was_short(&cell, START + 19) && !rule.was_short(&cell, START + 20));
    assert_eq!(rule.share(&cell, 3, true, START + 1_000_000_000), 10);
    // It is not forgotten, and half of it is given back at a time.
    assert!(!is_idle(&cell, START));
    assert_eq!(rule.question(&mut cell, 3, true, START).keeps, 5);
    assert_eq!(rule.question(&mut cell, 3, true, START).keeps, 2);
}

#[test]
fn a_share_is_of_its_period_and_bursts_are_not_shared() {
    let rule = Rule::Budget { unit: Unit::Tokens, most: 100, period: Period::Day };
    let mut cell = begun(&rule);
    let question = rule.question(&mut cell, 2, false, START);
    assert_eq!(question.period, START / 86_400_000);
    let answer = Answer { more: 10, target: 100, ..Answer::default() };
    assert!(rule.answer_to(&mut cell, &question, &answer, 10, START));
    rule.room(&mut cell, START + 86_400_000);
    assert_eq!(rule.share(&cell, 2, false, START + 86_400_000), 0);
    assert!(!rule.answer_to(&mut cell, &question, &answer, 10, START));
    assert!(rule.is_shared() && Rule::Concurrency(1).is_shared() && window(5, 1000).is_shared());
    assert!(!Rule::Window(Window { burst: 9, ..Window::new(Measure::Requests, 5, 1000) }).is_shared());
    assert_eq!((Rule::Concurrency(5).alone(2), window(1, 1000).alone(2)), (2, 0));
}
