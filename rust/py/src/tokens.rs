//! Tokens of text for people, counted as the engine counts them.
//!
//! Law: what it says is what a call would be billed, because it is the same code. Others run while it counts.

use std::sync::Arc;

use levada_net::tokens::{self, Tokenizer};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// How many tokens a text has.
#[pyfunction]
pub fn count_text(py: Python<'_>, text: &str, tokenizer: &str) -> PyResult<u64> {
    count(py, tokenizer, |tokenizer| tokenizer.count(text))
}

/// How many tokens messages have, as JSON; about.
#[pyfunction]
pub fn count_messages(py: Python<'_>, messages: &[u8], tokenizer: &str) -> PyResult<u64> {
    count(py, tokenizer, |tokenizer| tokenizer.count_messages(messages))
}

fn count(
    py: Python<'_>,
    name: &str,
    count: impl FnOnce(Arc<Tokenizer>) -> Option<u64> + Send,
) -> PyResult<u64> {
    let counted = py.detach(|| {
        let tokenizer = tokens::load(name)?;
        count(tokenizer).ok_or_else(|| format!("'{name}' cannot count this text"))
    });
    counted.map_err(PyValueError::new_err)
}
