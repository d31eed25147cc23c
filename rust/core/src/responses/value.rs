//! A value of a client's body, as the text that it stands in.
//!
//! Law: the body has been checked before; what is no object has no members, what is no array no items. A null is an
//! omission.

use std::borrow::Cow;

use crate::json::{Kind, Scanner, Text, Wrong};
use crate::refusal::{self, Refusal};
use crate::validate::{missing, wrong_type};

/// One value: its kind and its JSON text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
}

/// The members of an object, in their order.
#[derive(Debug, Default)]
pub(super) struct Members<'a>(Vec<(Text<'a>, Value<'a>)>);

impl<'a> Value<'a> {
    pub(super) fn members(self) -> Members<'a> {
        let mut found = Vec::new();
        let _ = Scanner::new(self.text.as_bytes()).object::<Wrong>(|key, scanner| {
            found.push((key, Self::take(scanner)?));
            Ok(())
        });
        Members(found)
    }

    pub(super) fn items(self) -> Vec<Self> {
        let mut found = Vec::new();
        let _ = Scanner::new(self.text.as_bytes()).array::<Wrong>(|_, scanner| {
            found.push(Self::take(scanner)?);
            Ok(())
        });
        found
    }

    fn take(scanner: &mut Scanner<'a>) -> Result<Self, Wrong> {
        let (kind, span) = scanner.value()?;
        Ok(Self { kind, text: scanner.text(&span) })
    }

    /// What a string says; nothing of any other kind.
    pub(super) fn says(self) -> Cow<'a, str> {
        let said = Scanner::new(self.text.as_bytes()).string();
        said.map(|text| text.decode()).unwrap_or_default()
    }

    /// The text between a string's quotes, as it is written.
    pub(super) fn inner(self) -> &'a str {
        self.text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default()
    }

    /// Itself, if it is of this kind.
    ///
    /// # Errors
    /// It is of another.
    pub(super) fn expect(self, kind: Kind, path: &str) -> Result<Self, Refusal> {
        let name = match kind {
            Kind::String => "a string",
            Kind::Array => "an array",
            _ => "an object",
        };
        if self.kind == kind { Ok(self) } else { Err(wrong_type(path, name, self.kind)) }
    }
}

impl<'a> Members<'a> {
    /// The object that a whole body is.
    pub(super) fn of(body: &'a str) -> Self {
        Value { kind: Kind::Object, text: body }.members()
    }

    pub(super) fn get(&self, name: &str) -> Option<Value<'a>> {
        self.0.iter().find(|(key, _)| key.is(name)).map(|(_, value)| *value).filter(|v| v.kind != Kind::Null)
    }

    /// The string `name` of the object at `path`.
    ///
    /// # Errors
    /// It is absent, or no string.
    pub(super) fn string(&self, path: &str, name: &str) -> Result<Value<'a>, Refusal> {
        let path = format!("{path}.{name}");
        self.get(name).ok_or_else(|| missing(&path))?.expect(Kind::String, &path)
    }

    /// All but these, with their keys as they are written.
    pub(super) fn others(&self, known: &[&str]) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        let others = self.0.iter().filter(|(key, _)| !known.iter().any(|name| key.is(name)));
        others.map(|(key, value)| (std::str::from_utf8(key.raw).unwrap_or_default(), *value))
    }
}

/// Writes one member of an object that is being written.
pub(super) fn put(out: &mut String, name: &str, text: &str) {
    next(out);
    out.push('"');
    out.push_str(name);
    out.push_str("\":");
    out.push_str(text);
}

/// A comma, unless this is the first of its object or array.
pub(super) fn next(out: &mut String) {
    if !out.is_empty() && !out.ends_with(['{', '[']) {
        out.push(',');
    }
}

/// A value that cannot be had here.
pub(super) fn refused(path: String, words: String) -> Refusal {
    Refusal::of(refusal::Kind::InvalidValue).message(words).param(path)
}
