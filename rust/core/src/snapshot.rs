//! All that the data plane reads: backends, models, deadlines and limits, from one JSON document.
//!
//! Law: immutable once read, swapped whole; a call reads one snapshot from beginning to end. A document with one
//! problem is refused with all its problems, and none of them repeats a secret.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::auth::Pepper;
use crate::counts::{self, Counts};
use crate::endpoint::Endpoint;
use crate::hosts::{self, Hosts};
use crate::jwt::Issuer;
use crate::lacks::{self, Lacks};
use crate::limit::{self, Rule};
use crate::profile::Profile;
use crate::{bounds, breaker};
use document::{Fields, optional_texts};
use url::PATH;

pub use models::{Member, Model};

pub(crate) mod document;
mod models;
pub(crate) mod url;

/// A text that never shows itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// The text, for the wire only.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// What the data plane knows, at one version.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Counted up by the control plane.
    pub version: u64,
    /// Digests presented keys.
    pub pepper: Pepper,
    /// Whether keys that are no tokens count.
    pub allow_opaque: bool,
    /// Whose tokens count.
    pub issuers: Vec<Issuer>,
    /// In the document's order; pools name them by index.
    pub backends: Vec<Backend>,
    /// In the document's order.
    pub models: Vec<Model>,
    /// How long each stage of a call may take.
    pub deadlines: Deadlines,
    /// The largest request body, where the operator says it for every profile.
    pub body_bytes: Option<usize>,
    /// The largest event of a stream.
    pub event_bytes: usize,
    /// A client that leaves before the first token pays for the prompt, where its tokens are known.
    pub charge_prompt: bool,
    /// Retries allowed per call.
    pub retry_ratio: f64,
    /// Retries allowed per second besides.
    pub retry_per_second: f64,
    /// When a backend is left alone.
    pub breaker: breaker::Rules,
    /// Certificate of the public listener.
    pub tls: Option<Tls>,
    /// What is promised to clients, by the host that they ask at.
    pub hosts: Hosts,
    /// The origins whose pages may ask; "*" is any.
    pub origins: Vec<Box<str>>,
    /// How much all keys of a tenant may use together; "*": of each that is not named.
    pub tenants: HashMap<Box<str>, Vec<Rule>>,
    /// How much all keys of a project may use together.
    pub projects: HashMap<Box<str>, Vec<Rule>>,
    index: HashMap<Arc<str>, usize>,
}

/// One upstream address.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Its name in pools, records, metrics and logs.
    pub name: Arc<str>,
    /// Whether it is spoken to over TLS.
    pub secure: bool,
    /// Name or address to connect to, an IPv6 address without brackets.
    pub host: Box<str>,
    /// Port to connect to.
    pub port: u16,
    /// The `Host` header: with the port unless it is the scheme's own, an IPv6 address in brackets.
    pub authority: Box<str>,
    /// Prefix of every path: "" or "/v1".
    pub path: Box<str>,
    /// Its bearer key.
    pub key: Option<Secret>,
    /// Whether its certificate is verified.
    pub verify: bool,
    /// PEM of the authority that signed its certificate, in place of the system's.
    pub ca: Option<Box<str>>,
    /// What it cannot do.
    pub lacks: Lacks,
    /// When it tells what an answer has cost so far.
    pub counts: Counts,
}

/// How long each stage of a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// TCP and TLS to a backend.
    pub connect: Duration,
    /// From the request written to the first byte of the answer.
    pub first_byte: Duration,
    /// Between two events or pieces of an answer.
    pub idle: Duration,
    /// The whole call.
    pub total: Duration,
}

/// Certificate of the public listener.
#[derive(Debug, Clone)]
pub struct Tls {
    /// PEM of the chain.
    pub certificate: Box<str>,
    /// PEM of the private key.
    pub key: Secret,
}

/// A deadline in seconds: from a millisecond to a week.
const SECONDS: RangeInclusive<f64> = 0.001..=604_800.0;
/// A body or an event is held in memory: up to 1 GiB.
const HELD_BYTES: RangeInclusive<u64> = 1..=1 << 30;

const NAME: &str = "must be a name of 1 to 256 bytes without control characters";
const KEY: &str = "must be printable ASCII or null";
const CERTIFICATE: &str = "must be PEM with a certificate";

