//! Keeps the account of one call and settles it, once, however the call ends.
//!
//! Law: this is the only place that makes a Record. Dropping the tally is enough; whoever knows the end says it first.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use levada_core::endpoint::Endpoint;
use levada_core::record::{End, Record};
use levada_core::usage::Meter;

use crate::books::Books;
use crate::cors::Grant;
use crate::journal::Begun;
use crate::limits::Standing;
use crate::metrics::ModelMetrics;
use crate::tokens::counting::Counting;

/// The account of one call.
#[derive(Debug)]
pub struct Tally {
    books: Arc<Books>,
    began: Instant,
    at_ms: u64,
    first_byte: Option<u64>,
    settled: bool,
    /// That it is written down as begun.
    begun: Option<Begun>,
    /// The request id that the client sees.
    pub id: Box<str>,
    /// What the page that asks is told.
    pub grant: Option<Grant>,
    /// The key's id.
    pub key: Option<Arc<str>>,
    /// The endpoint, for a call to a backend.
    pub endpoint: Option<Endpoint>,
    /// The model's public name and its counters, once it is known to be ours.
    pub model: Option<(Arc<str>, Arc<ModelMetrics>)>,
    /// The backend of the newest attempt.
    pub backend: Option<Arc<str>>,
    /// How many attempts were made.
    pub attempts: u32,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// The status that the client sees.
    pub status: u16,
    /// Tokens so far.
    pub meter: Meter,
    /// Where the caller stands in its limits.
    pub standing: Option<Standing>,
    /// The count of a stream whose backend tells no usage.
    pub counting: Option<Box<Counting>>,
}

impl Tally {
    /// Opens the account of a call.
    #[must_use]
    pub fn open(books: Arc<Books>, id: Box<str>, grant: Option<Grant>) -> Self {
        books.metrics.in_flight.inc();
        Self::blank(books, id, grant)
    }

    fn blank(books: Arc<Books>, id: Box<str>, grant: Option<Grant>) -> Self {
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        Self {
            books,
            began: Instant::now(),
            at_ms: u64::try_from(at_ms).unwrap_or_default(),
            first_byte: None,
            settled: false,
            begun: None,
            id,
            grant,
            key: None,
            endpoint: None,
            model: None,
            backend: None,
            attempts: 0,
            stream: false,
            status: 0,
            meter: Meter::default(),
            standing: None,
            counting: None,
        }
    }

    /// The account itself, for whoever settles it later; what stays here is settled.
    pub fn hand_over(&mut self) -> Self {
        let mut spent = Self::blank(Arc::clone(&self.books), Box::default(), None);
        spent.settled = true;
        std::mem::replace(self, spent)
    }

    /// The books that the call is written in.
    #[must_use]
    pub fn books(&self) -> &Arc<Books> {
        &self.books
    }

    /// When the call was opened.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// The same by the clock on the wall, in seconds since 1970.
    #[must_use]
    pub fn at_seconds(&self) -> u64 {
        self.at_ms / 1000
    }

    /// The first byte for the client is there.
    pub fn first_byte(&mut self) {
        self.first_byte.get_or_insert(micros(self.began));
    }

    /// Writes the call down as begun; whether that could be done. Until then it leaves nothing in the ledger.
    #[must_use]
    pub fn write_down(&mut self) -> bool {
        let mut record = self.record(End::Interrupted);
        let begun = self.books.journal.begin(&mut record);
        self.begun = begun;
        self.begun.is_some()
    }

    /// Notes the tokens so far where they outlive this process.
    pub fn note(&mut self, meter: Meter) {
        self.meter = meter;
        if let Some(begun) = &self.begun {
            let (usage, source) = meter.read();
            self.books.journal.note(begun, &usage, source);
        }
    }

    /// The call has ended. Only the first word counts.
    pub fn settle(&mut self, end: End) {
        // Nobody waits for a client that has left: its account is settled behind its count.
        let counting = self.counting.take().filter(|_| !self.settled && !self.books.is_cutting());
        if counting.is_some_and(|counting| counting.settle(self, end)) {
            return;
        }
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let mut record = self.record(end);
        if let (Some(endpoint), Some((_, metrics))) = (self.endpoint, &self.model) {
            metrics.finished(endpoint, &record);
        }
        if let Some(begun) = &self.begun {
            record.call = begun.number();
            self.books.journal.settle(begun, &record);
        }
        self.books.metrics.in_flight.dec();
    }

    /// What is known now.
    fn record(&self, end: End) -> Record<'_> {
        let (usage, source) = self.meter.read();
        Record {
            call: 0,
            id: &self.id,
            at_ms: self.at_ms,
            key: self.key.as_deref(),
            endpoint: self.endpoint.map(Endpoint::name),
            model: self.model.as_ref().map(|(name, _)| &**name),
            backend: self.backend.as_deref(),
            attempts: self.attempts,
            stream: self.stream,
            status: self.status,
            end,
            prompt_tokens: usage.prompt,
            completion_tokens: usage.completion,
            cached_tokens: usage.cached,
            created_tokens: usage.created,
            reasoning_tokens: usage.reasoning,
            usage: source.name(),
            first_byte_us: self.first_byte,
            total_us: micros(self.began),
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let end = if self.books.is_cutting() { End::Cut } else { End::Cancelled };
        self.settle(end);
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
