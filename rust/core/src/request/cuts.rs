//! Members taken out of an object, each with one comma, while the pass over it goes.
//!
//! Law: what is cut never overlaps, and what stays is an object still.

use std::ops::Range;

use crate::splice::Edit;

/// What has been cut so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cuts {
    edits: Vec<Edit>,
    /// Where the member before this one ends, if one stays.
    before: Option<usize>,
    /// Where a cut began that found no member to follow.
    open: Option<usize>,
}

impl Cuts {
    /// The next member stands at `span`; does it stay?
    pub(super) fn member(&mut self, span: Range<usize>, stays: bool) {
        self.close(span.start);
        match self.before {
            _ if stays => self.before = Some(span.end),
            // With the comma before it.
            Some(before) => {
                self.cut(before..span.end);
                self.before = Some(span.end);
            }
            None => self.open = Some(span.start),
        }
    }

    /// The object goes on, or ends, at `at`.
    pub(super) fn close(&mut self, at: usize) {
        if let Some(from) = self.open.take() {
            self.cut(from..at);
        }
    }

    /// Where the member before the next one ends, if one stays.
    pub(super) fn before(&self) -> Option<usize> {
        self.before
    }

    /// Whether nothing is left of the object's members.
    pub(super) fn is_empty(&self) -> bool {
        self.before.is_none()
    }

    /// The cuts.
    pub(super) fn edits(&self) -> &[Edit] {
        &self.edits
    }

    fn cut(&mut self, span: Range<usize>) {
        match self.edits.last_mut().filter(|last| last.span.end == span.start) {
            Some(last) => last.span.end = span.end,
            None => self.edits.push(Edit { span, with: "".into() }),
        }
    }
}
