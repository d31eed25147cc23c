//! How often a profile lets its callers ask: the windows, who shares them, how answers tell of them.
//!
//! Law: data only; `limit` does the arithmetic.

use crate::bounds;
use crate::limit::{Measure, Rule, list};
use crate::snapshot::document::Fields;

/// How often callers may ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rate {
    /// Who shares the windows.
    pub unit: Unit,
    /// The windows; a request must fit into all that count it.
    pub windows: Vec<Rule>,
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
        let windows = list(&mut fields, "windows");
        if windows.len() > bounds::PROFILE_WINDOWS
            || windows.iter().any(|one| one.measure != Measure::Requests)
        {
            fields.problem("windows", &format!("must be at most {}, of requests", bounds::PROFILE_WINDOWS));
        }
        let windows = windows.into_iter().map(Rule::Window).collect();
        fields.done();
        Self { unit, windows, headers }
    }
}
