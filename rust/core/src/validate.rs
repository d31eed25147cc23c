//! A value against its shape, while it is scanned: one pass, the first failure with its exact path.
//!
//! Law: it takes exactly one value whatever it finds, so that broken JSON further on is still found; it builds nothing
//! but the refusal. Free-form members (a tool's parameters, metadata) are the client's own data and are not looked into.

mod words;

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;

use crate::json::{Kind as Json, Scanner, Text, Wrong};
use crate::refusal::{Kind, Refusal};
use crate::shape::{Array, Id, Number, Object, Objects, Others, Shape, Shapes, Strings, listed};

pub use self::words::{SHOWN, duplicate, missing, unknown_parameter, wrong_type};
use self::words::{above, content_null, invalid_enum};

/// The largest 64-bit integer, as near as a float can say it.
const LARGEST: f64 = 9_223_372_036_854_775_807.0;

/// One step of a path.
#[derive(Debug, Clone)]
enum Step<'a> {
    Member(Cow<'a, str>),
    Element(usize),
}

/// How strictly a body is looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Strictness<'a> {
    /// Members that no client may send, wherever the engine behind could read them.
    pub denied: &'a [Box<str>],
    /// Unknown members of known objects are refused.
    pub closed: bool,
    /// An explicit null counts as a value, not as an omission.
    pub null_counts: bool,
}

/// A walk through one value.
#[derive(Debug)]
pub struct Walk<'a> {
    shapes: &'a Shapes,
    strictness: Strictness<'a>,
    root: Cow<'a, str>,
    /// From the root on; most values are not deep, and need none.
    path: Vec<Step<'a>>,
    found: Option<Refusal>,
}

impl<'a> Walk<'a> {
    /// A walk through the value of the member `name`.
    #[must_use]
    pub fn of(shapes: &'a Shapes, strictness: Strictness<'a>, name: &'a str) -> Self {
        Self::at(shapes, strictness, Cow::Borrowed(name))
    }

    /// A walk through the value of an unknown member.
    #[must_use]
    pub fn at(shapes: &'a Shapes, strictness: Strictness<'a>, name: Cow<'a, str>) -> Self {
        Self { shapes, strictness, root: name, path: Vec::new(), found: None }
    }

    /// The first failure.
    #[must_use]
    pub fn found(self) -> Option<Refusal> {
        self.found
    }

    /// Takes one value and checks it.
    ///
    /// # Errors
    /// It is no JSON; a value that breaks its shape is no error but [`Walk::found`].
    pub fn value(&mut self, id: Id, scanner: &mut Scanner<'a>) -> Result<(Json, Range<usize>), Wrong> {
        let shapes = self.shapes;
        let Some(shape) = shapes.get(id) else { return scanner.value() };
        match (scanner.peek(), &shape.string, &shape.object) {
            (Some(b'{'), _, Some(objects)) => Ok((Json::Object, self.object(objects, scanner)?)),
            (Some(b'['), _, _) if !shape.arrays.is_empty() => {
                Ok((Json::Array, self.array(&shape.arrays, scanner)?))
            }
            (Some(b'"'), Some(strings), _) => {
                let start = scanner.at();
                let text = scanner.string()?;
                self.string(strings, &text);
                Ok((Json::String, start..scanner.at()))
            }
            _ => {
                let (kind, span) = scanner.value()?;
                self.scalar(shape, kind, scanner.text(&span));
                Ok((kind, span))
            }
        }
    }

    /// Takes one value of which nothing is known but that no denied member may hide in it.
    ///
    /// # Errors
    /// It is no JSON.
    pub fn unknown(&mut self, scanner: &mut Scanner<'a>) -> Result<(Json, Range<usize>), Wrong> {
        match scanner.peek() {
            Some(b'{') => {
                let span = scanner.object::<Wrong>(|key, scanner| {
                    self.path.push(Step::Member(key.decode()));
                    self.deny(&key);
                    self.unknown(scanner)?;
                    self.path.pop();
                    Ok(())
                })?;
                Ok((Json::Object, span))
            }
            Some(b'[') => {
                let span = scanner.array::<Wrong>(|index, scanner| {
                    self.path.push(Step::Element(index));
                    self.unknown(scanner)?;
                    self.path.pop();
                    Ok(())
                })?;
                Ok((Json::Array, span))
            }
            _ => scanner.value(),
        }
    }

