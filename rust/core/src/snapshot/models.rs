//! The models of a snapshot: what each is, what it costs, and where it is served.
//!
//! Law: a member of a pool is a backend of the same document; how a model is listed is written once, when it is read.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::document::{Fields, optional_texts};
use super::{Backend, NAME, is_name, unique};
use crate::ability::{Abilities, Category};
use crate::bounds;
use crate::limit::{self, Rule, price::Price};
use crate::profile::Profile;

/// One model as clients name it.
#[derive(Debug, Clone)]
pub struct Model {
    /// What clients call it.
    pub name: Arc<str>,
    /// Unix time in seconds, as listed.
    pub created: u64,
    /// As listed.
    pub owned_by: Box<str>,
    /// What it can do.
    pub abilities: Abilities,
    /// The endpoints at which it is meant when no model is named.
    pub default_for: Vec<Box<str>>,
    /// How long its answers are at most where a limit counts them and the client says nothing.
    pub max_tokens: Option<u64>,
    /// What it costs.
    pub price: Option<Price>,
    /// How much all callers together may use of it.
    pub limits: Vec<Rule>,
    /// Where it is served; may be empty.
    pub pool: Vec<Member>,
    /// What its tokens are counted with: the name of an encoding, or of a file.
    pub tokenizer: Option<Box<str>>,
    /// The answer to `GET /v1/models/{id}`, without and with the category.
    entries: [Bytes; 2],
}

impl Model {
    /// The answer to `GET /v1/models/{id}` under a profile.
    #[must_use]
    pub fn listed(&self, profile: &Profile) -> &Bytes {
        let [plain, told] = &self.entries;
        if profile.lists_category { told } else { plain }
    }
}

/// One backend of a pool.
#[derive(Debug, Clone)]
pub struct Member {
    /// Index in `Snapshot::backends`.
    pub backend: usize,
    /// What this backend calls the model.
    pub upstream: Box<str>,
    /// Whether that is another name than the clients'.
    pub renamed: bool,
    /// `upstream` as a JSON string with its quotes.
    pub upstream_json: Box<str>,
}

/// The models, whose pools name the backends by their places.
pub(super) fn models(fields: &mut Fields<'_>, backends: &[Backend]) -> Vec<Model> {
    let places: HashMap<&str, usize> =
        backends.iter().enumerate().map(|(at, backend)| (&*backend.name, at)).collect();
    let mut names = HashSet::new();
    let mut models = Vec::new();
    for (index, value) in fields.list("models").into_iter().enumerate() {
        let Some(element) = fields.element("models", index, value) else { continue };
        models.push(model(element, &mut names, &places));
    }
    models
}

fn model(mut fields: Fields<'_>, names: &mut HashSet<Arc<str>>, places: &HashMap<&str, usize>) -> Model {
    let name = unique(&mut fields, names);
    let created = fields.whole("created", 0..=u64::MAX);
    let owned_by = fields.text("owned_by", is_name, NAME);
    let abilities = fields.optional_section("abilities").map(abilities).unwrap_or_default();
    let default_for = optional_texts(&mut fields, "default_for");
    let max_tokens = fields.optional_whole("max_tokens", 1..=bounds::COUNTED);
    let price = fields.optional_section("price").map(Price::read);
    let limits = limit::section(&mut fields, "limits");
    let tokenizer = fields.optional_text("tokenizer", is_file, "must be the name of an encoding or a file");
    let mut pool = Vec::new();
    for (index, value) in fields.list("pool").into_iter().enumerate() {
        let Some(element) = fields.element("pool", index, value) else { continue };
        pool.extend(member(element, &name, places));
    }
    fields.done();
    // A model of which nothing is said writes text: that is what most of them do.
    let usual = if abilities.vision == Some(true) { Category::Multimodal } else { Category::Text };
    let category = abilities.category.unwrap_or(usual).name();
    let plain = format!(
        r#"{{"id":{},"object":"model","created":{created},"owned_by":{}"#,
        quoted(&name),
        quoted(&owned_by)
    );
    let told = format!(r#"{plain},"category":"{category}"}}"#);
    let entries = [Bytes::from(plain + "}"), Bytes::from(told)];
    Model {
        name,
        created,
        owned_by,
        abilities,
        default_for,
        max_tokens,
        price,
        limits,
        tokenizer,
        pool,
        entries,
    }
}

fn abilities(mut fields: Fields<'_>) -> Abilities {
    let known = |text: &str| Category::named(text).is_some();
    let category = fields.optional_text("category", known, "must be the name of a category");
    let abilities = Abilities {
        category: category.as_deref().and_then(Category::named),
        tools: fields.optional_flag("tools"),
        vision: fields.optional_flag("vision"),
        json_schema: fields.optional_flag("json_schema"),
        dimensions: fields.optional_flag("dimensions"),
        vocabulary: fields.optional("vocabulary").and_then(|size| size.as_u64()),
    };
    fields.done();
    abilities
}

fn member(mut fields: Fields<'_>, model: &str, places: &HashMap<&str, usize>) -> Option<Member> {
    let backend = fields.text("backend", is_name, NAME);
    let upstream = fields.text("upstream", is_name, NAME);
    let place = places.get(&*backend).copied();
    if place.is_none() && !backend.is_empty() {
        fields.problem("backend", &format!("no backend is named '{backend}'"));
    }
    fields.done();
    Some(Member {
        backend: place?,
        renamed: *upstream != *model,
        upstream_json: quoted(&upstream).into(),
        upstream,
    })
}

/// A JSON string with its quotes.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn is_file(text: &str) -> bool {
    (1..=4096).contains(&text.len()) && !text.chars().any(char::is_control)
}
