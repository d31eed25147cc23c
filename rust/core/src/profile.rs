//! Profile: one provider's contract as the engine applies it, read from the snapshot's document.
//!
//! Law: data only. What a profile can say is listed here; what it says is decided by files that an operator can read.

use serde_json::Value;

use crate::chunk::Fingerprint;
use crate::endpoint::Endpoint;
use crate::refusal::Kind;
use crate::shape::{Id, Objects, Shapes};
use crate::snapshot::document::{self, Fields, texts};
use crate::snapshot::url::{PATH, is_path};

pub mod rate;

use rate::Rate;

/// One contract.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Its name.
    pub name: Box<str>,
    /// Members that no client may send, whatever else is allowed; one may end in `*`.
    pub denied: Vec<Box<str>>,
    /// What stands before the path of every endpoint: one of these.
    pub base_paths: Vec<Box<str>>,
    /// An explicit null counts as a value where the SDK's types know none.
    pub null_counts: bool,
    /// A stream that breaks ends by the end of its connection, without an error event.
    pub severs: bool,
    /// The largest body, where the operator says nothing.
    pub body_bytes: Option<u64>,
    /// What becomes of a JSON Schema on a model that cannot keep to one.
    pub schema_fallback: SchemaFallback,
    /// Lists of models tell the category.
    pub lists_category: bool,
    /// Only models with a live backend are listed.
    pub lists_live: bool,
    /// How often callers may ask.
    pub rate: Rate,
    /// How errors look.
    pub errors: Errors,
    rules: [Option<Rules>; Endpoint::COUNT],
}

/// What holds for one endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// The shapes of its fields.
    pub shapes: Shapes,
    /// Its fields, in the documented order of checks.
    pub fields: Vec<Field>,
    /// What becomes of a field that is not among them.
    pub unknown: Unknown,
    /// The checks between fields, by name.
    pub checks: Checks,
    /// What becomes of `system_fingerprint` in answers.
    pub fingerprint: Fingerprint,
    /// Usage has the flat counters of cached tokens.
    pub cache_counters: bool,
    /// Reasoning is told under both of its names.
    pub both_reasonings: bool,
    /// The `max_tokens` of a request that has no limit of its own.
    pub default_max_tokens: Option<u64>,
}

/// One field of a body.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: Box<str>,
    /// Its shape.
    pub shape: Id,
    /// Whether it must be there.
    pub required: bool,
    /// What becomes of it.
    pub action: Action,
}

/// What becomes of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Checked, and passed on.
    Validate,
    /// Passed on unchecked: the backend decides.
    Forward,
    /// Taken out, whatever it holds.
    Ignore,
    /// Taken out if it is this number, which means "off"; else checked and passed on.
    Off(f64),
    /// Checked, and passed on as another JSON text if it is one of these.
    Map(Vec<(Box<str>, Box<str>)>),
    /// Refused in these words unless it is absent, null or one of the JSON texts that change nothing.
    Reject {
        /// The message.
        message: Box<str>,
        /// Values that pass, as JSON texts.
        except: Vec<Box<str>>,
    },
}

/// What becomes of a JSON Schema that a model cannot keep to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SchemaFallback {
    /// Passed on: the backend decides.
    #[default]
    None,
    /// Any JSON is asked for instead, and a header says so.
    JsonObject,
    /// Refused.
    Reject,
}

/// What becomes of unknown fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// Passed on.
    Forward,
    /// Taken out.
    Drop,
    /// Refused.
    Reject,
}

/// Checks between fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checks {
    /// `stream_options` only with `stream`.
    pub stream_options: bool,
    /// `top_logprobs` only with `logprobs`.
    pub top_logprobs: bool,
    /// `tool_choice` only with `tools`.
    pub tool_choice: bool,
    /// `json_object` only if a message speaks of JSON.
    pub json_word: bool,
    /// Tool messages answer tool calls.
    pub tool_replies: bool,
    /// Images only for models that see.
    pub images: bool,
}

/// How errors look beyond the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Errors {
    /// A 400 has no `code`, but for those in `code_keep`.
    pub code_null: bool,
    /// The codes that a 400 keeps.
    pub code_keep: Vec<Box<str>>,
    /// What a 401 carries as `doc_url`.
    pub doc_url: Option<Box<str>>,
    /// The `type` of a 401.
    pub unauthorized_type: Option<Box<str>>,
    /// The whole body of a 401, where it is another than OpenAI's.
    pub unauthorized_body: Option<Box<str>>,
    /// A prompt that is too long is told without the envelope, with the status as the code.
    pub flat_overflow: bool,
    /// A 429 does not say when to come again.
    pub no_retry_after: bool,
    /// The status of an answer that took too long, where it is not 504.
    pub timeout_status: Option<u16>,
    /// Status of an unknown model.
    pub unknown_model_status: Option<u16>,
    /// Words of an unknown model, with `{model}` for its name.
    pub unknown_model_message: Option<Box<str>>,
    /// Rows of the table that this profile words otherwise.
    pub rows: Vec<(Kind, Row)>,
}

