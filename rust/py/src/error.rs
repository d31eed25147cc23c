//! Faults as Python exceptions.
//!
//! Law: only what the caller of the boundary did wrong, or what the machine refuses, is raised; a client's or a
//! backend's fault never is.

use levada_net::fetch::Fault;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;

pyo3::create_exception!(
    _native,
    ConfigError,
    PyValueError,
    "A document was refused; `problems` has every reason."
);

/// The exception for a refused document.
pub fn config(problems: Vec<String>) -> PyErr {
    Python::attach(|py| {
        let error = ConfigError::new_err(problems.join("; "));
        match error.value(py).setattr("problems", problems) {
            Ok(()) => error,
            Err(broken) => broken,
        }
    })
}

/// The exception for a call of the control plane that brought no answer.
pub fn fetch(fault: Fault) -> PyErr {
    match fault {
        Fault::Timeout => PyTimeoutError::new_err("no answer in time"),
        Fault::Failed(words) => PyOSError::new_err(words),
    }
}

/// The exception for what the operating system refuses, with its number.
pub fn system(error: std::io::Error) -> PyErr {
    match error.raw_os_error() {
        Some(number) => PyOSError::new_err((number, error.to_string())),
        None => error.into(),
    }
}

/// The exception for a gateway that is used where it cannot work.
pub fn misuse(words: &'static str) -> PyErr {
    PyRuntimeError::new_err(words)
}
