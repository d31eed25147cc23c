//! The pure core for people: reframing and validation without a gateway.
//!
//! Law: what it says is what the gateway would say, because it is the same code.

use std::sync::{Mutex, PoisonError};

use bytes::BytesMut;
use levada_core::endpoint::{Endpoint, Form};
use levada_core::form;
use levada_core::profile::Profile;
use levada_core::refusal::{Kind, Refusal};
use levada_core::request;
use levada_core::sse;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error;

/// Bytes in, whole events out.
#[pyclass(frozen, module = "levada._native")]
pub struct Reframer(Mutex<sse::Reframer>);

#[pymethods]
impl Reframer {
    #[new]
    #[pyo3(signature = (limit = 1 << 20))]
    fn new(limit: usize) -> Self {
        Self(Mutex::new(sse::Reframer::new(limit)))
    }

    /// The events that are whole now, and whether the next one is too large; then the stream is over.
    fn push<'py>(&self, py: Python<'py>, piece: &[u8]) -> (Bound<'py, PyBytes>, bool) {
        let mut reframer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match reframer.push(BytesMut::from(piece)) {
            Ok(events) => (PyBytes::new(py, &events), false),
            Err(too_large) => (PyBytes::new(py, &too_large.before), true),
        }
    }

    /// Bytes of an event that has not ended.
    #[getter]
    fn pending(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pending()
    }
}

/// One profile, ready to judge bodies.
#[pyclass(frozen, module = "levada._native")]
pub struct Validator(Profile);

/// Status, parameter, code and message of a refusal.
type Verdict = (u16, Option<String>, Option<String>, String);

#[pymethods]
impl Validator {
    #[new]
    fn new(py: Python<'_>, profile: &[u8]) -> PyResult<Self> {
        py.detach(|| Profile::parse(profile)).map(Self).map_err(error::config)
    }

    /// What is wrong with a body; nothing if the gateway would pass it on.
    fn check(
        &self,
        py: Python<'_>,
        endpoint: &str,
        body: &[u8],
        content_type: &str,
    ) -> PyResult<Option<Verdict>> {
        let known = Endpoint::all().find(|one| one.name() == endpoint);
        let known =
            known.ok_or_else(|| PyValueError::new_err(format!("no endpoint is named '{endpoint}'")))?;
        let judged = py.detach(|| self.judge(known, body, content_type));
        Ok(judged.err().map(|refusal| {
            let refusal = refusal.styled(&self.0.errors);
            let text = |value: Option<&str>| value.map(str::to_owned);
            (refusal.status(), text(refusal.param_path()), text(refusal.code()), refusal.words().to_owned())
        }))
    }
}

impl Validator {
    fn judge(&self, endpoint: Endpoint, body: &[u8], content_type: &str) -> Result<(), Refusal> {
        let Some(rules) = self.0.rules(endpoint) else {
            let words = format!("Invalid URL (POST /v1{})", endpoint.path());
            return Err(Refusal::of(Kind::RouteNotFound).message(words));
        };
        match endpoint.form() {
            Form::Json => request::read(&self.0, rules, body).map(drop),
            Form::Multipart => {
                let boundary = form::boundary(content_type).ok_or_else(|| Refusal::of(Kind::BadForm))?;
                request::read_form(&self.0, rules, boundary, body).map(drop)
            }
        }
    }
}
