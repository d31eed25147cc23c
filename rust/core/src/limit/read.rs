//! Rules from their documents.
//!
//! Law: an account has at most so many rules that those of all levels together fit into one reservation; none is there
//! twice.

use std::collections::HashMap;

use super::{LONGEST_MS, Measure, Period, Rule, Unit, Window, mask, price::Price};
use crate::auth::{LABEL, is_label};
use crate::bounds;
use crate::endpoint::Endpoint;
use crate::snapshot::document::{Fields, optional_texts};

/// The limits in a field that may be missing.
pub(crate) fn section(fields: &mut Fields<'_>, name: &str) -> Vec<Rule> {
    let Some(mut fields) = fields.optional_section(name) else { return Vec::new() };
    let mut rules: Vec<Rule> = list(&mut fields, "windows").into_iter().map(Rule::Window).collect();
    let most = fields.optional_whole("concurrency", 1..=u64::from(u32::MAX));
    rules.extend(most.map(Rule::Concurrency));
    for (index, value) in fields.optional_list("budgets").into_iter().enumerate() {
        rules.extend(fields.element("budgets", index, value).map(budget));
    }
    for (at, rule) in rules.iter().enumerate() {
        if rules.iter().take(at).any(|before| before.salt() == rule.salt()) {
            fields.problem("windows", "must be of different things or times");
        }
    }
    if rules.len() > bounds::ACCOUNT_RULES {
        let most = format!("must be at most {} rules", bounds::ACCOUNT_RULES);
        fields.problem("windows", &most);
    }
    fields.done();
    rules
}

/// The limits of tenants or projects, by their names.
pub(crate) fn accounts(fields: &mut Fields<'_>, name: &str) -> HashMap<Box<str>, Vec<Rule>> {
    let mut accounts = HashMap::new();
    for (index, value) in fields.optional_list(name).into_iter().enumerate() {
        let Some(mut one) = fields.element(name, index, value) else { continue };
        let called = one.text("name", is_label, LABEL);
        let rules = section(&mut one, "limits");
        if accounts.insert(called, rules).is_some() {
            one.problem("name", "is there twice");
        }
        one.done();
    }
    accounts
}

/// The windows in a field that may be missing.
pub(crate) fn list(fields: &mut Fields<'_>, name: &str) -> Vec<Window> {
    let mut windows = Vec::new();
    for (index, value) in fields.optional_list(name).into_iter().enumerate() {
        windows.extend(fields.element(name, index, value).map(window));
    }
    windows
}

fn window(mut fields: Fields<'_>) -> Window {
    let known = |text: &str| measure(text).is_some();
    let word = fields.optional_text("count", known, "must be requests, input, output or tokens");
    let measure = word.as_deref().and_then(measure).unwrap_or(Measure::Requests);
    let name = if word.is_some() { "most" } else { "requests" };
    let most = fields.whole(name, 1..=bounds::COUNTED);
    let per_ms = fields.whole("per_ms", 1..=LONGEST_MS);
    let burst = fields.optional_whole("burst", most..=bounds::COUNTED);
    let names = optional_texts(&mut fields, "endpoints");
    let some: Vec<Endpoint> =
        Endpoint::all().filter(|endpoint| names.iter().any(|name| **name == *endpoint.name())).collect();
    if some.len() != names.len() {
        fields.problem("endpoints", "must be names of endpoints, each once");
    }
    fields.done();
    let endpoints = (!names.is_empty()).then(|| mask(some.into_iter()));
    Window { burst: burst.unwrap_or(most), endpoints, ..Window::new(measure, most, per_ms) }
}

fn measure(word: &str) -> Option<Measure> {
    match word {
        "requests" => Some(Measure::Requests),
        "input" => Some(Measure::Input),
        "output" => Some(Measure::Output),
        "tokens" => Some(Measure::Tokens),
        _ => None,
    }
}

fn budget(mut fields: Fields<'_>) -> Rule {
    let unit = fields.text("unit", |text| matches!(text, "money" | "tokens"), "must be money or tokens");
    let unit = if &*unit == "money" { Unit::Money } else { Unit::Tokens };
    let most = fields.whole("most", 0..=u64::MAX >> 1);
    let per =
        fields.text("per", |text| matches!(text, "day" | "month" | "ever"), "must be day, month or ever");
    let period = match &*per {
        "day" => Period::Day,
        "month" => Period::Month,
        _ => Period::Ever,
    };
    fields.done();
    Rule::Budget { unit, most, period }
}

impl Price {
    /// Reads the section.
    pub(crate) fn read(mut fields: Fields<'_>) -> Self {
        let some = 0..=bounds::COUNTED;
        let input = fields.whole("input", some.clone());
        let cached = fields.optional_whole("cached", some.clone()).unwrap_or(input);
        let output = fields.whole("output", some);
        fields.done();
        Self { input, cached, output }
    }
}
