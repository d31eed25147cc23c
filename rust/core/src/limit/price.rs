//! What tokens of a model cost: integers only, millionths of the unit of money for a million tokens.
//!
//! Law: a part of a millionth counts as a whole one, so that many small calls are not free.

/// The price of a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Price {
    /// A million tokens of prompts.
    pub input: u64,
    /// A million tokens of prompts that came from the backend's cache.
    pub cached: u64,
    /// A million tokens of answers.
    pub output: u64,
}

const MILLION: u128 = 1_000_000;

impl Price {
    /// What a call costs that has used so many tokens, of which `cached` are among those of the prompt.
    #[must_use]
    pub fn cost(&self, input: u64, cached: u64, output: u64) -> u64 {
        let cached = cached.min(input);
        let parts = [(input - cached, self.input), (cached, self.cached), (output, self.output)];
        let sum: u128 = parts.into_iter().map(|(count, price)| u128::from(count) * u128::from(price)).sum();
        u64::try_from(sum.div_ceil(MILLION)).unwrap_or(u64::MAX)
    }

    /// The most that a call can cost with a prompt and an answer of so many tokens.
    #[must_use]
    pub fn most(&self, input: u64, output: u64) -> u64 {
        let cached = if self.cached > self.input { input } else { 0 };
        self.cost(input, cached, output)
    }

    /// How many tokens of an answer are paid for by `money`, once the prompt is.
    #[must_use]
    pub fn answer(&self, money: u64, input: u64) -> u64 {
        if self.output == 0 {
            return if self.most(input, 0) <= money { u64::MAX } else { 0 };
        }
        let prompt = u128::from(input) * u128::from(self.input.max(self.cached));
        let left = (u128::from(money) * MILLION).saturating_sub(prompt);
        u64::try_from(left / u128::from(self.output)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_part_counts_as_a_whole() {
        let price = Price { input: 150_000, cached: 75_000, output: 600_000 };
        assert_eq!(price.cost(0, 0, 0), 0);
        assert_eq!(price.cost(1, 0, 0), 1);
        assert_eq!(price.cost(1_000_000, 0, 1_000_000), 750_000);
        assert_eq!(price.cost(1_000_000, 400_000, 0), 120_000);
        assert_eq!(Price { input: u64::MAX, ..price }.cost(u64::MAX, 0, 0), u64::MAX);
    }

    proptest! {
        #[test]
        fn an_answer_of_that_length_is_paid_for(
            input in 0u64..1_000_000, money in 0u64..10_000_000, prices in [0u64..5_000_000, 0u64..5_000_000, 1u64..9_000_000]
        ) {
            let price = Price { input: prices[0], cached: prices[1], output: prices[2] };
            let answer = price.answer(money, input);
            prop_assert!(answer == 0 || price.most(input, answer) <= money);
            prop_assert!(price.most(input, answer + 1) > money);
            prop_assert!(price.cost(input, input / 2, answer) <= price.most(input, answer));
        }
    }
}
