//! The one pass over a request body: each member against its field's shape, and where those stand that the engine reads.
//!
//! Law: a failure does not end the pass, for broken JSON further on outranks it; of all failures the first in the
//! documented order is kept. Nothing is built but the edits that the profile asks for.

use std::ops::Range;

use super::asked::TIMINGS;
use super::cuts::Cuts;
use super::guided::Guided;
use crate::json::{Kind as Json, Scanner, Text, Wrong};
use crate::profile::{Action, Field, Profile, Rules, Unknown};
use crate::refusal::{Kind, Refusal};
use crate::shape::Shape;
use crate::splice::Edit;
use crate::validate::{SHOWN, Strictness, Walk, duplicate, missing, unknown_parameter};

/// Where a member stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) kind: Json,
    pub(super) span: Range<usize>,
    /// Its name, with the quotes.
    pub(super) key: Range<usize>,
    /// Where the member before it ends, if one stays.
    pub(super) before: Option<usize>,
}

/// What a pass has seen.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    rules: &'a Rules,
    strictness: Strictness<'a>,
    /// The fields that are there, by their place among all: they are few, and asked for by name again and again.
    there: Vec<(usize, Place)>,
    /// The failure that comes first in the documented order, and its rank.
    first: Option<(usize, Refusal)>,
    /// The values that the profile changes.
    pub(super) edits: Vec<Edit>,
    /// The members that the profile takes out.
    pub(super) cuts: Cuts,
    /// The same and every null, from the first null on.
    pub(super) bare: Option<Cuts>,
    /// The constraints under names that are no fields.
    pub(super) guided: Guided,
    /// Where `timings_per_token` stands, if it goes on.
    pub(super) timings: Option<(Json, Range<usize>)>,
    key: Range<usize>,
    pub(super) end: usize,
}

/// Most bodies have no more fields than this.
const USUAL_FIELDS: usize = 8;

/// The ranks of failures: required fields, then unknown ones, then each field.
const REQUIRED: usize = 0;
const UNKNOWN: usize = 2;
const FIELDS: usize = 3;

/// Scans the whole body.
///
/// # Errors
/// It is no JSON object.
pub(super) fn scan<'a>(profile: &'a Profile, rules: &'a Rules, body: &'a [u8]) -> Result<Seen<'a>, Refusal> {
    let strictness = Strictness {
        denied: &profile.denied,
        closed: rules.unknown == Unknown::Reject,
        null_counts: profile.null_counts,
    };
    let mut seen = Seen {
        rules,
        strictness,
        there: Vec::with_capacity(USUAL_FIELDS),
        first: None,
        edits: Vec::new(),
        cuts: Cuts::default(),
        bare: None,
        guided: Guided::default(),
        timings: None,
        key: 0..0,
        end: 0,
    };
    let mut scanner = Scanner::new(body);
    let whole = scanner
        .object(|key, scanner| seen.member(key, scanner))
        .and_then(|span| scanner.end().map(|()| span))
        .map_err(|wrong| match wrong {
            Wrong::Syntax(_) => Refusal::of(Kind::BadJson),
            Wrong::Depth(_) => Refusal::of(Kind::TooDeep),
        })?;
    seen.end = whole.end;
    for cuts in std::iter::once(&mut seen.cuts).chain(&mut seen.bare) {
        cuts.close(whole.end - 1);
    }
    Ok(seen)
}

impl<'a> Seen<'a> {
    /// The member of this name: where it stands, unless it is absent or null.
    pub(super) fn get(&self, name: &str) -> Option<&Place> {
        self.place(name).filter(|place| place.kind != Json::Null)
    }

    /// The member of this name, be it null.
    pub(super) fn place(&self, name: &str) -> Option<&Place> {
        self.named(name).map(|(_, place)| place)
    }

    /// The member of this name, be it null, unless the profile takes it out.
    pub(super) fn passed(&self, name: &str) -> Option<&Place> {
        let (field, place) = self.named(name)?;
        (!matches!(field.action, Action::Ignore | Action::Off(_))).then_some(place)
    }

    fn named(&self, name: &str) -> Option<(&'a Field, &Place)> {
        let fields = &self.rules.fields;
        let all = self.there.iter().filter_map(|(at, place)| Some((fields.get(*at)?, place)));
        all.into_iter().find(|(field, _)| *field.name == *name)
    }

