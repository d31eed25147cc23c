//! Which backend of a pool gets the next try: the less loaded of two drawn at random.
//!
//! Law: the choice is a function of loads and one random number. Two choices come within a whisker of the least loaded
//! of all, without sending every call of a moment to the same backend (Mitzenmacher 2001).

/// Index of the backend to try next among `len`, or `None` when none may be used.
///
/// `load(i)` is asked once per backend: its calls in flight, or `None` when it must not be used (breaker shut, tried
/// before). `random` is uniform over all 64 bits.
#[must_use]
pub fn pick(len: usize, random: u64, load: impl Fn(usize) -> Option<u32>) -> Option<usize> {
    let mut dice = Dice(random);
    let (mut first, mut second) = (None, None);
    let mut usable = 0_u64;
    for (index, load) in (0..len).filter_map(|index| Some((index, load(index)?))) {
        usable += 1;
        // Each pair of usable backends is drawn with the same chance, though their number is not known beforehand.
        let slot = if usable <= 2 { usable - 1 } else { dice.below(usable) };
        match slot {
            0 => first = Some((index, load)),
            1 => second = Some((index, load)),
            _ => {}
        }
    }
    let (Some(first), Some(second)) = (first, second) else {
        return first.map(|(index, _)| index);
    };
    let second_wins = second.1 < first.1 || (second.1 == first.1 && dice.below(2) == 1);
    Some(if second_wins { second.0 } else { first.0 })
}

/// As many random numbers as are wanted from one: splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * u128::from(limit)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::{Dice, pick};
    use proptest::prelude::*;

    fn numbers(count: usize) -> impl Iterator<Item = u64> {
        let mut dice = Dice(7);
        (0..count).map(move |_| dice.below(u64::MAX))
    }

    fn shares(loads: &[Option<u32>], rounds: usize) -> Vec<usize> {
        let mut shares = vec![0; loads.len()];
        for random in numbers(rounds) {
            shares[pick(loads.len(), random, |index| loads[index]).unwrap()] += 1;
        }
        shares
    }

    #[test]
    fn few_choices() {
        for random in numbers(100) {
            assert_eq!(pick(0, random, |_| Some(0)), None);
            assert_eq!(pick(3, random, |_| None), None);
            assert_eq!(pick(1, random, |_| Some(9)), Some(0));
            assert_eq!(pick(3, random, |index| (index == 2).then_some(9)), Some(2));
            assert_eq!(pick(2, random, |index| Some([5, 4][index])), Some(1));
        }
    }

    #[test]
    fn equal_loads_share_equally() {
        for size in [2, 3, 5, 8] {
            let loads: Vec<_> = (0..size).map(|index| (index != 1 || size == 2).then_some(3)).collect();
            let usable = loads.iter().flatten().count();
            let fair = 80_000 / usable;
            for (share, load) in shares(&loads, 80_000).into_iter().zip(&loads) {
                match load {
                    Some(_) => assert!(share.abs_diff(fair) < fair / 20, "{share} of {fair}"),
                    None => assert_eq!(share, 0),
                }
            }
        }
    }

    #[test]
    fn of_many_the_most_loaded_never_wins_and_the_least_wins_most() {
        let shares = shares(&[Some(1), Some(2), Some(3), Some(4)], 60_000);
        assert_eq!(shares[3], 0);
        // Of six pairs three hold the least loaded, two the second, one the third.
        assert!(shares[0].abs_diff(30_000) < 1_000, "{shares:?}");
        assert!(shares[1].abs_diff(20_000) < 1_000, "{shares:?}");
        assert!(shares[2].abs_diff(10_000) < 1_000, "{shares:?}");
    }

    proptest! {
        #[test]
        fn only_usable_ones_and_never_the_single_worst(
            loads in prop::collection::vec(prop::option::of(0_u32..5), 0..12),
            random in any::<u64>(),
        ) {
            let picked = pick(loads.len(), random, |index| loads[index]);
            prop_assert_eq!(picked.is_some(), loads.iter().any(Option::is_some));
            if let Some(index) = picked {
                let load = loads[index].unwrap();
                let no_better = loads.iter().flatten().filter(|&&other| other >= load).count();
                prop_assert!(no_better >= 2 || loads.iter().flatten().count() == 1);
            }
        }
    }
}
