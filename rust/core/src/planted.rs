//! Bugs planted on purpose, so that the chaos run can show that it finds them.
//!
//! Law: without the feature `planted`, which no wheel has, this is a constant that the compiler takes away. Each place
//! asks in one line, by the name that `loadtests/chaos/planted.py` explains.

#[cfg(feature = "planted")]
static PLANTED: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// Plants the bug of this name, once for the process.
#[cfg(feature = "planted")]
pub fn plant(name: String) {
    let _ = PLANTED.set(name);
}

/// Whether the bug of this name is planted.
#[cfg(feature = "planted")]
#[must_use]
pub fn is(name: &str) -> bool {
    PLANTED.get().is_some_and(|planted| planted == name)
}

/// No bug is planted.
#[cfg(not(feature = "planted"))]
#[must_use]
pub const fn is(_: &str) -> bool {
    false
}
