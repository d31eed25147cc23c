//! What one backend is asked for: the call as it stands, or in the form that this backend can answer.
//!
//! Law: decided for each attempt, because the next backend may lack something else. What is refused here has reached
//! nobody.

use bytes::Bytes;
use levada_core::breaker::Seen;
use levada_core::chunk::Style;
use levada_core::counts::Counts;
use levada_core::endpoint::Endpoint;
use levada_core::relay::{Options, Relay};
use levada_core::request::Name;
use levada_core::responses::{Heading, Made, Stream, to_chat};
use levada_core::snapshot::Member;
use levada_core::splice::{self, Edit};

use crate::attempt::Failure;
use crate::plan::Plan;

/// A call as one backend is asked it.
pub struct Errand {
    /// Where it goes.
    pub endpoint: Endpoint,
    /// Its body.
    pub body: Bytes,
    /// What is changed in the answer.
    pub style: Style,
    /// When its backend tells counts.
    pub counts: Counts,
    /// The response that the answer, a chat, is made into.
    pub made: Option<Made>,
}

impl Errand {
    /// The call, with `further` edits, for a member of the pool of the model that clients call `model`, begun at a Unix
    /// time in seconds.
    ///
    /// # Errors
    /// It has no form that this backend could answer.
    pub fn of(
        plan: &Plan,
        model: &str,
        member: &Member,
        further: Vec<Edit>,
        began: u64,
    ) -> Result<Self, Failure> {
        let (endpoint, mut style) = (plan.endpoint, style(plan, model, member));
        let name = Name { plain: &member.upstream, json: &member.upstream_json };
        // A client that names no model gets the one that is meant, under the backend's name.
        let named = (member.renamed || plan.request.model.is_none()).then_some(name);
        let backend = plan.current.snapshot.backends.get(member.backend);
        let (lacks, counts) = backend.map(|backend| (backend.lacks, backend.counts)).unwrap_or_default();
        style.base64 = lacks.base64 && plan.request.wants_base64();
        let mut edits = plan.request.edits(named, endpoint.asks_usage().then_some(counts), &lacks);
        edits.extend(further);
        let body = splice::apply(plan.body.clone(), edits);
        if !(lacks.responses && endpoint == Endpoint::Responses) {
            return Ok(Self { endpoint, body, style, counts, made: None });
        }
        let refused = |refusal| Failure { refusal, again: false, seen: Seen::Nothing };
        let chat = to_chat(&body, lacks, counts).map_err(refused)?;
        let heading = Heading {
            seed: format!("{:032x}", fastrand::u128(..)).into(),
            created: began,
            model: serde_json::to_string(model).unwrap_or_default().into(),
            echo: chat.echo,
            cache_counters: style.cache_counters,
        };
        // The response is written anew: of the chat's own look nothing is left to change.
        let style = Style { one_call: style.one_call, ..Style::default() };
        Ok(Self { endpoint: Endpoint::Chat, body: chat.body, style, counts, made: Some(Made::new(heading)) })
    }

    /// What its stream of events goes through.
    #[must_use]
    pub fn relay(self, options: Options) -> Relay {
        match self.made {
            None => Relay::new(options),
            Some(made) => Relay::translated(options, Stream::new(made)),
        }
    }
}

/// What is changed in the answers of a member of the model's pool.
pub fn style(plan: &Plan, model: &str, member: &Member) -> Style {
    let mut style = plan.style.clone();
    if member.renamed {
        style.rename = serde_json::to_string(model).ok().map(Into::into);
    }
    style
}
