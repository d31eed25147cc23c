//! What a client asks to be told of a stream's tokens, and what a backend is asked besides.
//!
//! Law: the client's own words stay; what is put in for the meter is taken out of the answer again.

use std::ops::Range;

use super::scan::{Place, Seen};
use crate::counts::Counts;
use crate::json::{Kind as Json, Scanner, Wrong};
use crate::splice::Edit;

const INCLUDE: &str = "include_usage";
const CONTINUOUS: &str = "continuous_usage_stats";
pub(super) const TIMINGS: &str = "timings_per_token";

/// Where a stream's tokens are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Asked {
    options: Options,
    /// The value of `timings_per_token`, and whether it is true.
    timings: Option<(Range<usize>, bool)>,
}

/// Where `stream_options` is, or would go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Options {
    /// There is none: it is added before the closing brace.
    Absent,
    /// It is null: it is replaced.
    Null(Range<usize>),
    /// It is an object.
    Object { brace: usize, empty: bool, include: Option<Member>, continuous: Option<Member> },
    /// It is no object, or there is no place for one: the backend will say so.
    #[default]
    Foreign,
}

/// A member of it: its value, and whether that is true.
type Member = (Range<usize>, bool);

impl Asked {
    /// What a body asks for.
    pub(super) fn of(seen: &Seen<'_>, body: &[u8]) -> Self {
        let timings = seen.timings.as_ref().map(|(kind, span)| (span.clone(), *kind == Json::Bool(true)));
        Self { options: options(seen.place("stream_options"), body), timings }
    }

    /// Whether the client asked for the usage chunk.
    pub(super) fn include(&self) -> bool {
        matches!(&self.options, Options::Object { include: Some((_, true)), .. })
    }

    /// Whether the client asked for a backend's counts along the way, those that it tells in this manner.
    pub(super) fn running(&self, counts: Counts) -> bool {
        match counts {
            Counts::Final => false,
            Counts::Usage => {
                let continuous = matches!(&self.options, Options::Object { continuous: Some((_, true)), .. });
                self.include() && continuous
            }
            Counts::Timings => self.timings.as_ref().is_some_and(|(_, asked)| *asked),
        }
    }

    /// The edits that ask for all of it; `bare` where nulls have been taken out, `close` where the body closes.
    pub(super) fn edits(&self, counts: Counts, bare: bool, close: usize) -> Vec<Edit> {
        let mut edits = self.options.edits(counts == Counts::Usage, bare, close);
        if counts == Counts::Timings {
            match &self.timings {
                Some((_, true)) => {}
                Some((span, false)) => edits.push(Edit { span: span.clone(), with: "true".into() }),
                None => edits.push(Edit { span: close..close, with: format!(",\"{TIMINGS}\":true").into() }),
            }
        }
        edits
    }
}

impl Options {
    fn edits(&self, often: bool, bare: bool, close: usize) -> Vec<Edit> {
        let both = if often {
            format!("\"{INCLUDE}\":true,\"{CONTINUOUS}\":true")
        } else {
            format!("\"{INCLUDE}\":true")
        };
        let added =
            |comma| Edit { span: close..close, with: format!("{comma}\"stream_options\":{{{both}}}").into() };
        match self {
            Self::Absent => vec![added(",")],
            // That null has been taken out.
            Self::Null(_) if bare => vec![added(",")],
            Self::Null(span) => vec![Edit { span: span.clone(), with: format!("{{{both}}}").into() }],
            Self::Object { brace, empty, include, continuous } => {
                let wanted = [(INCLUDE, include, true), (CONTINUOUS, continuous, often)];
                let (mut edits, mut missing) = (Vec::new(), Vec::new());
                for (name, member, _) in wanted.into_iter().filter(|(_, _, wanted)| *wanted) {
                    match member {
                        Some((_, true)) => {}
                        Some((span, false)) => edits.push(Edit { span: span.clone(), with: "true".into() }),
                        None => missing.push(format!("\"{name}\":true")),
                    }
                }
                if !missing.is_empty() {
                    let comma = if *empty { "" } else { "," };
                    let with = (missing.join(",") + comma).into();
                    edits.push(Edit { span: *brace..*brace, with });
                }
                edits
            }
            Self::Foreign => Vec::new(),
        }
    }
}

fn options(place: Option<&Place>, body: &[u8]) -> Options {
    let Some(place) = place else { return Options::Absent };
    match place.kind {
        Json::Null => return Options::Null(place.span.clone()),
        Json::Object => {}
        _ => return Options::Foreign,
    }
    let start = place.span.start;
    let (mut empty, mut include, mut continuous) = (true, None, None);
    let mut scanner = Scanner::new(body.get(place.span.clone()).unwrap_or_default());
    let _ = scanner.object::<Wrong>(|key, scanner| {
        empty = false;
        let (kind, span) = scanner.value()?;
        let member = Some((start + span.start..start + span.end, kind == Json::Bool(true)));
        if key.is(INCLUDE) {
            include = member;
        } else if key.is(CONTINUOUS) {
            continuous = member;
        }
        Ok(())
    });
    Options::Object { brace: start + 1, empty, include, continuous }
}
