//! Counters and histograms, and their text.
//!
//! Law: names are stable (`levada_*`, base units); labels come from the configuration and from closed lists, never
//! from a request. The hot path holds its handles and looks nothing up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use levada_core::endpoint::Endpoint;
use levada_core::record::{End, Record};
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

type Number = Gauge<f64, AtomicU64>;
type Total = Counter<f64, AtomicU64>;

/// Seconds: the buckets that the GenAI conventions name for durations and times to the first token.
const BUCKETS: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    model: String,
    endpoint: &'static str,
    end: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabel {
    model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    model: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    status: u16,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BackendLabel {
    backend: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    backend: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabel {
    listener: &'static str,
}

/// All metrics of one gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    calls: Family<CallLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    first_byte: Family<ModelLabel, Histogram>,
    duration: Family<ModelLabel, Histogram>,
    refusals: Family<RefusalLabels, Counter>,
    backend_in_flight: Family<BackendLabel, Gauge>,
    backend_up: Family<BackendLabel, Gauge>,
    attempts: Family<AttemptLabels, Counter>,
    connections: Family<ListenerLabel, Gauge>,
    /// Calls between opening and settling.
    pub in_flight: Gauge,
    /// Calls that have something reserved in their limits.
    pub reserved: Gauge,
    /// Whether what other hosts use of the limits is known.
    pub limits_shared: Gauge,
    /// Calls tried again at another backend.
    pub retries: Counter,
    /// Calls whose backend told counts that cannot be.
    pub suspect: Counter,
    /// Keys in the engine's table.
    pub keys: Gauge,
    /// Accepts that failed for want of descriptors or memory.
    pub accept_failures: Counter,
    config_version: Number,
    config_reload_success: Number,
    draining: Number,
    webhook_waiting: Number,
    webhook_delivered: Total,
    webhook_failed: Total,
}

/// The handles of one model.
#[derive(Debug)]
pub struct ModelMetrics {
    name: Arc<str>,
    calls: Family<CallLabels, Counter>,
    /// Made when first needed: most models answer at one endpoint.
    ends: [[OnceLock<Counter>; End::ALL.len()]; Endpoint::COUNT],
    prompt: Counter,
    completion: Counter,
    first_byte: Histogram,
    duration: Histogram,
}

/// The handles of one backend.
#[derive(Debug)]
pub struct BackendMetrics {
    /// Attempts under way.
    pub in_flight: Gauge,
    /// 1 while it is used.
    pub up: Gauge,
    /// Attempts that brought an answer.
    pub answered: Counter,
    /// Attempts that failed.
    pub failed: Counter,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("levada");
        let mut metrics = Self {
            registry: Registry::default(),
            calls: Family::default(),
            tokens: Family::default(),
            first_byte: Family::new_with_constructor(histogram),
            duration: Family::new_with_constructor(histogram),
            refusals: Family::default(),
            backend_in_flight: Family::default(),
            backend_up: Family::default(),
            attempts: Family::default(),
            connections: Family::default(),
            in_flight: Gauge::default(),
            reserved: Gauge::default(),
            limits_shared: Gauge::default(),
            retries: Counter::default(),
            suspect: Counter::default(),
            keys: Gauge::default(),
            accept_failures: Counter::default(),
            config_version: Number::default(),
            config_reload_success: Number::default(),
            draining: Number::default(),
            webhook_waiting: Number::default(),
            webhook_delivered: Total::default(),
            webhook_failed: Total::default(),
        };
        metrics.register_calls(&mut registry);
        metrics.register_house(&mut registry);
        metrics.config_reload_success.set(1.0);
        metrics.registry = registry;
        metrics
    }
}

impl Metrics {
    /// What calls and backends do.
    fn register_calls(&self, registry: &mut Registry) {
        registry.register("calls", "Finished calls", self.calls.clone());
        registry.register("tokens", "Tokens by kind: prompt, completion", self.tokens.clone());
        registry.register_with_unit(
            "first_byte",
            "From opening a call to its first byte",
            Unit::Seconds,
            self.first_byte.clone(),
        );
        registry.register_with_unit(
            "call_duration",
            "From opening a call to its end",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register("refusals", "Refusals by status and code", self.refusals.clone());
        registry.register("backend_in_flight", "Attempts under way", self.backend_in_flight.clone());
        registry.register("backend_up", "1 while the backend is used", self.backend_up.clone());
        registry.register("attempts", "Attempts by outcome: answered, failed", self.attempts.clone());
        registry.register("connections", "Open client connections", self.connections.clone());
        registry.register("calls_in_flight", "Calls under way", self.in_flight.clone());
        registry.register(
            "calls_reserved",
            "Calls with a reservation in their limits",
            self.reserved.clone(),
        );
        registry.register(
            "limits_shared",
            "Whether limits are shared with other replicas now",
            self.limits_shared.clone(),
        );
        registry.register("retries", "Calls tried again at another backend", self.retries.clone());
        registry.register(
            "usage_suspect",
            "Calls whose backend told counts that cannot be",
            self.suspect.clone(),
        );
    }

    /// What the house does beside them.
    fn register_house(&self, registry: &mut Registry) {
        registry.register("keys", "Keys in force", self.keys.clone());
        registry.register(
            "accept_failures",
            "Connections that could not be accepted",
            self.accept_failures.clone(),
        );
        registry.register(
            "config_version",
            "Version of the configuration in force",
            self.config_version.clone(),
        );
        registry.register(
            "config_reload_success",
            "1 when the last reload took effect, 0 when it was refused",
            self.config_reload_success.clone(),
        );
        registry.register("draining", "1 while shutting down", self.draining.clone());
        self.register_webhooks(registry);
    }
}

impl Metrics {
    fn register_webhooks(&self, registry: &mut Registry) {
        registry.register(
            "webhook_waiting",
            "Events that a webhook has not taken yet",
            self.webhook_waiting.clone(),
        );
        registry.register(
            "webhook_delivered",
            "Events that webhooks have taken",
            self.webhook_delivered.clone(),
        );
        registry.register(
            "webhook_failed",
            "Attempts that a webhook did not take",
            self.webhook_failed.clone(),
        );
    }

