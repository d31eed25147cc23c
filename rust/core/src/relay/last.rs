//! The usage chunk: one of its own and the last, as OpenAI has it, wherever a backend tells usage.
//!
//! Law: no figure is made up. What came with the end of a choice is moved out of it, and what came for each of several
//! choices is added up as the meter does.

use crate::chunk::{Chunk, Style};
use crate::usage::Meter;

use super::{Act, edited};

/// What has been told of a stream's usage.
#[derive(Debug, Default)]
pub(super) struct Last {
    /// The event that tells it at the end.
    held: Option<Vec<u8>>,
    /// That one came as a chunk of its own.
    own: bool,
    /// The backend's own has been passed on.
    told: bool,
}

impl Last {
    /// What becomes of an event that tells a final usage; with `several` choices others may follow it.
    pub(super) fn take(
        &mut self,
        (event, data): (&[u8], &[u8]),
        chunk: &Chunk,
        (several, often, style, meter): (bool, bool, &Style, &Meter),
    ) -> Act {
        let own = !chunk.choices;
        if own && !several {
            self.told = true;
            return Act::with(event, data, chunk.edits.clone());
        }
        // One of its own says all that came with the choices again.
        if own || !self.own {
            let another = self.held.is_some() && self.own == own;
            let sum = another.then(|| meter.read().0.json(style.cache_counters).into());
            let edits = chunk.usage_alone(sum);
            let whole = if own { event } else { b"" };
            self.held = Some(if edits.is_empty() { event.to_vec() } else { edited(whole, data, edits) });
            self.own = own;
        }
        match own {
            true => Act::Drop,
            // A client that gets counts all along has asked for them.
            false if often => Act::with(event, data, chunk.edits.clone()),
            false => Act::with(event, data, chunk.without_usage()),
        }
    }

    /// The event that is due before the end of the stream.
    pub(super) fn event(&self) -> &[u8] {
        self.held.as_deref().filter(|_| !self.told).unwrap_or_default()
    }
}