    /// Refuses the member at the path if it is a denied one.
    pub fn deny(&mut self, key: &Text<'_>) {
        if is_denied(self.strictness.denied, key) {
            self.fail(|path| unknown_parameter(path, &[]));
        }
    }

    fn object(&mut self, objects: &'a Objects, scanner: &mut Scanner<'a>) -> Result<Range<usize>, Wrong> {
        match objects {
            Objects::One(object) => self.members(object, scanner),
            Objects::By { key, cases } => match self.case(key, cases, scanner)? {
                Some(object) => self.members(object, scanner),
                None => scanner.value().map(|(_, span)| span),
            },
        }
    }

    /// The form that the member `key` names. Looked for ahead: it need not come first.
    fn case(
        &mut self,
        key: &'a str,
        cases: &'a [(Box<str>, Object)],
        scanner: &Scanner<'a>,
    ) -> Result<Option<&'a Object>, Wrong> {
        let mut ahead = scanner.clone();
        let mut named: Option<Option<Text<'a>>> = None;
        let mut kind = Json::Null;
        let mut first = true;
        let whole = ahead.object::<Option<Wrong>>(|name, ahead| {
            if name.is(key) {
                if ahead.peek() == Some(b'"') {
                    named = Some(Some(ahead.string().map_err(Some)?));
                    // The form is known; the rest is read with it.
                    return if first { Err(None) } else { Ok(()) };
                }
                kind = ahead.value().map_err(Some)?.0;
                named = Some(None);
            } else {
                ahead.value().map_err(Some)?;
            }
            first = false;
            Ok(())
        });
        if let Err(Some(wrong)) = whole {
            return Err(wrong);
        }
        let values = || cases.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        self.path.push(Step::Member(Cow::Borrowed(key)));
        let found = match named {
            Some(Some(text)) => {
                let case = cases.iter().find(|(name, _)| text.is(name)).map(|(_, object)| object);
                if case.is_none() {
                    self.fail(|path| invalid_enum(path, &text, &values()));
                }
                case
            }
            Some(None) if kind != Json::Null => {
                let expected = format!("one of {}", listed(&values(), "or"));
                self.fail(|path| wrong_type(path, &expected, kind));
                None
            }
            _ => {
                self.fail(missing);
                None
            }
        };
        self.path.pop();
        Ok(found)
    }

    fn members(&mut self, object: &'a Object, scanner: &mut Scanner<'a>) -> Result<Range<usize>, Wrong> {
        let mut seen = 0u128;
        let mut count = 0usize;
        let span = scanner.object::<Wrong>(|key, scanner| {
            count += 1;
            let known = object.members.iter().enumerate().find(|(_, member)| key.is(&member.name));
            match known {
                Some((at, member)) => {
                    self.path.push(Step::Member(Cow::Borrowed(&member.name)));
                    if seen >> at & 1 == 1 {
                        self.fail(duplicate);
                    }
                    let null = self.member(member.shape, member.required, scanner)?;
                    if !(null && member.required) {
                        seen |= 1 << at;
                    }
                }
                None => {
                    self.path.push(Step::Member(key.decode()));
                    self.stranger(object, &key, scanner)?;
                }
            }
            self.path.pop();
            Ok(())
        })?;
        for (at, member) in object.members.iter().enumerate() {
            if member.required && seen >> at & 1 == 0 {
                self.path.push(Step::Member(Cow::Borrowed(&member.name)));
                self.fail(missing);
                self.path.pop();
            }
        }
        if let Some(most) = object.most.filter(|most| count > *most) {
            self.fail(|path| {
                let text = format!(
                    "Invalid '{path}': too many properties. Expected an object with at most {most} properties, but got an object with {count} properties instead."
                );
                above(text, path, "object_above_max_properties")
            });
        }
        Ok(span)
    }

    /// Takes the value of a known member; true if it is null and null is no value here.
    fn member(&mut self, id: Id, required: bool, scanner: &mut Scanner<'a>) -> Result<bool, Wrong> {
        let nullable = self.shapes.get(id).is_some_and(|shape| shape.null);
        if scanner.peek() != Some(b'n') || nullable {
            self.value(id, scanner)?;
            return Ok(false);
        }
        let (kind, _) = scanner.value()?;
        if required && matches!(self.path.last(), Some(Step::Member(name)) if name == "content") {
            self.fail(content_null);
            return Ok(false);
        }
        if self.strictness.null_counts && !required {
            let words = self.shapes.get(id).map(|shape| shape.words.clone()).unwrap_or_default();
            self.fail(|path| wrong_type(path, &words, kind));
        }
        Ok(true)
    }

    fn stranger(&mut self, object: &Object, key: &Text<'a>, scanner: &mut Scanner<'a>) -> Result<(), Wrong> {
        match object.others {
            Others::Map(id) => {
                if let Some(most) = object.name_most.filter(|most| key.decode().chars().count() > *most) {
                    let length = key.decode().chars().count();
                    let name = self.path.pop();
                    self.fail(|path| {
                        let text = format!(
                            "Invalid property name in '{path}': name too long. Expected a name with maximum length {most}, but got a name with length {length} instead."
                        );
                        above(text, path, "property_name_above_max_length")
                    });
                    self.path.extend(name);
                }
                self.value(id, scanner)?;
            }
            Others::Closed => {
                let names: Vec<&str> = object.members.iter().map(|member| &*member.name).collect();
                self.fail(|path| unknown_parameter(path, &names));
                scanner.value()?;
            }
            // An object without any known member is free-form.
            Others::Open if object.members.is_empty() => {
                scanner.value()?;
            }
            Others::Open => {
                self.deny(key);
                if self.strictness.closed {
                    let names: Vec<&str> = object.members.iter().map(|member| &*member.name).collect();
                    self.fail(|path| unknown_parameter(path, &names));
                }
                self.unknown(scanner)?;
            }
        }
        Ok(())
    }

    fn array(&mut self, arrays: &'a [Array], scanner: &mut Scanner<'a>) -> Result<Range<usize>, Wrong> {
        let mut chosen: Option<&'a Array> = None;
        let mut count = 0usize;
        let span = scanner.array::<Wrong>(|index, scanner| {
            count = index + 1;
            let fits = |array: &&Array| {
                array
                    .items
                    .and_then(|id| self.shapes.get(id))
                    .is_none_or(|shape| begins(shape, scanner.clone().peek()))
            };
            if chosen.is_none() {
                chosen = arrays.iter().find(fits).or(arrays.first());
            }
            self.path.push(Step::Element(index));
            match chosen.and_then(|array| array.items) {
                Some(id) => self.value(id, scanner)?,
                None => scanner.value()?,
            };
            self.path.pop();
            Ok(())
        })?;
        let bounds = chosen.or(arrays.first());
        if let Some(array) = bounds.filter(|array| count < array.least) {
            let least = array.least;
            self.fail(|path| {
                let got = if count == 0 { "an empty array".to_owned() } else { format!("an array with length {count}") };
                let (what, kind) = if count == 0 { ("empty array", Kind::EmptyArray) } else { ("array too short", Kind::InvalidValue) };
                Refusal::of(kind)
                    .message(format!(
                        "Invalid '{path}': {what}. Expected an array with minimum length {least}, but got {got} instead."
                    ))
                    .param(path.to_owned())
            });
        }
        if let Some(most) = bounds.and_then(|array| array.most).filter(|most| count > *most) {
            self.fail(|path| {
                let text = format!(
                    "Invalid '{path}': array too long. Expected an array with maximum length {most}, but got an array with length {count} instead."
                );
                above(text, path, "array_above_max_length")
            });
        }
        Ok(span)
    }

    fn string(&mut self, strings: &Strings, text: &Text<'_>) {
        if !strings.values.is_empty() {
            if !strings.values.iter().any(|value| text.is(value)) {
                self.fail(|path| invalid_enum(path, text, &strings.values));
            }
            return;
        }
        if strings.least > 0 && text.raw.is_empty() {
            let least = strings.least;
            self.fail(|path| {
                Refusal::of(Kind::InvalidValue)
                    .message(format!(
                        "Invalid '{path}': empty string. Expected a string with minimum length {least}, but got an empty string instead."
                    ))
                    .with_code("empty_string")
                    .param(path.to_owned())
            });
        }
        if let Some(starts) = &strings.starts
            && !text.decode().starts_with(&**starts)
        {
            self.fail(|path| {
                let words =
                    format!("Invalid value for '{path}': expected a value that starts with '{starts}'.");
                above(words, path, "invalid_value")
            });
        }
        let Some(most) = strings.most.filter(|most| text.raw.len() > *most) else { return };
        let length = text.decode().chars().count();
        if length > most {
            self.fail(|path| {
                let words = format!(
                    "Invalid '{path}': string too long. Expected a string with maximum length {most}, but got a string with length {length} instead."
                );
                above(words, path, "string_above_max_length")
            });
        }
    }

    /// A value that is no object, array or string of its shape.
    fn scalar(&mut self, shape: &Shape, kind: Json, text: &str) {
        match (kind, &shape.number) {
            (Json::Null, _) if shape.null => {}
            (Json::Bool(_), _) if shape.boolean => {}
            (Json::Integer, Some(number)) => self.number(number, text),
            (Json::Decimal, Some(number)) if !number.whole => self.number(number, text),
            _ => self.fail(|path| wrong_type(path, &shape.words, kind)),
        }
    }

    fn number(&mut self, number: &Number, text: &str) {
        // Only compared: the text itself is what goes on. Beyond every bound is beyond this one too.
        let value: f64 = text.parse().unwrap_or(f64::INFINITY);
        // A float has no room for the last digits of a large whole number, and the largest bound is one of those.
        let beyond_most = |most: f64| match text.parse::<i64>() {
            Ok(_) if most >= LARGEST => false,
            Err(_) if number.whole => value >= most,
            _ => value > most,
        };
        let kind = if number.whole { "integer" } else { "decimal" };
        let (beyond, limit, word, side) = match (number.least, number.most) {
            (Some(least), _) if value < least => (true, least, "below minimum", ">="),
            (_, Some(most)) if beyond_most(most) => (true, most, "above maximum", "<="),
            _ => return,
        };
        if beyond {
            let code = match (number.whole, side) {
                (true, ">=") => "integer_below_min_value",
                (true, _) => "integer_above_max_value",
                (false, ">=") => "decimal_below_min_value",
                (false, _) => "decimal_above_max_value",
            };
            let shown: String = text.chars().take(SHOWN).collect();
            self.fail(|path| {
                let words = format!(
                    "Invalid '{path}': {kind} {word} value. Expected a value {side} {limit}, but got {shown} instead."
                );
                above(words, path, code)
            });
        }
    }

    /// Notes the first failure; `refusal` is given the path.
    fn fail(&mut self, refusal: impl FnOnce(&str) -> Refusal) {
        if self.found.is_none() {
            self.found = Some(refusal(&shown(&self.root, &self.path)));
        }
    }
}

/// `messages[2].content[0].image_url.url`
fn shown(root: &str, path: &[Step<'_>]) -> String {
    let mut text: String = root.chars().take(SHOWN).collect();
    for step in path {
        match step {
            Step::Member(name) => {
                text.push('.');
                text.extend(name.chars().take(SHOWN));
            }
            // Writing to a string cannot fail.
            Step::Element(index) => _ = write!(text, "[{index}]"),
        }
    }
    text
}

/// Whether a value that begins with `byte` is of one of the shape's kinds.
fn begins(shape: &Shape, byte: Option<u8>) -> bool {
    match byte {
        Some(b'{') => shape.object.is_some(),
        Some(b'[') => !shape.arrays.is_empty(),
        Some(b'"') => shape.string.is_some(),
        Some(b't' | b'f') => shape.boolean,
        Some(b'n') => shape.null,
        _ => shape.number.is_some(),
    }
}

/// Whether `key` is one of the denied names, which may end in `*`.
#[must_use]
pub fn is_denied(denied: &[Box<str>], key: &Text<'_>) -> bool {
    denied.iter().any(|name| match name.strip_suffix('*') {
        Some(start) => key.decode().starts_with(start),
        None => key.is(name),
    })
}
