//! What is changed in a request for a backend that lacks something.
//!
//! Law: the backend is asked for the same thing in the words that it knows. Places are remembered only where there is
//! something to change.

use std::ops::Range;

use super::cuts::Cuts;
use super::guided::Guided;
use super::scan::Seen;
use crate::json::{Kind as Json, Scanner};
use crate::lacks::Lacks;
use crate::splice::Edit;

/// The names of an answer's bound at chat, the stronger first.
const NEW: &str = "max_completion_tokens";
const OLD: &str = "max_tokens";

/// The places that a backend's lacks may change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// The cuts with every null besides, where there is one.
    pub(super) bare: Option<Cuts>,
    /// The bound of the answer's tokens.
    pub(super) limits: Limits,
    /// An `encoding_format` of base64.
    pub(super) base64: Option<Range<usize>>,
    /// Constraints under their older names.
    pub(super) guided: Guided,
}

impl Places {
    /// The places in a body.
    pub(super) fn of(seen: &mut Seen<'_>, scanner: &Scanner<'_>, default: Option<u64>) -> Self {
        let base64 = seen.get("encoding_format").map(|place| place.span.clone());
        Self {
            bare: seen.bare.take(),
            guided: std::mem::take(&mut seen.guided),
            limits: Limits::of(seen, scanner, default),
            base64: base64.filter(|span| {
                Scanner::new(scanner.text(span).as_bytes()).string().is_ok_and(|text| text.is("base64"))
            }),
        }
    }

    /// The edits but for the nulls; `close` is where the body's object closes.
    pub(super) fn edits(&self, lacks: &Lacks, close: usize) -> Vec<Edit> {
        let mut edits = self.limits.edits(lacks, close);
        let floats = self.base64.iter().filter(|_| lacks.base64);
        edits.extend(floats.map(|span| Edit { span: span.clone(), with: "\"float\"".into() }));
        if lacks.guided {
            edits.extend(self.guided.edits());
        }
        edits
    }
}

/// The bound of an answer's tokens. Chat has two names for it, and the newer one wins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Limits {
    new: Option<Limit>,
    old: Option<Limit>,
    /// The endpoint knows both names.
    two: bool,
    /// The profile's, or what the caller may still use, where the client gave none; and its name.
    default: Option<u64>,
    name: Option<&'static str>,
}

/// One of them, as the client gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Limit {
    name: &'static str,
    key: Range<usize>,
    value: Range<usize>,
    /// Where the member before it ends.
    before: Option<usize>,
    null: bool,
    /// The value's text, where it may be needed elsewhere.
    text: Box<str>,
}

impl Limits {
    fn of(seen: &Seen<'_>, scanner: &Scanner<'_>, default: Option<u64>) -> Self {
        let two = seen.knows(NEW);
        let both = two && seen.place(NEW).is_some() && seen.place(OLD).is_some();
        let limit = |name: &'static str| {
            let place = seen.passed(name).filter(|_| two)?;
            Some(Limit {
                name,
                key: place.key.clone(),
                value: place.span.clone(),
                before: place.before,
                null: place.kind == Json::Null,
                text: if both { scanner.text(&place.span).into() } else { "".into() },
            })
        };
        Self { new: limit(NEW), old: limit(OLD), two, default, name: None }
    }

    /// Bounds an answer that has no bound; the bound.
    pub(super) fn bound(&mut self, name: &'static str, most: u64) -> Option<u64> {
        (self.default, self.name) = (Some(most), Some(name));
        self.default
    }

    /// At most one of them is left, under the name that the backend knows.
    fn edits(&self, lacks: &Lacks, close: usize) -> Vec<Edit> {
        let known = match (lacks.max_completion_tokens, lacks.max_tokens) {
            _ if !self.two => None,
            (true, _) => Some(OLD),
            (_, true) => Some(NEW),
            _ => None,
        };
        if let Some(limit) = self.default {
            let with = format!(",\"{}\":{limit}", known.or(self.name).unwrap_or(OLD)).into();
            return vec![Edit { span: close..close, with }];
        }
        // Nulls are taken out for whoever lacks them.
        let there = |limit: &'_ Option<Limit>| limit.clone().filter(|limit| !(limit.null && lacks.null));
        match (there(&self.new), there(&self.old)) {
            (Some(new), Some(old)) => joined(&new, &old, known),
            (Some(one), None) | (None, Some(one)) if !one.null => one.named(known.unwrap_or(one.name)),
            _ => Vec::new(),
        }
    }
}

/// The two as one: where the first stands, and the second taken out.
fn joined(new: &Limit, old: &Limit, known: Option<&'static str>) -> Vec<Edit> {
    let winner = if new.null { old } else { new };
    let name = known.unwrap_or(winner.name);
    let alone = new.null || old.null;
    if winner.null || alone && name == winner.name {
        return Vec::new();
    }
    let (first, second) = if new.key.start < old.key.start { (new, old) } else { (old, new) };
    let mut edits = first.named(name);
    if first != winner {
        edits.push(Edit { span: first.value.clone(), with: winner.text.clone() });
    }
    let from = second.before.unwrap_or(second.key.start);
    edits.push(Edit { span: from..second.value.end, with: "".into() });
    edits
}

impl Limit {
    fn named(&self, name: &str) -> Vec<Edit> {
        let edit = Edit { span: self.key.clone(), with: format!("\"{name}\"").into() };
        if name == self.name { Vec::new() } else { vec![edit] }
    }
}
