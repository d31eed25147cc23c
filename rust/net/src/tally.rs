//! Keeps the account of one call and settles it, once, however the call ends.
//!
//! Law: this is the only place that makes a Record. Dropping the tally is enough; whoever knows the end says it first.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use levada_core::endpoint::Endpoint;
use levada_core::planted;
use levada_core::record::{End, Record};
use levada_core::usage::{Meter, Source, Usage};

use crate::books::Books;
use crate::cors::Grant;
use crate::journal::Begun;
use crate::limits::{Reserved, Standing, Took};
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
    /// The entry of its record, where the client's last bytes wait for it.
    entry: Option<u64>,
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
    /// How many images are asked for.
    pub images: u64,
    /// How many characters are to be spoken.
    pub characters: u64,
    /// A client that leaves before the first token pays for the prompt, where its tokens are known.
    pub charge_prompt: bool,
    /// Where the caller stands in its limits.
    pub standing: Option<Standing>,
    /// What is reserved there for the call.
    pub reserved: Option<Reserved>,
    /// The count of a stream whose backend tells no usage.
    pub counting: Option<Box<Counting>>,
}

impl Tally {
    /// Opens the account of a call. Boxed: the call goes from hand to hand, its account stays where it is.
    #[must_use]
    pub fn open(books: Arc<Books>, id: Box<str>, grant: Option<Grant>) -> Box<Self> {
        books.metrics.in_flight.inc();
        Box::new(Self::blank(books, id, grant))
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
            entry: None,
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
            images: 0,
            characters: 0,
            charge_prompt: true,
            standing: None,
            reserved: None,
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

    /// The first byte for the client is there; how many microseconds after the open.
    pub fn first_byte(&mut self) -> u64 {
        *self.first_byte.get_or_insert_with(|| micros(self.began))
    }

    /// When the call was opened, by the clock on the wall, in milliseconds since 1970.
    #[must_use]
    pub fn at_ms(&self) -> u64 {
        self.at_ms
    }

    /// Writes the call down as begun; whether that could be done. Until then it leaves nothing in the ledger.
    #[must_use]
    pub fn write_down(&mut self) -> bool {
        let mut record = self.record(End::Interrupted);
        let begun = self.books.journal.begin(&mut record);
        self.begun = begun;
        if planted::is("opened_late") && self.stream {
            return self.begun.take().is_some();
        }
        self.begun.is_some()
    }

    /// Notes the tokens so far where they outlive this process.
    pub fn note(&mut self, meter: Meter) {
        self.meter = meter;
        if let Some(begun) = &self.begun {
            let (usage, source) = meter.read();
            if planted::is("note_skipped") || planted::is("note_behind") && usage.completion % 4 != 1 {
                return;
            }
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
        spoil(&mut record);
        // What leaves a row in the ledger is counted, and nothing else: the two tell the same.
        if let Some(begun) = &self.begun {
            if let (Some(endpoint), Some((_, metrics))) = (self.endpoint, &self.model) {
                metrics.finished(endpoint, &record);
                if planted::is("metrics_twice") && self.stream {
                    metrics.finished(endpoint, &record);
                }
            }
            record.call = begun.number();
            if planted::is("settle_twice") && begun.number() % 8 == 3 {
                let again = Record { call: begun.number() + (1 << 40), ..record.clone() };
                self.books.journal.settle(begun, &again);
            }
            if !(planted::is("settle_dropped") && begun.number() % 8 == 3) {
                self.entry = self.books.journal.settle(begun, &record);
            }
        }
        if let Some(reserved) = self.reserved.take() {
            let took = self.took(end, &reserved);
            reserved.settle(took);
        }
        if planted::is("in_flight_leak") && end == End::Cancelled {
            return;
        }
        self.books.metrics.in_flight.dec();
    }

    /// Ready when the last bytes may leave; false when what the call has cost may be lost.
    pub fn poll_durable(&self, cx: &Context<'_>) -> Poll<bool> {
        self.entry.map_or(Poll::Ready(true), |entry| self.books.journal.poll_durable(entry, cx))
    }

    /// What counts in the caller's limits; nothing where nobody knows.
    fn took(&self, end: End, reserved: &Reserved) -> Option<Took> {
        let (usage, source) = self.meter.read();
        match source {
            // An answer that tells no count has cost something.
            Source::None if end == End::Done && self.status < 400 => None,
            Source::None => Some(Took::default()),
            Source::Estimated if usage.prompt == 0 => {
                Some(Took { input: reserved.amounts().input, cached: 0, output: usage.completion })
            }
            _ => Some(Took { input: usage.prompt, cached: usage.cached, output: usage.completion }),
        }
    }

    /// What is known now.
    fn record(&self, end: End) -> Record<'_> {
        let (mut usage, source) = self.meter.read();
        let free = match end {
            End::Cancelled | End::Cut => !self.charge_prompt,
            // Nothing of the answer was made, and not by the client's doing.
            End::Refused | End::Broken => true,
            End::Done | End::Interrupted => false,
        };
        if free && usage.completion == 0 {
            usage = Usage::default();
        }
        // What has no count of its own is charged when the answer was made.
        let done = end == End::Done && self.status < 400;
        let made = |count: u64| Some(count).filter(|count| done && *count > 0);
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
            suspect: usage.suspect,
            images: made(self.images),
            audio_ms: Some(usage.audio_ms).filter(|ms| *ms > 0),
            characters: made(self.characters),
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

/// Bugs on purpose in what a record tells: see `planted`.
fn spoil(record: &mut Record<'_>) {
    if planted::is("cancel_unbilled") && record.end == End::Cancelled {
        (record.prompt_tokens, record.completion_tokens) = (0, 0);
    }
    if planted::is("broken_without_prompt") && record.end == End::Broken {
        record.prompt_tokens = 0;
    }
    if planted::is("reasoning_dropped") {
        record.reasoning_tokens = 0;
    }
    if planted::is("key_lost") && record.stream {
        record.key = None;
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