/// What stands in place of a row of the table; nothing: the table's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// The status.
    pub status: Option<u16>,
    /// The `type`.
    pub error_type: Option<Box<str>>,
    /// The `code`.
    pub code: Option<Box<str>>,
    /// The message; `{seconds}` is how long to wait.
    pub message: Option<Box<str>>,
}

impl Profile {
    /// The rules of an endpoint; nothing where it is not offered.
    #[must_use]
    pub fn rules(&self, endpoint: Endpoint) -> Option<&Rules> {
        self.rules.get(endpoint as usize).and_then(Option::as_ref)
    }

    /// Reads a document that is one profile and nothing else.
    ///
    /// # Errors
    /// Every problem with its path.
    pub fn parse(json: &[u8]) -> Result<Self, Vec<String>> {
        let value: Value = serde_json::from_slice(json).map_err(|error| vec![document::fault(&error)])?;
        let mut problems = Vec::new();
        let profile = Fields::open(value, String::new(), &mut problems).map(Self::read);
        profile.filter(|_| problems.is_empty()).ok_or(problems)
    }

    /// Reads one profile of the document.
    pub(crate) fn read(mut fields: Fields<'_>) -> Self {
        let name = fields.text("name", |text| !text.is_empty(), "must be a name");
        let denied = texts(&mut fields, "denied");
        let base_paths = base_paths(&mut fields);
        let null_counts = fields.flag("null_counts");
        let severs = fields.flag("severs");
        let schema_fallback = match &*fields.text(
            "schema_fallback",
            |text| matches!(text, "none" | "json_object" | "reject"),
            "must be none, json_object or reject",
        ) {
            "json_object" => SchemaFallback::JsonObject,
            "reject" => SchemaFallback::Reject,
            _ => SchemaFallback::None,
        };
        let body_bytes = fields.optional("body_bytes").and_then(|value| value.as_u64());
        let lists_category = fields.flag("lists_category");
        let lists_live = fields.flag("lists_live");
        let rate = fields.optional_section("rate").map(Rate::read).unwrap_or_default();
        let errors = fields.section("errors").map(errors).unwrap_or_default();
        let mut rules = [const { None }; Endpoint::COUNT];
        if let Some(mut endpoints) = fields.section("endpoints") {
            for endpoint in Endpoint::all() {
                let read = endpoints.optional_section(endpoint.name()).and_then(self::rules);
                if let Some(place) = rules.get_mut(endpoint as usize) {
                    *place = read;
                }
            }
            endpoints.done();
        }
        fields.done();
        Self {
            name,
            denied,
            base_paths,
            null_counts,
            severs,
            body_bytes,
            schema_fallback,
            lists_category,
            lists_live,
            rate,
            errors,
            rules,
        }
    }
}

impl Rules {
    /// Whether the gateway answers for what this field promises.
    #[must_use]
    pub fn validates(&self, name: &str) -> bool {
        self.fields.iter().any(|field| *field.name == *name && field.action == Action::Validate)
    }
}

fn base_paths(fields: &mut Fields<'_>) -> Vec<Box<str>> {
    let paths = texts(fields, "base_paths");
    if paths.iter().any(|path| !is_path(path)) {
        fields.problem("base_paths", PATH);
    }
    paths
}

fn errors(mut fields: Fields<'_>) -> Errors {
    let some = |_: &str| true;
    let errors = Errors {
        code_null: fields.flag("code_null"),
        code_keep: texts(&mut fields, "code_keep"),
        doc_url: fields.optional_text("doc_url", some, "must be a text"),
        unauthorized_type: fields.optional_text("unauthorized_type", some, "must be a text"),
        unauthorized_body: fields.optional_text("unauthorized_body", some, "must be a text"),
        flat_overflow: fields.flag("flat_overflow"),
        no_retry_after: fields.flag("no_retry_after"),
        timeout_status: status(&mut fields, "timeout_status"),
        unknown_model_status: status(&mut fields, "unknown_model_status"),
        unknown_model_message: fields.optional_text("unknown_model_message", some, "must be a text"),
        rows: fields.optional_section("rows").map(rows).unwrap_or_default(),
    };
    fields.done();
    errors
}

/// The rows that can be worded otherwise, by the names they have in profiles.
fn rows(mut fields: Fields<'_>) -> Vec<(Kind, Row)> {
    let mut rows = Vec::new();
    for (name, kind) in [("rate_limited", Kind::LimitReached), ("no_credit", Kind::NoCredit)] {
        rows.extend(fields.optional_section(name).map(|fields| (kind, row(fields))));
    }
    fields.done();
    rows
}

