//! Replaces spans of a body and touches nothing else.
//!
//! Law: every byte outside the given spans reaches the backend as the client wrote it.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// One change: the bytes at `span` become `with`; an empty span inserts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Where, in bytes of the original body.
    pub span: Range<usize>,
    /// What stands there afterwards.
    pub with: Box<str>,
}

/// The body after `edits`, which do not overlap. Without edits it is the same buffer, not a copy.
#[must_use]
pub fn apply(body: Bytes, mut edits: Vec<Edit>) -> Bytes {
    if edits.is_empty() {
        return body;
    }
    edits.sort_by_key(|edit| edit.span.start);
    let grown: usize = edits.iter().map(|edit| edit.with.len()).sum();
    let mut out = BytesMut::with_capacity(body.len() + grown);
    let mut at = 0;
    for edit in &edits {
        out.extend_from_slice(body.get(at..edit.span.start).unwrap_or_default());
        out.extend_from_slice(edit.with.as_bytes());
        at = edit.span.end;
    }
    out.extend_from_slice(body.get(at..).unwrap_or_default());
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edit(span: Range<usize>, with: &str) -> Edit {
        Edit { span, with: with.into() }
    }

    #[test]
    fn replaces_inserts_removes() {
        let body = Bytes::from_static(b"abcdef");
        assert_eq!(apply(body.clone(), vec![]).as_ptr(), body.as_ptr());
        assert_eq!(&apply(body.clone(), vec![edit(4..6, "X"), edit(0..1, "")])[..], b"bcdX");
        assert_eq!(&apply(body, vec![edit(3..3, "--")])[..], b"abc--def");
    }

    proptest! {
        #[test]
        fn keeps_every_other_byte(body in proptest::collection::vec(any::<u8>(), 0..200), a in 0usize..200, b in 0usize..200, with in ".{0,20}") {
            let (from, to) = (a.min(b).min(body.len()), a.max(b).min(body.len()));
            let out = apply(Bytes::from(body.clone()), vec![edit(from..to, &with)]);
            prop_assert_eq!(&out[..from], &body[..from]);
            prop_assert_eq!(&out[from..from + with.len()], with.as_bytes());
            prop_assert_eq!(&out[from + with.len()..], &body[to..]);
        }
    }
}