impl Snapshot {
    /// Reads the document.
    ///
    /// # Errors
    /// Every problem with its path.
    pub fn parse(json: &[u8]) -> Result<Self, Vec<String>> {
        let value: Value = serde_json::from_slice(json).map_err(|error| vec![document::fault(&error)])?;
        let mut problems = Vec::new();
        let snapshot = Fields::open(value, String::new(), &mut problems).and_then(root);
        match snapshot {
            Some(snapshot) if problems.is_empty() => Ok(snapshot),
            _ => Err(problems),
        }
    }

    /// The model that clients call `name`.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&Model> {
        self.models.get(self.position(name)?)
    }

    /// The place of the model that clients call `name` in [`Self::models`].
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// The place of the model that is meant at an endpoint when none is named.
    #[must_use]
    pub fn default_at(&self, endpoint: Endpoint) -> Option<usize> {
        let name = endpoint.name();
        self.models.iter().position(|model| model.default_for.iter().any(|one| **one == *name))
    }

    /// The largest request body under a profile.
    #[must_use]
    pub fn body_limit(&self, profile: &Profile) -> usize {
        let usual =
            || usize::try_from(profile.body_bytes.unwrap_or(bounds::BODY_BYTES)).unwrap_or(usize::MAX);
        self.body_bytes.unwrap_or_else(usual)
    }
}

fn root(mut fields: Fields<'_>) -> Option<Snapshot> {
    let version = fields.whole("version", 0..=u64::MAX);
    let auth = fields.section("auth").and_then(auth);
    let hosts = hosts(&mut fields);
    let origins = optional_texts(&mut fields, "origins");
    let (tenants, projects) =
        (limit::accounts(&mut fields, "tenants"), limit::accounts(&mut fields, "projects"));
    let backends = backends(&mut fields);
    let models = models::models(&mut fields, &backends);
    let deadlines = fields.section("deadlines").map(deadlines);
    let limits = fields.section("limits").map(limits);
    let retry = fields.section("retry").map(retry);
    let breaker = fields.section("breaker").map(rules);
    let tls = fields.optional_section("tls").map(tls);
    let charge_prompt = fields.optional_flag("charge_prompt_on_abort").unwrap_or(true);
    fields.done();
    let index = models.iter().enumerate().map(|(at, model)| (Arc::clone(&model.name), at)).collect();
    let ((body_bytes, event_bytes), (retry_ratio, retry_per_second)) = (limits?, retry?);
    let (pepper, allow_opaque, issuers) = auth?;
    Some(Snapshot {
        version,
        pepper,
        allow_opaque,
        issuers,
        backends,
        models,
        deadlines: deadlines?,
        body_bytes,
        event_bytes,
        charge_prompt,
        retry_ratio,
        retry_per_second,
        breaker: breaker?,
        tls,
        hosts: hosts?,
        origins,
        tenants,
        projects,
        index,
    })
}

fn auth(mut fields: Fields<'_>) -> Option<(Pepper, bool, Vec<Issuer>)> {
    let digits =
        fields.text("pepper", |text| Pepper::from_hex(text).is_some(), "must be 64 hexadecimal digits");
    let allow_opaque = fields.optional_flag("allow_opaque").unwrap_or(true);
    let mut issuers = Vec::new();
    for (index, value) in fields.optional_list("jwt").into_iter().enumerate() {
        issuers.extend(fields.element("jwt", index, value).map(Issuer::read));
    }
    fields.done();
    Some((Pepper::from_hex(&digits)?, allow_opaque, issuers))
}

/// The profiles, of which the first is the usual one, and the names that the others hold for.
fn hosts(fields: &mut Fields<'_>) -> Option<Hosts> {
    let mut profiles = Vec::new();
    for (index, value) in fields.list("profiles").into_iter().enumerate() {
        let Some(element) = fields.element("profiles", index, value) else { continue };
        profiles.push(Arc::new(Profile::read(element)));
    }
    let mut named = Vec::new();
    for (name, place) in fields.optional_section("hosts").map(Fields::rest).unwrap_or_default() {
        let place = place.as_u64().and_then(|place| usize::try_from(place).ok());
        match place.filter(|place| *place < profiles.len() && hosts::is_name(&name)) {
            Some(place) => named.push((name.into(), place)),
            None => fields.problem("hosts", "must be names of hosts, each with the place of its profile"),
        }
    }
    let hosts = Hosts::new(profiles, named);
    if hosts.is_none() {
        fields.problem("profiles", "must not be empty");
    }
    hosts
}