fn row(mut fields: Fields<'_>) -> Row {
    let some = |_: &str| true;
    let row = Row {
        status: status(&mut fields, "status"),
        error_type: fields.optional_text("type", some, "must be a text"),
        code: fields.optional_text("code", some, "must be a text"),
        message: fields.optional_text("message", some, "must be a text"),
    };
    fields.done();
    row
}

fn status(fields: &mut Fields<'_>, name: &str) -> Option<u16> {
    fields.optional(name).and_then(|value| u16::try_from(value.as_u64()?).ok())
}

fn rules(mut fields: Fields<'_>) -> Option<Rules> {
    let schema = fields.value("schema")?;
    let shapes = match Shapes::compile(&schema) {
        Ok(shapes) => shapes,
        Err(problem) => {
            fields.problem("schema", &problem);
            return None;
        }
    };
    let unknown = match &*fields.text(
        "unknown",
        |text| matches!(text, "forward" | "drop" | "reject"),
        "must be forward, drop or reject",
    ) {
        "drop" => Unknown::Drop,
        "reject" => Unknown::Reject,
        _ => Unknown::Forward,
    };
    let checks = checks(&mut fields);
    let fingerprint = match &*fields.text(
        "fingerprint",
        |text| matches!(text, "keep" | "remove" | "ensure"),
        "must be keep, remove or ensure",
    ) {
        "remove" => Fingerprint::Remove,
        "ensure" => Fingerprint::Ensure,
        _ => Fingerprint::Keep,
    };
    let cache_counters = fields.flag("cache_counters");
    let both_reasonings = fields.flag("both_reasonings");
    let default_max_tokens = fields.optional("default_max_tokens").and_then(|limit| limit.as_u64());
    let order = texts(&mut fields, "order");
    let mut actions = actions(&mut fields);
    fields.done();
    let Some(Objects::One(object)) = shapes.get(shapes.root()).and_then(|root| root.object.as_ref()) else {
        return None;
    };
    let rank = |name: &str| order.iter().position(|one| **one == *name).unwrap_or(order.len());
    let mut known: Vec<Field> = object
        .members
        .iter()
        .map(|member| Field {
            name: member.name.clone(),
            shape: member.shape,
            required: member.required,
            action: actions
                .iter()
                .position(|(name, _)| *name == member.name)
                .map_or(Action::Validate, |at| actions.swap_remove(at).1),
        })
        .collect();
    known.sort_by_key(|field| rank(&field.name));
    Some(Rules {
        shapes,
        fields: known,
        unknown,
        checks,
        fingerprint,
        cache_counters,
        both_reasonings,
        default_max_tokens,
    })
}

fn checks(fields: &mut Fields<'_>) -> Checks {
    let mut checks = Checks::default();
    for name in texts(fields, "checks") {
        match &*name {
            "stream_options" => checks.stream_options = true,
            "top_logprobs" => checks.top_logprobs = true,
            "tool_choice" => checks.tool_choice = true,
            "json_word" => checks.json_word = true,
            "tool_replies" => checks.tool_replies = true,
            "images" => checks.images = true,
            _ => fields.problem("checks", &format!("no check is named '{name}'")),
        }
    }
    checks
}

/// What becomes of the fields that are not simply validated.
fn actions(fields: &mut Fields<'_>) -> Vec<(Box<str>, Action)> {
    let mut actions = Vec::new();
    for (index, value) in fields.list("actions").into_iter().enumerate() {
        let Some(mut one) = fields.element("actions", index, value) else { continue };
        let name = one.text("field", |text| !text.is_empty(), "must be the name of a field");
        let action = match &*one.text("do", |_| true, "must be a text") {
            "forward" => Action::Forward,
            "ignore" => Action::Ignore,
            "off" => Action::Off(one.number("value", -1e9..=1e9)),
            "map" => Action::Map(pairs(&mut one)),
            "reject" => Action::Reject {
                message: one.text("message", |text| !text.is_empty(), "must be a message"),
                except: texts(&mut one, "except"),
            },
            other => {
                one.problem("do", &format!("'{other}' is no action"));
                Action::Validate
            }
        };
        one.done();
        actions.push((name, action));
    }
    actions
}

/// Pairs of JSON texts: what stands there, and what is passed on.
fn pairs(fields: &mut Fields<'_>) -> Vec<(Box<str>, Box<str>)> {
    let (from, to) = (texts(fields, "from"), texts(fields, "to"));
    if from.len() != to.len() {
        fields.problem("to", "must have as many texts as 'from'");
    }
    from.into_iter().zip(to).collect()
}
