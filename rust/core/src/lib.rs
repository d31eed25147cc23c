//! The pure part of Levada: bytes in, decisions out.
//!
//! Law: nothing here opens a socket, reads a clock or the environment, starts a thread, rolls a die or panics.
//! Time and randomness are arguments. `net` is built on this crate and this crate knows neither `net` nor `py`.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod ability;
pub mod auth;
pub mod bounds;
pub mod breaker;
pub mod chunk;
pub mod counts;
pub mod endpoint;
pub mod form;
pub mod hosts;
pub mod http1;
pub mod journal;
pub mod json;
pub mod jwt;
pub mod lacks;
pub mod limit;
pub mod merge;
pub mod planted;
pub mod profile;
pub mod record;
pub mod refusal;
pub mod relay;
pub mod request;
pub mod responses;
pub mod retry;
pub mod route;
pub mod shape;
pub mod snapshot;
pub mod splice;
pub mod sse;
pub mod upstream;
pub mod usage;
pub mod validate;
pub mod vector;
pub mod words;
