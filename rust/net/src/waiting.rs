//! A call whose limits other hosts may have room for: admitted once more when they have been heard.
//!
//! Law: it waits once, and no longer than the exchange's deadline; then it is told what there is.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use levada_core::endpoint::{Dialect, Endpoint};
use levada_core::refusal::Refusal;

use crate::gateway::Gateway;
use crate::keys::Caller;
use crate::limits::Ticket;
use crate::plan::Plan;
use crate::tally::Tally;

/// All that the call was opened with.
#[derive(Debug)]
pub struct Waiting {
    gateway: Arc<Gateway>,
    caller: Caller,
    endpoint: Endpoint,
    path: Box<str>,
    headers: HeaderMap,
    body: Bytes,
    ticket: Ticket,
}

impl Waiting {
    /// What the engine was asked to open, and what for it waits.
    #[must_use]
    pub fn new(
        gateway: &Arc<Gateway>,
        caller: &Caller,
        endpoint: Endpoint,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
        ticket: Ticket,
    ) -> Self {
        let (gateway, caller, headers) = (Arc::clone(gateway), caller.clone(), headers.clone());
        Self { gateway, caller, endpoint, path: path.into(), headers, body, ticket }
    }

    /// What its client reads.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.caller.target.route.dialect()
    }

    /// The plan, once others are heard.
    ///
    /// # Errors
    /// There is no room.
    pub async fn admitted(&mut self, tally: &mut Tally) -> Result<Box<Plan>, Refusal> {
        self.ticket.answered().await;
        let (caller, body) = (&self.caller, self.body.clone());
        let plan = self.gateway.admit_last(caller, tally, self.endpoint, &self.path, &self.headers, body);
        plan.map_err(|refusal| refusal.styled(&caller.target.profile.errors))
    }
}
