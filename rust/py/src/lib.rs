//! `levada._native`: the engine as Python sees it.
//!
//! Law: no logic. Bytes, header pairs and numbers cross; nothing is called back per call or token. This crate alone may
//! use `unsafe`, with a reason at each place.

mod call;
mod clock;
mod disk;
mod doors;
mod error;
mod gateway;
mod pure;
mod tokens;

/// Plants a bug on purpose: see `levada_core::planted`.
#[cfg(feature = "planted")]
#[pyo3::pyfunction]
fn plant(name: String) {
    levada_core::planted::plant(name);
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[pyo3::pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use super::call::Call;
    #[pymodule_export]
    use super::disk::verify_journals;
    #[pymodule_export]
    use super::error::ConfigError;
    #[pymodule_export]
    use super::gateway::{Caller, Gateway};
    #[pymodule_export]
    use super::pure::{Reframer, Validator};
    #[pymodule_export]
    use super::tokens::{count_messages, count_text};

    #[cfg(feature = "planted")]
    #[pymodule_export]
    use super::plant;
}
