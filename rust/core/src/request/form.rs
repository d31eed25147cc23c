//! A form's parts as the JSON that they stand for, so that one validator judges both and says the same words.
//!
//! Law: files are never looked into. A text is the number or boolean that its field wants, if it reads as one; else
//! it is a text. What changes are the parts themselves: each is left, emptied of its old model name, or taken out.

use std::ops::Range;

use serde_json::{Map, Value};

use crate::bounds;
use crate::form::{Part, first, parts};
use crate::json::Text;
use crate::profile::{Action, Field, Profile, Rules, Unknown};
use crate::refusal::{Kind, Refusal};
use crate::splice::Edit;
use crate::validate::{is_denied, unknown_parameter};

/// A form that has been read.
pub(super) struct Form {
    /// What it says, as a JSON object; a file is an empty text.
    pub(super) json: String,
    /// Where the model's name stands.
    pub(super) model: Option<Range<usize>>,
    /// Where another part may be put in.
    pub(super) start: usize,
    /// What the profile takes out.
    pub(super) edits: Vec<Edit>,
}

impl Form {
    /// Reads the parts.
    pub(super) fn read(
        profile: &Profile,
        rules: &Rules,
        boundary: &str,
        body: &[u8],
    ) -> Result<Self, Refusal> {
        let parts = parts(boundary, body).map_err(|malformed| {
            let words = format!("We could not parse the multipart form of your request: {}.", malformed.0);
            Refusal::of(Kind::BadForm).message(words)
        })?;
        let start = first(boundary, body).unwrap_or_default();
        let mut form = Self { json: String::new(), model: None, start, edits: Vec::new() };
        let mut members: Map<String, Value> = Map::new();
        for part in &parts {
            let (root, inner) = split(&part.name);
            let mut names = std::iter::once(root).chain(inner.iter().copied());
            if names.any(|name| is_denied(&profile.denied, &Text { raw: name.as_bytes(), escaped: false })) {
                return Err(unknown_parameter(&part.name, &[]));
            }
            let field = rules.fields.iter().find(|field| *field.name == *root);
            if !stays(field, rules) {
                form.edits.push(Edit { span: part.whole.clone(), with: "".into() });
            }
            // A member of a member: the backend's to read, as the shape of forms has no rule for it.
            if !inner.is_empty() {
                continue;
            }
            let value = value(part, field, rules, body)?;
            if root == "model" && !part.file {
                form.model = Some(part.content.clone());
            }
            put(&mut members, part, value);
        }
        form.json = Value::Object(members).to_string();
        Ok(form)
    }
}

/// The name before the brackets, and those in them.
fn split(name: &str) -> (&str, Vec<&str>) {
    let mut pieces = name.split(['[', ']']);
    let root = pieces.next().unwrap_or_default();
    (root, pieces.filter(|piece| !piece.is_empty()).collect())
}

fn stays(field: Option<&Field>, rules: &Rules) -> bool {
    match field {
        Some(field) => field.action != Action::Ignore,
        None => rules.unknown != Unknown::Drop,
    }
}

/// What a part says.
fn value(part: &Part, field: Option<&Field>, rules: &Rules, body: &[u8]) -> Result<Value, Refusal> {
    if part.file {
        return Ok(Value::String(String::new()));
    }
    let bytes = body.get(part.content.clone()).unwrap_or_default();
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= bounds::FORM_TEXT_BYTES);
    let Some(text) = text else {
        let words = format!("Invalid '{}': it is not UTF-8, or too long for a text.", part.name);
        return Err(Refusal::of(Kind::InvalidValue).message(words).param(part.name.to_string()));
    };
    let shape = field.and_then(|field| rules.shapes.get(field.shape));
    let scalar =
        shape.is_some_and(|shape| shape.string.is_none() && (shape.number.is_some() || shape.boolean));
    let read =
        serde_json::from_str(text).ok().filter(|value: &Value| value.is_number() || value.is_boolean());
    Ok(read.filter(|_| scalar).unwrap_or_else(|| Value::String(text.to_owned())))
}

/// Adds a part's value: a name that says so, or comes again, is an array.
fn put(members: &mut Map<String, Value>, part: &Part, value: Value) {
    match members.get_mut(&*part.name) {
        None => {
            let value = if part.several { Value::Array(vec![value]) } else { value };
            members.insert(part.name.to_string(), value);
        }
        Some(Value::Array(values)) => values.push(value),
        Some(one) => *one = Value::Array(vec![one.take(), value]),
    }
}
