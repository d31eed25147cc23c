//! The usages of several answers to one prompt as one.
//!
//! Law: only counts are written anew, in the first one's text; what the answers cost adds up, the prompt is one.

use std::ops::Range;

use crate::json::{Kind, Scanner, Wrong};
use crate::splice::Edit;

/// One count of a usage.
struct Count<'a> {
    /// Of the details of the answer.
    detail: bool,
    name: &'a [u8],
    span: Range<usize>,
    count: u64,
}

/// The edits that make the first of some usages that of all: what the answers cost adds up, the prompt is one.
pub(super) fn summed(usages: &[&[u8]]) -> Vec<Edit> {
    let Some((first, others)) = usages.split_first() else { return Vec::new() };
    let mut sums: Vec<Count<'_>> = Vec::new();
    // A text that cannot be read has told its counts up to there.
    let _ = counts(first, |count| sums.push(count));
    for other in others {
        let _ = counts(other, |count| {
            let adds = count.detail || count.name == b"completion_tokens";
            let same = |sum: &&mut Count<'_>| adds && (sum.detail, sum.name) == (count.detail, count.name);
            if let Some(sum) = sums.iter_mut().find(same) {
                sum.count = sum.count.saturating_add(count.count);
            }
        });
    }
    let of = |name: &[u8]| sums.iter().find(|sum| !sum.detail && sum.name == name).map_or(0, |sum| sum.count);
    let total = of(b"prompt_tokens").saturating_add(of(b"completion_tokens"));
    if let (Some(sum), false) =
        (sums.iter_mut().find(|sum| !sum.detail && sum.name == b"total_tokens"), others.is_empty())
    {
        sum.count = total;
    }
    sums.into_iter().map(|sum| Edit { span: sum.span, with: sum.count.to_string().into() }).collect()
}

/// Reads a usage; each count of it goes to `found`.
fn counts<'a>(usage: &'a [u8], mut found: impl FnMut(Count<'a>)) -> Result<(), Wrong> {
    Scanner::new(usage).object::<Wrong>(|key, scanner| {
        if key.raw == b"completion_tokens_details" && scanner.peek() == Some(b'{') {
            scanner.object::<Wrong>(|key, scanner| count(true, key.raw, scanner, &mut found))?;
            return Ok(());
        }
        count(false, key.raw, scanner, &mut found)
    })?;
    Ok(())
}

fn count<'a>(
    detail: bool,
    name: &'a [u8],
    scanner: &mut Scanner<'a>,
    found: &mut impl FnMut(Count<'a>),
) -> Result<(), Wrong> {
    let (kind, span) = scanner.value()?;
    if let (Kind::Integer, Ok(count)) = (kind, scanner.text(&span).parse()) {
        found(Count { detail, name, span, count });
    }
    Ok(())
}
