//! Reads a JSON document field by field and gathers every problem with its path.
//!
//! Law: a problem names a place and what belongs there, never the value that stands there: it may be a secret.
//! A field that cannot be read counts as a problem and yields an empty value, so reading goes on to the end.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

/// One object of the document. What is left in it at `done` is unknown.
pub(crate) struct Fields<'p> {
    path: String,
    fields: Map<String, Value>,
    problems: &'p mut Vec<String>,
}

impl<'p> Fields<'p> {
    /// Opens `value` as the object at `path`; the whole document has the path "".
    pub fn open(value: Value, path: String, problems: &'p mut Vec<String>) -> Option<Self> {
        let Value::Object(fields) = value else {
            let place = if path.is_empty() { "document" } else { &path };
            problems.push(format!("{place}: must be an object"));
            return None;
        };
        Some(Self { path, fields, problems })
    }

    /// Notes a problem with a field.
    pub fn problem(&mut self, name: &str, what: &str) {
        let path = self.path_of(name);
        self.problems.push(format!("{path}: {what}"));
    }

    /// Any value; `None` with a problem when it is missing.
    pub fn value(&mut self, name: &str) -> Option<Value> {
        let value = self.fields.remove(name);
        if value.is_none() {
            self.problem(name, "is missing");
        }
        value
    }

    /// A value that may be missing or null.
    pub fn optional(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    /// A string that `fits`, or the problem `what`.
    pub fn text(&mut self, name: &str, fits: fn(&str) -> bool, what: &str) -> Box<str> {
        let value = self.value(name);
        self.fitting(name, value, fits, what).unwrap_or_default()
    }

    /// A string that `fits`, or null.
    pub fn optional_text(&mut self, name: &str, fits: fn(&str) -> bool, what: &str) -> Option<Box<str>> {
        let value = self.optional(name);
        self.fitting(name, value, fits, what)
    }

    fn fitting(
        &mut self,
        name: &str,
        value: Option<Value>,
        fits: fn(&str) -> bool,
        what: &str,
    ) -> Option<Box<str>> {
        match value? {
            Value::String(text) if fits(&text) => Some(text.into_boxed_str()),
            _ => {
                self.problem(name, what);
                None
            }
        }
    }

    /// True or false.
    pub fn flag(&mut self, name: &str) -> bool {
        match self.value(name) {
            Some(Value::Bool(flag)) => flag,
            Some(_) => {
                self.problem(name, "must be true or false");
                false
            }
            None => false,
        }
    }

    /// True, false, or neither.
    pub fn optional_flag(&mut self, name: &str) -> Option<bool> {
        match self.optional(name)? {
            Value::Bool(flag) => Some(flag),
            _ => {
                self.problem(name, "must be true, false or null");
                None
            }
        }
    }

    /// A whole number within `range`.
    pub fn whole(&mut self, name: &str, range: RangeInclusive<u64>) -> u64 {
        let Some(value) = self.value(name) else { return 0 };
        match value.as_u64() {
            Some(number) if range.contains(&number) => number,
            _ => {
                self.problem(name, &format!("must be a whole number {}", span(&range)));
                0
            }
        }
    }

    /// A whole number within `range`, or null.
    pub fn optional_whole(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.optional(name)?;
        let number = value.as_u64().filter(|number| range.contains(number));
        if number.is_none() {
            self.problem(name, &format!("must be a whole number {}, or null", span(&range)));
        }
        number
    }

    /// A number within `range`.
    pub fn number(&mut self, name: &str, range: RangeInclusive<f64>) -> f64 {
        let Some(value) = self.value(name) else { return 0.0 };
        match value.as_f64() {
            Some(number) if range.contains(&number) => number,
            _ => {
                self.problem(name, &format!("must be a number {}", span(&range)));
                0.0
            }
        }
    }

    /// The elements of an array.
    pub fn list(&mut self, name: &str) -> Vec<Value> {
        match self.value(name) {
            Some(Value::Array(elements)) => elements,
            Some(_) => {
                self.problem(name, "must be an array");
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// The elements of an array that may be missing or null.
    pub fn optional_list(&mut self, name: &str) -> Vec<Value> {
        if self.fields.get(name).is_none_or(Value::is_null) {
            self.fields.remove(name);
            return Vec::new();
        }
        self.list(name)
    }

    /// The object in a field.
    pub fn section(&mut self, name: &str) -> Option<Fields<'_>> {
        let value = self.value(name)?;
        Fields::open(value, self.path_of(name), self.problems)
    }

    /// The object in a field that may be missing or null.
    pub fn optional_section(&mut self, name: &str) -> Option<Fields<'_>> {
        let value = self.optional(name)?;
        Fields::open(value, self.path_of(name), self.problems)
    }

    /// The object that is element `index` of the array in a field.
    pub fn element(&mut self, name: &str, index: usize, value: Value) -> Option<Fields<'_>> {
        let path = format!("{}[{index}]", self.path_of(name));
        Fields::open(value, path, self.problems)
    }

    /// Everything that is left, for an object whose names are data.
    pub fn rest(self) -> Map<String, Value> {
        self.fields
    }

    /// The end of this object: names every field that nobody asked for.
    pub fn done(self) {
        for name in self.fields.keys() {
            let path = join(&self.path, name);
            self.problems.push(format!("{path}: is not known"));
        }
    }

    fn path_of(&self, name: &str) -> String {
        join(&self.path, name)
    }
}

/// The texts of an array that may be missing.
pub(crate) fn optional_texts(fields: &mut Fields<'_>, name: &str) -> Vec<Box<str>> {
    if fields.fields.contains_key(name) { texts(fields, name) } else { Vec::new() }
}

/// The texts of an array.
pub(crate) fn texts(fields: &mut Fields<'_>, name: &str) -> Vec<Box<str>> {
    let mut texts = Vec::new();
    for value in fields.list(name) {
        match value {
            Value::String(text) => texts.push(text.into_boxed_str()),
            _ => fields.problem(name, "must be an array of texts"),
        }
    }
    texts
}

/// What is wrong with a text that is not JSON, or not of the document's outer form. serde's own words may hold values.
pub(crate) fn fault(error: &serde_json::Error) -> String {
    let what = if error.is_data() { "is not of the expected form" } else { "is not JSON" };
    format!("document: {what} at line {} column {}", error.line(), error.column())
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn span<T: std::fmt::Display>(range: &RangeInclusive<T>) -> String {
    format!("from {} to {}", range.start(), range.end())
}
