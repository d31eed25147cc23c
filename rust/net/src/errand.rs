//! What one backend is asked for: the call as it stands, or in the form that this backend can answer.
//!
//! Law: decided for each attempt, because the next backend may lack something else. What is refused here has reached
//! nobody.

use bytes::Bytes;
use levada_core::breaker::Seen;
use levada_core::chunk::Style;
use levada_core::endpoint::Endpoint;
use levada_core::lacks::Lacks;
use levada_core::relay::{Options, Relay};
use levada_core::responses::{Heading, Made, Stream, to_chat};

use crate::attempt::Failure;
use crate::plan::Plan;
use crate::tally::Tally;

/// A call as one backend is asked it.
pub struct Errand {
    /// Where it goes.
    pub endpoint: Endpoint,
    /// Its body.
    pub body: Bytes,
    /// What is changed in the answer.
    pub style: Style,
    /// The response that the answer, a chat, is made into.
    pub made: Option<Made>,
}

impl Errand {
    /// The call with this body for a backend of these lacks. `model` is the public name.
    ///
    /// # Errors
    /// It has no form that this backend could answer.
    pub fn of(plan: &Plan, body: Bytes, lacks: Lacks, model: &str, tally: &Tally) -> Result<Self, Failure> {
        let (endpoint, style) = (plan.endpoint, plan.style.clone());
        if !(lacks.responses && endpoint == Endpoint::Responses) {
            return Ok(Self { endpoint, body, style, made: None });
        }
        let chat = to_chat(&body, lacks).map_err(|refusal| Failure {
            refusal,
            again: false,
            seen: Seen::Nothing,
        })?;
        let heading = Heading {
            seed: format!("{:032x}", fastrand::u128(..)).into(),
            created: tally.at_seconds(),
            model: serde_json::to_string(model).unwrap_or_default().into(),
            echo: chat.echo,
            cache_counters: style.cache_counters,
        };
        // The response is written anew: of the chat's own look nothing is left to change.
        let style = Style { one_call: style.one_call, ..Style::default() };
        Ok(Self { endpoint: Endpoint::Chat, body: chat.body, style, made: Some(Made::new(heading)) })
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