fn backends(fields: &mut Fields<'_>) -> Vec<Backend> {
    let mut names = HashSet::new();
    let mut backends = Vec::new();
    for (index, value) in fields.list("backends").into_iter().enumerate() {
        let Some(element) = fields.element("backends", index, value) else { continue };
        backends.push(backend(element, &mut names));
    }
    backends
}

fn backend(mut fields: Fields<'_>, names: &mut HashSet<Arc<str>>) -> Backend {
    let name = unique(&mut fields, names);
    let url = fields.text("url", |text| url::read(text).is_ok(), url::FORM);
    let target = url::read(&url).unwrap_or_default();
    let words = optional_texts(&mut fields, "lacks");
    let lacks = Lacks::of(words.iter().map(|word| &**word));
    if lacks.is_none() {
        fields.problem("lacks", lacks::WORDS);
    }
    let word = |word: &str| Counts::of(word).is_some();
    let counts = fields.optional_text("counts", word, counts::WORDS);
    let backend = Backend {
        name,
        secure: target.secure,
        host: target.host,
        port: target.port,
        authority: target.authority,
        path: fields.text("path", url::is_path, PATH),
        key: fields.optional_text("key", is_key, KEY).map(Secret),
        verify: fields.flag("verify"),
        ca: fields.optional_text("ca", is_certificate, CERTIFICATE),
        lacks: lacks.unwrap_or_default(),
        counts: counts.and_then(|word| Counts::of(&word)).unwrap_or_default(),
    };
    fields.done();
    backend
}

fn deadlines(mut fields: Fields<'_>) -> Deadlines {
    let deadlines = Deadlines {
        connect: duration(&mut fields, "connect"),
        first_byte: duration(&mut fields, "first_byte"),
        idle: duration(&mut fields, "idle"),
        total: duration(&mut fields, "total"),
    };
    fields.done();
    deadlines
}

fn duration(fields: &mut Fields<'_>, name: &str) -> Duration {
    Duration::try_from_secs_f64(fields.number(name, SECONDS)).unwrap_or_default()
}

fn limits(mut fields: Fields<'_>) -> (Option<usize>, usize) {
    let held = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let body = fields.optional_whole("body_bytes", HELD_BYTES);
    let event = fields.whole("event_bytes", HELD_BYTES);
    fields.done();
    (body.map(held), held(event))
}

fn retry(mut fields: Fields<'_>) -> (f64, f64) {
    let ratio = fields.number("ratio", 0.0..=1.0);
    let per_second = fields.number("per_second", 0.0..=1_000_000.0);
    fields.done();
    (ratio, per_second)
}

fn rules(mut fields: Fields<'_>) -> breaker::Rules {
    let failures = fields.whole("failures", 1..=1_000_000);
    let open = duration(&mut fields, "open_seconds");
    fields.done();
    breaker::Rules {
        failures: u32::try_from(failures).unwrap_or(u32::MAX),
        open_ms: u64::try_from(open.as_millis()).unwrap_or(u64::MAX),
    }
}

fn tls(mut fields: Fields<'_>) -> Tls {
    let certificate = fields.text("certificate", is_certificate, CERTIFICATE);
    let key = Secret(fields.text("key", is_private_key, "must be PEM with a private key"));
    fields.done();
    Tls { certificate, key }
}

/// The `name` of an object, which no sibling before it has.
fn unique(fields: &mut Fields<'_>, names: &mut HashSet<Arc<str>>) -> Arc<str> {
    let name: Arc<str> = fields.text("name", is_name, NAME).into();
    if !name.is_empty() && !names.insert(Arc::clone(&name)) {
        fields.problem("name", &format!("'{name}' is there twice"));
    }
    name
}

fn is_name(text: &str) -> bool {
    (1..=bounds::MODEL_NAME_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// What may stand in a header of our own making: a line end here would be a header of somebody else's.
fn is_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn is_certificate(text: &str) -> bool {
    text.contains("-----BEGIN CERTIFICATE-----")
}

fn is_private_key(text: &str) -> bool {
    text.contains("-----BEGIN ") && text.contains("PRIVATE KEY-----")
}