    /// Whether the endpoint has a field of this name.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.rules.fields.iter().any(|field| *field.name == *name)
    }

    /// The first failure: of a required field that is absent, else of what was seen.
    pub(super) fn failure(mut self) -> Option<Refusal> {
        for (at, field) in self.rules.fields.iter().enumerate() {
            let is_there = || self.there.iter().any(|(one, place)| *one == at && place.kind != Json::Null);
            if field.required && *field.name != *"model" && !is_there() {
                self.fail(REQUIRED, missing(&field.name));
            }
        }
        self.first.map(|(_, refusal)| refusal)
    }

    /// Notes a failure of the field `name` that shows only when everything has been read.
    pub(super) fn fail_field(&mut self, name: &str, refusal: Refusal) {
        let at = self.rules.fields.iter().position(|field| *field.name == *name).unwrap_or_default();
        self.fail(FIELDS + at, refusal);
    }

    /// Notes a failure that counts only if no field has one.
    pub(super) fn fail_last(&mut self, refusal: Refusal) {
        self.fail(usize::MAX, refusal);
    }

    fn fail(&mut self, rank: usize, refusal: Refusal) {
        if self.first.as_ref().is_none_or(|(known, _)| rank < *known) {
            self.first = Some((rank, refusal));
        }
    }

    /// Takes one member of the body.
    fn member(&mut self, key: Text<'a>, scanner: &mut Scanner<'a>) -> Result<(), Wrong> {
        let start = scanner.key_at();
        self.key = start..start + key.raw.len() + 2;
        let null = scanner.peek() == Some(b'n');
        let changed = self.edits.len();
        let found = self.rules.fields.iter().enumerate().find(|(_, field)| key.is(&field.name));
        let stays = match found {
            Some((at, field)) => self.known(at, field, scanner)?,
            None => self.unknown(&key, scanner)?,
        };
        let span = start..scanner.at();
        // A model that is null is put in its place, and a null that was mapped is one no longer.
        let bare = null && stays && self.edits.len() == changed && !key.is("model");
        if bare && self.bare.is_none() {
            self.bare = Some(self.cuts.clone());
        }
        if let Some(cuts) = &mut self.bare {
            cuts.member(span.clone(), stays && !bare);
        }
        self.cuts.member(span, stays);
        Ok(())
    }

    /// Takes the value of a field; whether it goes on to the backend.
    fn known(&mut self, at: usize, field: &'a Field, scanner: &mut Scanner<'a>) -> Result<bool, Wrong> {
        if self.there.iter().any(|(one, _)| *one == at) {
            self.fail(FIELDS + at, duplicate(&field.name));
        }
        let shape = self.rules.shapes.get(field.shape);
        let null = scanner.peek() == Some(b'n');
        // An explicit null is an omission, unless the profile takes the SDK's types at their word.
        let omitted =
            null && (field.required || !self.strictness.null_counts || shape.is_some_and(|shape| shape.null));
        let mut walk = Walk::of(&self.rules.shapes, self.strictness, &field.name);
        let (kind, span) = match field.action {
            Action::Ignore => scanner.value()?,
            // Unchecked, but no denied member hides in it.
            Action::Forward if !shape.is_some_and(Shape::is_free) => walk.unknown(scanner)?,
            Action::Forward => scanner.value()?,
            _ if omitted => scanner.value()?,
            Action::Off(off) => {
                let mut ahead = scanner.clone();
                let (_, span) = ahead.value()?;
                if ahead.text(&span).parse() == Ok(off) {
                    *scanner = ahead;
                    self.put(at, Json::Null, span);
                    return Ok(false);
                }
                walk.value(field.shape, scanner)?
            }
            Action::Validate | Action::Map(_) | Action::Reject { .. } => walk.value(field.shape, scanner)?,
        };
        if let Some(refusal) = walk.found() {
            self.fail(FIELDS + at, refusal);
        }
        if let Action::Reject { message, except } = &field.action {
            let text = scanner.text(&span);
            if !null && !except.iter().any(|pass| **pass == *text) {
                let shown: String = text.chars().take(SHOWN).collect();
                let words = message.replace("{value}", &shown);
                self.fail(
                    FIELDS + at,
                    Refusal::of(Kind::InvalidValue).message(words).param(field.name.to_string()),
                );
            }
        }
        if let Action::Map(pairs) = &field.action {
            let text = scanner.text(&span);
            let found = pairs.iter().find(|(from, _)| **from == *text);
            self.edits.extend(found.map(|(_, to)| Edit { span: span.clone(), with: to.clone() }));
        }
        self.put(at, kind, span);
        Ok(field.action != Action::Ignore)
    }

    /// Takes the value of a field that the profile does not know; whether it goes on.
    fn unknown(&mut self, key: &Text<'a>, scanner: &mut Scanner<'a>) -> Result<bool, Wrong> {
        let names: Vec<&str> = self.rules.fields.iter().map(|field| &*field.name).collect();
        let name = key.decode();
        let mut walk = Walk::at(&self.rules.shapes, self.strictness, name.clone());
        walk.deny(key);
        let value = walk.unknown(scanner)?;
        let denied = walk.found();
        if self.rules.unknown == Unknown::Forward {
            if key.is(TIMINGS) && value.0 != Json::Null {
                self.timings = Some(value.clone());
            }
            self.guided.note((key, self.key.clone()), value, self.cuts.before(), scanner);
        }
        let refused = (self.rules.unknown == Unknown::Reject).then(|| unknown_parameter(&name, &names));
        if let Some(refusal) = denied.or(refused) {
            self.fail(UNKNOWN, refusal);
        }
        Ok(self.rules.unknown != Unknown::Drop)
    }

    fn put(&mut self, at: usize, kind: Json, span: Range<usize>) {
        let place = Place { kind, span, key: self.key.clone(), before: self.cuts.before() };
        match self.there.iter_mut().find(|(one, _)| *one == at) {
            Some((_, one)) => *one = place,
            None => self.there.push((at, place)),
        }
    }
}
