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
    /// Since when a host is not heard of, nor hears.
    cut: [Option<u64>; HOSTS],
}

impl Shares {
    fn ask(&mut self, host: usize, question: &Question, need: u64, extra: u64, now: u64) -> Option<Answer> {
        let mut others = 0;
        for (at, one) in self.held.iter_mut().enumerate().filter(|(at, _)| *at != host) {
            *one = one.filter(|(_, _, till)| *till == 0 || *till > now);
            let share = one.map_or(0, |(share, ..)| share);
            // It may be alone: it has its part, whatever it said.
            let is_gone = self.cut[at].is_some_and(|since| now - since >= ALONE_MS);
            others += if is_gone { share.max(question.alone) } else { share };
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
        let share = question.keeps.min(question.most.saturating_sub(others)) + more;
        Some(Answer { share, target, used: 0 })
    }
}

#[derive(Debug, Clone)]
enum Step {
    Admit {
        host: usize,
        input: u64,
        output: u64,
        /// Redis did not answer in time.
        unanswered: bool,
    },
    Settle {
        which: usize,
        share: u64,
    },
    Ask {
        host: usize,
        need: u64,
        how: Need,
        lost: bool,
    },
    /// Answers come later than what was asked by another worker of the same host.
    Cross {
        host: usize,
        need: u64,
    },
    Wait(u64),
    /// One host, or all, can no longer be heard, or again.
    Cut {
        host: usize,
        all: bool,
    },
    Mend(usize),
}

fn needed() -> impl Strategy<Value = Need> {
    prop_oneof![Just(Need::Now), Just(Need::Lately), Just(Need::Once)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..HOSTS, 0u64..20, 0u64..20, prop::bool::weighted(0.3)).prop_map(|(host, input, output, unanswered)| Step::Admit { host, input, output, unanswered }),
        // What just fits above the share.
        1 => (0..HOSTS).prop_map(|host| Step::Admit { host, input: 0, output: 0, unanswered: true }),
        3 => (any::<usize>(), 0u64..=100).prop_map(|(which, share)| Step::Settle { which, share }),
        5 => (0..HOSTS, 0u64..60, needed(), prop::bool::weighted(0.2))
            .prop_map(|(host, need, how, lost)| Step::Ask { host, need, how, lost }),
        1 => (0..HOSTS, 0u64..60).prop_map(|(host, need)| Step::Cross { host, need }),
        3 => (0u64..900).prop_map(Step::Wait),
        1 => (0u64..9000).prop_map(Step::Wait),
        1 => (0..HOSTS, any::<bool>()).prop_map(|(host, all)| Step::Cut { host, all }),
        1 => (0..HOSTS).prop_map(Step::Mend),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn all_hosts_together_use_no_more_than_there_is(
        rule in prop_oneof![(1u64..900, 500u64..5000).prop_map(|(most, per)| window(most, per)), (1u64..150).prop_map(budget)],
        skews in [0u64..100_000, 0u64..100_000, 0u64..100_000],
        steps in prop::collection::vec(step(), 1..300)
    ) {
        // Sixtieths, so that large limits are reached as well as small ones.
        let part = |sixtieths: u64| (sixtieths * rule.most()).div_ceil(60);
        let mut cells = [begun(&rule), begun(&rule), begun(&rule)];
        let (mut shares, mut now) = (Shares::default(), START);
        // When, how much, and whose.
        let mut passed: Vec<(u64, u64)> = Vec::new();
        let mut open: Vec<(usize, usize, Amounts, u64)> = Vec::new();
        for step in steps {
            match step {
                Step::Admit { host, input, output, unanswered } => {
                    let (cell, at) = (&mut cells[host], now + skews[host]);
                    let little = u64::from(input + output == 0);
                    let call = Amounts { input: part(input) + little, output: part(output), cost: 0 };
                    let amount = rule.amount(&call);
                    let room = rule.room(cell, at);
                    let unheard_ms = shares.cut[host].map(|since| now - since).filter(|ms| *ms >= ALONE_MS);
                    let share = rule.share(cell, HOSTS as u64, unheard_ms, at) + if unanswered { rule.above(HOSTS as u64) } else { 0 };
                    let share = share.saturating_sub(room.used);
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
                Step::Ask { host, need, how, lost } if shares.cut[host].is_none() => {
                    let (cell, at) = (&mut cells[host], now + skews[host]);
                    let question = rule.question(cell, HOSTS as u64, how, None, at);
                    let answer = shares.ask(host, &question, part(need), part(need * 4), now);
                    if let Some(answer) = answer.filter(|_| !lost) {
                        prop_assert!(rule.answer_to(cell, &question, &answer, part(need), at));
                    }
                }
                Step::Cross { host, need } if shares.cut[host].is_none() => {
                    let (cell, at) = (&mut cells[host], now + skews[host]);
                    let first = rule.question(cell, HOSTS as u64, Need::Now, None, at);
                    let second = rule.question(cell, HOSTS as u64, Need::Once, None, at);
                    let late = shares.ask(host, &first, part(need), 0, now).unwrap();
                    let newest = shares.ask(host, &second, 0, 0, now).unwrap();
                    prop_assert!(rule.answer_to(cell, &second, &newest, 0, at));
                    prop_assert!(!rule.answer_to(cell, &first, &late, part(need), at));
                    // One that is heard after a later one is none.
                    prop_assert_eq!(shares.ask(host, &first, part(need), 0, now), None);
                }
                Step::Wait(ms) => now += ms,
                Step::Cut { host, all } => {
                    for (at, cut) in shares.cut.iter_mut().enumerate().filter(|(at, _)| all || *at == host) {
                        // The last turn was at most so long ago.
                        let _ = cut.get_or_insert(now - at as u64 * 80);
                    }
                }
                Step::Mend(host) => {
                    // It is heard of when all that it has is known again.
                    let (cell, at) = (&mut cells[host], now + skews[host]);
                    let unheard_ms = shares.cut[host].map(|since| now - since).filter(|ms| *ms >= ALONE_MS);
                    let question = rule.question(cell, HOSTS as u64, Need::Now, unheard_ms, at);
                    if let Some(answer) = shares.ask(host, &question, 0, 0, now) {
                        prop_assert!(rule.answer_to(cell, &question, &answer, 0, at));
                    }
                    shares.cut[host] = None;
                }
                Step::Settle { .. } | Step::Ask { .. } | Step::Cross { .. } => {}
            }
            let since = if let Rule::Window(window) = &rule { now + 1 - window.per_ms } else { 0 };
            let all: u64 = passed.iter().filter(|(at, _)| *at >= since).map(|(_, amount)| amount).sum();
            let bound = if let Rule::Window(_) = rule { rule.most() + rule.most() / ABOVE } else { rule.most() };
            prop_assert!(all <= bound, "{all} of {}", rule.most());
        }
    }
}

#[test]
fn who_is_alone_has_what_it_had_and_after_a_window_its_part() {
    let rule = window(300, 60_000);
    let mut cell = begun(&rule);
    let alone = |cell: &Vec<u64>, ms: u64, now: u64| rule.share(cell, 3, Some(ms), now);
    // Nothing was ever heard: others may have all of it but the hundredth that is for all who get no answer.
    assert_eq!((rule.share(&cell, 3, None, START), alone(&cell, 1000, START), rule.above(3)), (0, 0, 1));
    assert_eq!(alone(&cell, 66_000, START), 100);
    let question = rule.question(&mut cell, 3, Need::Now, None, START);
    let answer = Answer { share: 10, target: 300, used: 70 };
    assert!(rule.answer_to(&mut cell, &question, &answer, 10, START));
    assert_eq!(rule.share(&cell, 3, None, START), 10);
    let room = rule.room(&mut cell, START);
    assert_eq!(rule.together(&cell, room, START).left, 230);
    // What it held when it last heard of others it holds until they have used up what they had.
    assert_eq!(rule.share(&cell, 3, None, START + 1000), 0);
    assert_eq!(alone(&cell, 1000, START + 1000), 10);
    assert_eq!(alone(&cell, 64_999, START + 64_999), 10);
    assert_eq!(alone(&cell, 65_000, START + 65_000), 100);
    // One that had lapsed before, it no longer holds; of one above its part it has the part.
    assert_eq!(alone(&cell, 1000, START + 2000), 0);
    cell[SHARE] = 250;
    assert_eq!(alone(&cell, 1000, START + 1000), 100);
    // Of a budget only what was given is there, for as long as it takes.
    let rule = budget(100);
    let mut cell = begun(&rule);
    assert_eq!(rule.share(&cell, 3, Some(90_000), START), 0);
    let question = rule.question(&mut cell, 3, Need::Now, None, START);
    assert!(rule.answer_to(&mut cell, &question, &answer, 20, START));
    assert!(rule.was_short(&cell, START + 19) && !rule.was_short(&cell, START + 20));
    assert_eq!(rule.share(&cell, 3, Some(90_000), START + 1_000_000_000), 10);
    assert_eq!(rule.above(3), 0);
    // It is not forgotten, and half of it is given back at a time; a little is kept for a while.
    assert!(!is_idle(&cell, START));
    assert_eq!(rule.question(&mut cell, 3, Need::Once, None, START).keeps, 5);
    assert_eq!(rule.question(&mut cell, 3, Need::Once, None, START).keeps, 2);
}

#[test]
fn a_share_is_of_its_period_and_bursts_are_not_shared() {
    let rule = Rule::Budget { unit: Unit::Tokens, most: 100, period: Period::Day };
    let mut cell = begun(&rule);
    let question = rule.question(&mut cell, 2, Need::Now, None, START);
    assert_eq!(question.period, START / 86_400_000);
    let answer = Answer { share: 10, target: 100, ..Answer::default() };
    assert!(rule.answer_to(&mut cell, &question, &answer, 10, START));
    rule.room(&mut cell, START + 86_400_000);
    assert_eq!(rule.share(&cell, 2, None, START + 86_400_000), 0);
    assert!(!rule.answer_to(&mut cell, &question, &answer, 10, START));
    assert!(rule.is_shared() && Rule::Concurrency(1).is_shared() && window(5, 1000).is_shared());
    assert!(!Rule::Window(Window { burst: 9, ..Window::new(Measure::Requests, 5, 1000) }).is_shared());
    assert_eq!((Rule::Concurrency(5).alone(2), window(1, 1000).alone(2)), (2, 0));
}

#[test]
fn what_is_used_above_becomes_no_share_however_often_is_asked() {
    let rule = window(3000, 60_000);
    let (mut cell, mut shares) = (begun(&rule), Shares::default());
    let other = rule.question(&mut begun(&rule), 3, Need::Now, None, START);
    assert_eq!(shares.ask(1, &other, 3000, 0, START).unwrap().share, 3000);
    for at in 0..40 {
        let now = START + at * 30;
        let room = rule.room(&mut cell, now);
        let room = (rule.share(&cell, 3, None, now) + rule.above(3)).saturating_sub(room.used);
        rule.take(&mut cell, room, now);
        let question = rule.question(&mut cell, 3, Need::Now, None, now);
        let answer = shares.ask(0, &question, 100, 100, now);
        if let Some(answer) = answer.filter(|_| at % 3 > 0) {
            rule.answer_to(&mut cell, &question, &answer, 100, now);
        }
    }
    assert_eq!(rule.room(&mut cell, START + 1200).used, 10);
}
