//! Reads from a request body what the engine needs, and where it stands; the body itself is never rebuilt.
//!
//! Law: one pass over the bytes. A text that is not strict JSON, or that says twice what we read once, is refused
//! here and reaches no backend.

mod adapt;
mod asked;
mod cuts;
mod estimate;
mod form;
mod guided;
mod images;
mod judge;
mod replies;
mod scan;

use std::ops::Range;

use crate::ability::Needs;
use crate::counts::Counts;
pub use crate::endpoint::Endpoint;
use crate::lacks::Lacks;
use crate::profile::{Profile, Rules};
use crate::refusal::{Kind, Refusal};
use crate::splice::Edit;
use adapt::Places;
use asked::Asked;
use cuts::Cuts;
pub use estimate::estimate;
pub use images::first_image;

/// What a body says, as far as the engine reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The model's name as the client wrote it; nothing where it named none and need not.
    pub model: Option<Box<str>>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// `n`, or 1.
    pub n: u64,
    /// `max_completion_tokens`, else `max_tokens` or `max_output_tokens`.
    pub max_tokens: Option<u64>,
    /// How many characters are to be spoken.
    pub characters: u64,
    /// What it needs of the model.
    pub needs: Needs,
    /// Where its `response_format` stands, if that is a JSON Schema.
    pub schema: Option<Range<usize>>,
    /// The client wants at most one tool call, and the gateway sees to it.
    pub one_call: bool,
    several: Option<Several>,
    place: ModelPlace,
    /// What the client asks to be told of a stream's tokens.
    asked: Asked,
    /// What the profile changes.
    edits: Vec<Edit>,
    /// What it takes out.
    cuts: Cuts,
    /// What is changed for a backend that lacks something.
    places: Places,
    end: usize,
}

/// Where the model's name is, or would go.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ModelPlace {
    /// The value of a JSON member.
    Value(Range<usize>),
    /// It is to be added before the closing brace, after a comma unless the object is empty.
    Absent,
    /// The content of a form's part.
    Part(Range<usize>),
    /// It is to be added as a part, before the first.
    NoPart { at: usize, boundary: Box<str> },
}

/// Where a body asks for several choices; what the profile changes is not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Several {
    n: Range<usize>,
    seed: Option<(Range<usize>, i64)>,
}

/// A model's name as a backend knows it.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    /// As it is.
    pub plain: &'a str,
    /// As JSON text.
    pub json: &'a str,
}

/// Reads `body` as a request to an endpoint with these rules of this profile.
///
/// # Errors
/// The refusal for the first thing wrong with it, in the documented order of checks.
pub fn read(profile: &Profile, rules: &Rules, body: &[u8]) -> Result<Request, Refusal> {
    if simdutf8::basic::from_utf8(body).is_err() {
        return Err(Refusal::of(Kind::BadJson));
    }
    let seen = scan::scan(profile, rules, body)?;
    judge::judge(rules, seen, body)
}

/// Reads `body` as a form. Its texts are judged as the JSON that they stand for, with the same words.
///
/// # Errors
/// The refusal for the first thing wrong with it.
pub fn read_form(profile: &Profile, rules: &Rules, boundary: &str, body: &[u8]) -> Result<Request, Refusal> {
    let form = form::Form::read(profile, rules, boundary, body)?;
    let mut request = read(profile, rules, form.json.as_bytes())?;
    request.place = match form.model {
        Some(content) => ModelPlace::Part(content),
        None => ModelPlace::NoPart { at: form.start, boundary: boundary.into() },
    };
    request.edits = form.edits;
    (request.cuts, request.places) = (Cuts::default(), Places::default());
    request.asked = Asked::default();
    request.several = None;
    Ok(request)
}

impl Request {
    /// The edits that turn the client's body into the backend's: its own name for the model where it has one (or the
    /// client gave none), counts asked for as it tells them, and what it lacks put in words that it knows.
    #[must_use]
    pub fn edits(&self, upstream: Option<Name<'_>>, ask: Option<Counts>, lacks: &Lacks) -> Vec<Edit> {
        let bare = self.places.bare.as_ref().filter(|_| lacks.null);
        let cuts = bare.unwrap_or(&self.cuts);
        let mut edits = self.edits.clone();
        edits.extend_from_slice(cuts.edits());
        edits.extend(self.places.edits(lacks, self.end.saturating_sub(1)));
        edits.extend(upstream.map(|name| self.model_edit(name, cuts.is_empty())));
        if let Some(counts) = ask.filter(|_| self.stream) {
            edits.extend(self.asked.edits(counts, bare.is_some(), self.end.saturating_sub(1)));
        }
        edits
    }

    /// Whether the client asked for the usage chunk of a stream.
    #[must_use]
    pub fn include_usage(&self) -> bool {
        self.asked.include()
    }

    /// Whether the client asked for what a backend tells along the way in this manner.
    #[must_use]
    pub fn running(&self, counts: Counts) -> bool {
        self.asked.running(counts)
    }

    /// How many choices a backend is asked for.
    #[must_use]
    pub fn choices(&self) -> u64 {
        if self.several.is_some() { self.n } else { 1 }
    }

    /// The further edits that ask for one choice only, the one at `at`; its seed is its own, so that it differs.
    #[must_use]
    pub fn one_choice(&self, at: u32) -> Vec<Edit> {
        let Some(several) = &self.several else { return Vec::new() };
        let seed = several.seed.as_ref().map(|(span, seed)| {
            let seed = seed.checked_add(i64::from(at)).unwrap_or(seed.wrapping_sub(i64::from(at)));
            Edit { span: span.clone(), with: seed.to_string().into() }
        });
        [Edit { span: several.n.clone(), with: "1".into() }].into_iter().chain(seed).collect()
    }

    /// Whether the client wants vectors as base64.
    #[must_use]
    pub fn wants_base64(&self) -> bool {
        self.places.base64.is_some()
    }

    /// Bounds each choice of an answer that the client has not bounded.
    pub fn bound(&mut self, name: &'static str, most: u64) {
        self.max_tokens = self.places.limits.bound(name, most);
    }

    /// Asks for any JSON in place of a schema; false where there is none.
    pub fn loosen(&mut self) -> bool {
        let edit = self.schema.take().map(|span| Edit { span, with: r#"{"type":"json_object"}"#.into() });
        let found = edit.is_some();
        self.edits.extend(edit);
        found
    }

    fn model_edit(&self, name: Name<'_>, empty: bool) -> Edit {
        match &self.place {
            ModelPlace::Value(span) => Edit { span: span.clone(), with: name.json.into() },
            ModelPlace::Part(span) => Edit { span: span.clone(), with: name.plain.into() },
            ModelPlace::Absent => {
                let (comma, brace) = (if empty { "" } else { "," }, self.end - 1);
                Edit { span: brace..brace, with: format!("{comma}\"model\":{}", name.json).into() }
            }
            ModelPlace::NoPart { at, boundary } => {
                let head = "Content-Disposition: form-data; name=\"model\"";
                let with = format!("--{boundary}\r\n{head}\r\n\r\n{}\r\n", name.plain);
                Edit { span: *at..*at, with: with.into() }
            }
        }
    }
}

#[cfg(test)]
mod tests;