    /// The handles of a model.
    #[must_use]
    pub fn model(&self, name: &str) -> ModelMetrics {
        let tokens = |kind| self.tokens.get_or_create(&TokenLabels { model: name.to_owned(), kind }).clone();
        let label = ModelLabel { model: name.to_owned() };
        ModelMetrics {
            name: name.into(),
            calls: self.calls.clone(),
            ends: Default::default(),
            prompt: tokens("prompt"),
            completion: tokens("completion"),
            first_byte: self.first_byte.get_or_create(&label).clone(),
            duration: self.duration.get_or_create(&label).clone(),
        }
    }

    /// The handles of a backend.
    #[must_use]
    pub fn backend(&self, name: &str) -> BackendMetrics {
        let label = BackendLabel { backend: name.to_owned() };
        let attempts = |outcome| {
            self.attempts.get_or_create(&AttemptLabels { backend: name.to_owned(), outcome }).clone()
        };
        BackendMetrics {
            in_flight: self.backend_in_flight.get_or_create(&label).clone(),
            up: self.backend_up.get_or_create(&label).clone(),
            answered: attempts("answered"),
            failed: attempts("failed"),
        }
    }

    /// The open connections of a listener: `public` or `admin`.
    #[must_use]
    pub fn connections(&self, listener: &'static str) -> Gauge {
        self.connections.get_or_create(&ListenerLabel { listener }).clone()
    }

    /// Counts one refusal.
    pub fn refused(&self, status: u16, code: Option<&str>) {
        self.refusals
            .get_or_create(&RefusalLabels { status, code: code.unwrap_or_default().to_owned() })
            .inc();
    }

    /// Sets a figure of the control plane, or says how far one of its counters has come; false for a name that is none.
    pub fn set(&self, name: &str, value: f64) -> bool {
        let figure = match name {
            "config_version" => self.config_version.inner(),
            "config_reload_success" => self.config_reload_success.inner(),
            "draining" => self.draining.inner(),
            "webhook_waiting" => self.webhook_waiting.inner(),
            "webhook_delivered" => self.webhook_delivered.inner(),
            "webhook_failed" => self.webhook_failed.inner(),
            _ => return false,
        };
        figure.store(value.to_bits(), Relaxed);
        true
    }

    /// All of it as OpenMetrics text.
    #[must_use]
    pub fn render(&self) -> Bytes {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text.into()
    }
}

impl ModelMetrics {
    /// Counts one finished call of this model.
    pub fn finished(&self, endpoint: Endpoint, record: &Record<'_>) {
        let row = self.ends.get(endpoint as usize);
        if let Some(counter) = row.and_then(|row| row.get(record.end as usize)) {
            let labels = || CallLabels {
                model: self.name.to_string(),
                endpoint: endpoint.name(),
                end: record.end.name(),
            };
            counter.get_or_init(|| self.calls.get_or_create(&labels()).clone()).inc();
        }
        if record.prompt_tokens > 0 {
            self.prompt.inc_by(record.prompt_tokens);
        }
        if record.completion_tokens > 0 {
            self.completion.inc_by(record.completion_tokens);
        }
        if let Some(first) = record.first_byte_us {
            self.first_byte.observe(seconds(first));
        }
        self.duration.observe(seconds(record.total_us));
    }
}

/// Microseconds as seconds; exact for any duration a call can have.
#[expect(clippy::cast_precision_loss, reason = "a call lasts less than 2^53 microseconds")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_what_was_counted() {
        let metrics = Metrics::default();
        metrics.refused(404, Some("model_not_found"));
        metrics.backend("b\"1").in_flight.inc();
        assert!(metrics.set("config_version", 3.0) && !metrics.set("nonsense", 1.0));
        assert!(metrics.set("webhook_delivered", 7.0));
        let text = String::from_utf8(metrics.render().to_vec()).unwrap();
        for line in [
            "levada_refusals_total{status=\"404\",code=\"model_not_found\"} 1",
            "levada_backend_in_flight{backend=\"b\\\"1\"} 1",
            "levada_config_version 3.0",
            "levada_webhook_delivered_total 7.0",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
