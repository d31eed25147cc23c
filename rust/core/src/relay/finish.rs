//! The chunk with the end of a choice, held until it is known whether the usage chunk follows.
//!
//! Law: an engine that is asked for the usage chunk tells there what it would tell with the end otherwise: llama.cpp its
//! timings, vLLM its fingerprint. A client that did not ask gets the bytes that it would get without us.

use crate::chunk::{Chunk, Fingerprint, Style};

/// The event that waits, and those that are due.
#[derive(Debug, Default)]
pub(super) struct Finish {
    held: Option<Held>,
    due: Vec<u8>,
}

#[derive(Debug)]
struct Held {
    event: Vec<u8>,
    /// It has timings, and a fingerprint, of its own.
    known: (bool, bool),
}

impl Finish {
    /// Holds the end of a choice.
    pub(super) fn hold(&mut self, event: Vec<u8>, known: (bool, bool)) {
        self.release();
        self.held = Some(Held { event, known });
    }

    /// The usage chunk is here: what it has and the held one lacks goes over.
    pub(super) fn take_over(&mut self, data: &[u8], chunk: &Chunk, style: &Style) {
        if let Some(Held { event, known: (timings, fingerprint) }) = &mut self.held
            && let Some(close) = memchr::memrchr(b'}', event)
        {
            let fingerprint = *fingerprint || style.fingerprint != Fingerprint::Keep;
            let members = [
                ("timings", &chunk.timings_at, *timings),
                ("system_fingerprint", &chunk.fingerprint_at, fingerprint),
            ];
            let mut more = Vec::new();
            for (name, at, _) in members.into_iter().filter(|(_, at, known)| !known && !at.is_empty()) {
                more.extend_from_slice(format!(",\"{name}\":").as_bytes());
                more.extend_from_slice(data.get(at.clone()).unwrap_or_default());
            }
            event.splice(close..close, more);
        }
        self.release();
    }

    /// What is held waits no longer.
    pub(super) fn release(&mut self) {
        if let Some(held) = self.held.take() {
            self.due.extend_from_slice(&held.event);
        }
    }

    /// What is due, once.
    pub(super) fn due(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.due)
    }
}
