//! Plan: an admitted call, before anything of it is tried.
//!
//! Law: made once, at admission, from one snapshot; a swap in mid-call changes nothing for it.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use levada_core::chunk::Style;
use levada_core::endpoint::Endpoint;
use levada_core::profile::Profile;
use levada_core::request::Request;

use crate::current::Current;

/// An admitted call: everything that was decided, nothing that was tried.
#[derive(Debug)]
pub struct Plan {
    /// The configuration it was admitted under.
    pub current: Arc<Current>,
    /// The contract that it was admitted under.
    pub profile: Arc<Profile>,
    /// The index of its model there.
    pub model: usize,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// What its body says.
    pub request: Request,
    /// Its body, and what the client says it is.
    pub body: Bytes,
    /// The Content-Type for the backend.
    pub content_type: HeaderValue,
    /// What the profile changes in the answer.
    pub style: Style,
    /// The client wanted a JSON Schema and gets any JSON.
    pub loosened: bool,
}
