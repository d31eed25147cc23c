//! The sentences in which a value's failure is told: OpenAI's, word for word.
//!
//! Law: each gives a refusal that names the path; a client's own text is shown only to a bounded length.

use crate::json::{Kind as Json, Text};
use crate::refusal::{Kind, Refusal};
use crate::shape::listed;

/// The most characters of a client's own text in a message.
pub const SHOWN: usize = 64;

/// "Missing required parameter".
#[must_use]
pub fn missing(path: &str) -> Refusal {
    Refusal::of(Kind::MissingParameter)
        .message(format!("Missing required parameter: '{path}'."))
        .param(path.to_owned())
}

/// "Duplicate parameter".
#[must_use]
pub fn duplicate(path: &str) -> Refusal {
    Refusal::of(Kind::DuplicateParameter)
        .message(format!("Duplicate parameter: '{path}'."))
        .param(path.to_owned())
}

/// OpenAI writes this one path with a dot before the bracket.
pub(super) fn content_null(path: &str) -> Refusal {
    Refusal::of(Kind::InvalidValue)
        .message("Invalid value for 'content': expected a string, got null.")
        .param(path.replacen('[', ".[", 1))
}

/// "Unknown parameter", with up to two known names that are nearly it.
#[must_use]
pub fn unknown_parameter(path: &str, names: &[&str]) -> Refusal {
    let last = path.rsplit('.').next().unwrap_or(path);
    let near: Vec<&str> =
        names.iter().copied().filter(|name| strsim::levenshtein(name, last) <= 2).take(2).collect();
    let hint = match near.as_slice() {
        [] => String::new(),
        [one] => format!(" Did you mean '{one}'?"),
        [one, two, ..] => format!(" Did you mean '{one}' or '{two}'?"),
    };
    Refusal::of(Kind::UnknownParameter)
        .message(format!("Unknown parameter: '{path}'.{hint}"))
        .param(path.to_owned())
}

pub(super) fn invalid_enum(path: &str, text: &Text<'_>, values: &[Box<str>]) -> Refusal {
    let given: String = text.decode().chars().take(SHOWN).collect();
    Refusal::of(Kind::InvalidValue)
        .message(format!("Invalid value: '{given}'. Supported values are: {}.", listed(values, "and")))
        .with_code("invalid_value")
        .param(path.to_owned())
}

/// Beyond a bound: `words` say which, `code` is OpenAI's for it.
pub(super) fn above(words: String, path: &str, code: &'static str) -> Refusal {
    Refusal::of(Kind::InvalidValue).message(words).with_code(code).param(path.to_owned())
}

/// "Invalid type".
#[must_use]
pub fn wrong_type(path: &str, expected: &str, got: Json) -> Refusal {
    let got = match got {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Integer => "an integer",
        Json::Decimal => "a decimal number",
        Json::String => "a string",
        Json::Array => "an array",
        Json::Object => "an object",
    };
    Refusal::of(Kind::InvalidType)
        .message(format!("Invalid type for '{path}': expected {expected}, but got {got} instead."))
        .param(path.to_owned())
}
