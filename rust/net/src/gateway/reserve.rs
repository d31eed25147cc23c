//! What a call reserves in its caller's limits, and where the caller stands.
//!
//! Law: asked once for each call; who is refused before, or asks for what no backend answers, is told all the same.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use levada_core::auth::Key;
use levada_core::bounds;
use levada_core::endpoint::{Endpoint, Form};
use levada_core::refusal::{Kind, Refusal};
use levada_core::request::{Request, estimate};
use levada_core::snapshot::{Model, Snapshot};

use super::Gateway;
use super::refusals::refused;
use crate::call::Call;
use crate::keys::Caller;
use crate::limits::{Answer, Asked, Denied, Standing, Wanted};
use crate::plan::Plan;
use crate::routes::Route;
use crate::tally::Tally;

impl Gateway {
    /// A call of a known caller that is refused for what the door has noticed.
    pub fn refuse_caller(self: &Arc<Self>, caller: &Caller, headers: &HeaderMap, refusal: Refusal) -> Call {
        let mut tally = self.begin(headers);
        tally.standing = self.standing(caller, &tally);
        refused(tally, refusal, &caller.target)
    }

    /// Admits a call that has waited for other hosts.
    ///
    /// # Errors
    /// There is no room.
    pub fn admit_last(
        &self,
        caller: &Caller,
        tally: &mut Tally,
        endpoint: Endpoint,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Box<Plan>, Refusal> {
        let admitted = self.admit(caller, tally, endpoint, path, headers, body, true);
        admitted.map_err(|denied| {
            tally.standing = self.standing(caller, tally);
            match denied {
                Denied::Refused(refusal) => refusal,
                Denied::Short(_) => Refusal::of(Kind::Overloaded),
            }
        })
    }

    /// Shares the limits with other hosts, so many in all, through this Redis, as long as the result is polled.
    ///
    /// # Errors
    /// This is no address of a Redis.
    pub fn share(&self, url: &str, hosts: u64) -> Result<impl Future<Output = ()> + Send + use<>, String> {
        self.limits.share(url, hosts)
    }

    /// Whether limits are shared with other hosts now.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.limits.is_shared()
    }

    /// Frees what dead processes hold, and tells how the limits are.
    pub(super) fn sweep_limits(&self) {
        self.limits.sweep();
        let (metrics, reserved) = (&self.books.metrics, self.limits.open_calls());
        metrics.reserved.set(i64::try_from(reserved).unwrap_or(i64::MAX));
        metrics.limits_shared.set(i64::from(self.limits.is_shared()));
    }

    /// Where the caller stands before anything is counted.
    pub(super) fn standing(&self, caller: &Caller, tally: &Tally) -> Option<Standing> {
        let endpoint = match caller.target.route {
            Route::Inference(endpoint) => Some(endpoint),
            _ => None,
        };
        let current = self.current.load();
        let model = tally.model.as_ref().and_then(|(name, _)| current.snapshot.model(name));
        let key = caller.key.as_ref()?;
        let asked = asked(caller, key, endpoint, &current.snapshot, model, tally);
        self.limits.standing(asked, tally.began())
    }

    /// Reserves what the call may use, and bounds an answer that only the limits bound.
    pub(super) fn reserve(
        &self,
        asked: Asked<'_>,
        endpoint: Endpoint,
        tally: &mut Tally,
        request: &mut Request,
        body: &[u8],
        last: bool,
    ) -> Result<(), Denied> {
        let answer = match (endpoint.bound(), request.max_tokens) {
            (None, _) => Answer::Bounded(0),
            (Some(_), Some(most)) => Answer::Bounded(most.saturating_mul(request.n)),
            (Some(_), None) => {
                let usual = asked.model.and_then(|model| model.max_tokens);
                Answer::Free { choices: request.n, most: usual.unwrap_or(bounds::ANSWER_TOKENS) }
            }
        };
        let input = match endpoint.form() {
            Form::Json => estimate(body),
            // A file is no prompt.
            Form::Multipart => 0,
        };
        let wanted = Wanted { input, answer };
        let Some(admitted) = self.limits.admit(asked, wanted, tally.began(), last)? else {
            return Ok(());
        };
        tally.standing = Some(admitted.standing);
        tally.reserved = Some(admitted.reserved);
        if let Some((name, most)) = endpoint.bound().zip(admitted.bound) {
            request.bound(name, most);
        }
        Ok(())
    }
}

/// What is asked of the limits.
pub(super) fn asked<'a>(
    caller: &'a Caller,
    key: &'a Key,
    endpoint: Option<Endpoint>,
    snapshot: &'a Snapshot,
    model: Option<&'a Model>,
    tally: &Tally,
) -> Asked<'a> {
    Asked { key, endpoint, rate: &caller.target.profile.rate, snapshot, model, at_ms: tally.at_ms() }
}
