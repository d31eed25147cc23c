//! The older names of a constraint on what a model writes, for a backend that has but the newer one for all of them.
//!
//! Law: a constraint is never silently without effect. A client that uses the newer name too has said what it means.

use std::ops::Range;

use crate::json::{Kind as Json, Scanner, Text};
use crate::splice::Edit;

/// The older names, and what they are called in `structured_outputs`.
const NAMES: [(&str, &str); 4] = [
    ("guided_json", "json"),
    ("guided_regex", "regex"),
    ("guided_choice", "choice"),
    ("guided_grammar", "grammar"),
];
const NEW: &str = "structured_outputs";

/// The constraints of a body, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Guided {
    old: Vec<Old>,
    new: bool,
}

/// One under an older name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Old {
    name: &'static str,
    key: Range<usize>,
    value: Range<usize>,
    /// Where the member before it ends.
    before: Option<usize>,
    text: Box<str>,
}

impl Guided {
    /// A member that goes on to the backend and is no field of the endpoint.
    pub(super) fn note(
        &mut self,
        key: (&Text<'_>, Range<usize>),
        (kind, value): (Json, Range<usize>),
        before: Option<usize>,
        scanner: &Scanner<'_>,
    ) {
        if kind == Json::Null {
            return;
        }
        self.new |= key.0.is(NEW);
        let known = NAMES.iter().find(|(old, _)| key.0.is(old));
        // The same name twice says no more than once: what follows the first is left to the backend.
        if let Some((_, name)) = known.filter(|(_, name)| self.old.iter().all(|one| one.name != *name)) {
            let text = scanner.text(&value).into();
            self.old.push(Old { name, key: key.1, value, before, text });
        }
    }

    /// All of them under the newer name, where the first stands.
    pub(super) fn edits(&self) -> Vec<Edit> {
        let Some((first, others)) = self.old.split_first().filter(|_| !self.new) else { return Vec::new() };
        let all: Vec<String> = self.old.iter().map(|one| format!("\"{}\":{}", one.name, one.text)).collect();
        let named = Edit { span: first.key.clone(), with: format!("\"{NEW}\"").into() };
        let value = Edit { span: first.value.clone(), with: format!("{{{}}}", all.join(",")).into() };
        let cuts = others.iter().map(|one| {
            let from = one.before.unwrap_or(one.key.start);
            Edit { span: from..one.value.end, with: "".into() }
        });
        [named, value].into_iter().chain(cuts).collect()
    }
}
