//! What was seen: counts and histograms, and the one JSON object that says so.

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Values below this are counted exactly; above, in buckets of 1/256 of their power of two (0.4 %).
const LINEAR: u64 = 256;
const EXAMPLES: usize = 3;

/// A histogram of nanoseconds, of fixed size.
pub struct Histogram {
    buckets: Vec<u32>,
    count: u64,
    sum: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: vec![0; 57 * LINEAR as usize], count: 0, sum: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one value.
    pub fn add(&mut self, value: u64) {
        self.buckets[Self::bucket(value)] += 1;
        self.count += 1;
        self.sum += value;
        self.max = self.max.max(value);
    }

    fn bucket(value: u64) -> usize {
        if value < LINEAR {
            return value as usize;
        }
        let shift = value.ilog2() - 8;
        (u64::from(shift) * LINEAR + (value >> shift)) as usize
    }

    /// The middle of a bucket.
    fn value(bucket: usize) -> f64 {
        let bucket = bucket as u64;
        if bucket < 2 * LINEAR {
            return bucket as f64;
        }
        let shift = bucket / LINEAR - 1;
        (bucket - shift * LINEAR) as f64 * (1u64 << shift) as f64 + (1u64 << shift) as f64 / 2.0
    }

    /// The value, in nanoseconds, that a share `q` of all values does not exceed.
    pub fn quantile(&self, q: f64) -> f64 {
        let wanted = ((q * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, n) in self.buckets.iter().enumerate() {
            seen += u64::from(*n);
            if seen >= wanted {
                return Self::value(bucket).min(self.max as f64);
            }
        }
        0.0
    }

    fn report(&self) -> Value {
        let us = |ns: f64| (ns / 10.0).round() / 100.0;
        let mean = self.sum as f64 / self.count.max(1) as f64;
        json!({
            "count": self.count,
            "mean": us(mean),
            "p50": us(self.quantile(0.5)),
            "p90": us(self.quantile(0.9)),
            "p99": us(self.quantile(0.99)),
            "p999": us(self.quantile(0.999)),
            "max": us(self.max as f64),
        })
    }
}

/// Everything that a run counts. Times are nanoseconds.
#[derive(Default)]
pub struct Tally {
    pub elapsed: u64,
    pub started: u64,
    pub ok: u64,
    pub errors: BTreeMap<&'static str, u64>,
    pub unfinished: u64,
    pub connects: u64,
    pub chunks: u64,
    pub bytes: u64,
    pub body_lengths: BTreeMap<u64, u64>,
    /// Request written to answer complete.
    pub latency: Histogram,
    /// Open loop: the moment at which the request was due to the moment it was started.
    pub late: Histogram,
    /// Request started to first chunk read.
    pub ttft: Histogram,
    /// One chunk read to the next.
    pub gap: Histogram,
    /// The backend's write to our read, of each chunk.
    pub transit: Histogram,
    examples: Vec<String>,
}

impl Tally {
    /// Counts a failed request; the first few are kept in words.
    pub fn failed(&mut self, kind: &'static str, words: impl FnOnce() -> String) {
        *self.errors.entry(kind).or_default() += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(format!("{kind}: {}", words()));
        }
    }

    /// All failed requests.
    pub fn failures(&self) -> u64 {
        self.errors.values().sum()
    }

    /// The first failures in words.
    pub fn examples(&self) -> &[String] {
        &self.examples
    }

    /// The result of the run.
    pub fn report(&self) -> Value {
        let seconds = self.elapsed as f64 / 1e9;
        let per_second = |n: u64| (n as f64 / seconds.max(1e-9) * 10.0).round() / 10.0;
        json!({
            "elapsed_s": seconds,
            "started": self.started,
            "ok": self.ok,
            "errors": self.failures(),
            "error_kinds": self.errors,
            "unfinished": self.unfinished,
            "requests_per_s": per_second(self.ok),
            "chunks": self.chunks,
            "chunks_per_s": per_second(self.chunks),
            "bytes": self.bytes,
            "body_lengths": self.body_lengths.len(),
            "connects": self.connects,
            "cpu_s": cpu_seconds(),
            "latency_us": self.latency.report(),
            "late_us": self.late.report(),
            "ttft_us": self.ttft.report(),
            "gap_us": self.gap.report(),
            "transit_us": self.transit.report(),
        })
    }
}

/// CPU time of this process (it has one thread), as the scheduler counts it.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let ns = text.split(' ').next().and_then(|field| field.parse::<u64>().ok());
    ns.unwrap_or(0) as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn quantiles_are_right_within_half_a_percent() {
        let mut h = Histogram::default();
        (1..=100_000u64).for_each(|v| h.add(v * 1_000));
        for (q, wanted) in [(0.5, 5e7), (0.99, 9.9e7), (1.0, 1e8)] {
            let got = h.quantile(q);
            assert!((got - wanted).abs() < wanted * 0.005, "{q}: {got}");
        }
    }

    #[test]
    fn every_value_has_a_bucket_near_it() {
        let mut h = Histogram::default();
        for shift in 0..64 {
            let value = 1u64 << shift;
            let middle = Histogram::value(Histogram::bucket(value));
            assert!((middle - value as f64).abs() <= value as f64 / 256.0, "{value}: {middle}");
            h.buckets[Histogram::bucket(value + (value - 1))] += 1;
        }
        assert_eq!(Histogram::default().quantile(0.5), 0.0);
    }
}
