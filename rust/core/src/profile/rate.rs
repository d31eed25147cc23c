//! How often a profile lets its callers ask: the windows, who shares them, how answers tell of them.
//!
//! Law: data only; `limit` does the arithmetic.

use crate::endpoint::Endpoint;
use crate::limit::Window;
use crate::snapshot::document::{Fields, optional_texts};

/// A year: no window is longer.
const LONGEST_MS: u64 = 366 * 86_400_000;

/// How often callers may ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rate {
    /// Who shares the windows.
    pub unit: Unit,
    /// The windows; a request must fit into all that count it.
    pub windows: Vec<Window>,
    /// How answers tell of them.
    pub headers: Headers,
}

/// Who shares a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Each key has its own.
    #[default]
    Key,
    /// All keys of a project; a key without one has its own.
    Project,
    /// All keys of a tenant; keys without one share one.
    Contract,
}

/// How answers tell of the windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Headers {
    /// Not at all.
    #[default]
    None,
    /// `x-ratelimit-*`, with the time until the reset: `1m30s`.
    Span,
    /// `x-ratelimit-*`, with the time of the reset: seconds since 1970.
    Epoch,
}

impl Rate {
    /// Reads the section.
    pub(crate) fn read(mut fields: Fields<'_>) -> Self {
        let unit = match &*fields.text(
            "unit",
            |text| matches!(text, "per_key" | "per_project" | "per_contract"),
            "must be per_key, per_project or per_contract",
        ) {
            "per_project" => Unit::Project,
            "per_contract" => Unit::Contract,
            _ => Unit::Key,
        };
        let headers = match &*fields.text(
            "headers",
            |text| matches!(text, "none" | "openai" | "flexai"),
            "must be none, openai or flexai",
        ) {
            "openai" => Headers::Span,
            "flexai" => Headers::Epoch,
            _ => Headers::None,
        };
        let windows = windows(&mut fields);
        fields.done();
        Self { unit, windows, headers }
    }
}

fn windows(fields: &mut Fields<'_>) -> Vec<Window> {
    let mut windows = Vec::new();
    for (index, value) in fields.list("windows").into_iter().enumerate() {
        windows.extend(fields.element("windows", index, value).map(window));
    }
    windows
}

fn window(mut fields: Fields<'_>) -> Window {
    let whole = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let requests = whole(fields.whole("requests", 1..=u64::from(u32::MAX)));
    let per_ms = fields.whole("per_ms", 1..=LONGEST_MS);
    let burst = fields.optional_whole("burst", u64::from(requests)..=u64::from(u32::MAX));
    let names = optional_texts(&mut fields, "endpoints");
    let some: Vec<Endpoint> =
        Endpoint::all().filter(|endpoint| names.iter().any(|name| **name == *endpoint.name())).collect();
    if some.len() != names.len() {
        fields.problem("endpoints", "must be names of endpoints, each once");
    }
    fields.done();
    let endpoints = (!names.is_empty()).then_some(some);
    Window { requests, per_ms, burst: burst.map_or(requests, whole), endpoints }
}
