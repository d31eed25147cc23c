//! Levada's sockets: the edge towards the clients, the client towards the backends.
//!
//! Law: everything asynchronous is here and nothing of it names Python. What can be decided without a socket or a
//! clock is decided in `levada_core`.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod attempt;
pub mod books;
pub mod bring;
pub mod call;
pub mod client;
pub mod convoy;
pub mod cors;
pub mod current;
pub mod deadline;
pub mod disk;
pub mod edge;
pub mod errand;
pub mod fan;
pub mod fetch;
pub mod gateway;
pub mod head;
pub mod journal;
pub mod jwts;
pub mod keys;
pub mod limits;
pub mod load;
pub mod metrics;
pub mod pace;
pub mod plan;
pub mod pump;
pub mod retries;
pub mod routes;
pub mod tally;
pub mod tls;
pub mod tokens;
pub mod waiting;

mod app;
mod body;
mod front;
mod gather;
mod guard;
#[cfg(test)]
#[path = "../tests/support/memory.rs"]
mod memory;
mod upload;
