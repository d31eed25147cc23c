//! Gateway: the snapshot in force, the keys, the live backends; where every call is opened.
//!
//! Law: a call reads one snapshot, taken at admission. A swap replaces it whole; what is live (loads, idle connections,
//! breakers) stays with a backend as long as its address does. Nothing here is locked across an await.

pub mod refusals;
mod reserve;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use levada_core::chunk::Style;
use levada_core::endpoint::{Endpoint, Form};
use levada_core::profile::{Profile, SchemaFallback};
use levada_core::refusal::{Kind, Refusal};
use levada_core::request::{self, Request};
use levada_core::retry::Budget;
use levada_core::snapshot::Snapshot;
use levada_core::{ability, bounds, form, json};

use crate::books::Books;
use crate::bring::JSON;
use crate::call::Call;
use crate::cors::Grant;
use crate::current::{Current, compile};
use crate::front;
use crate::journal::Journal;
use crate::keys::{Caller, Keys, Last};
use crate::limits::{Denied, Limits};
use crate::metrics::Metrics;
use crate::plan::Plan;
use crate::routes::{Route, Target};
use crate::tally::Tally;
use crate::tls;
use crate::waiting::Waiting;
use refusals::{misdirected, not_found, permitted, refused, too_large};

/// How often a shutdown looks whether the last call has ended.
const LOOK: Duration = Duration::from_millis(20);

/// The engine.
#[derive(Debug)]
pub struct Gateway {
    current: ArcSwap<Current>,
    keys: Keys,
    limits: Limits,
    books: Arc<Books>,
    ready: AtomicBool,
}

impl Gateway {
    /// An engine with this snapshot, this journal, these limits and no keys.
    ///
    /// # Errors
    /// Every problem of the snapshot.
    pub fn new(snapshot: &[u8], journal: Arc<Journal>, limits: Limits) -> Result<Arc<Self>, Vec<String>> {
        let snapshot = Snapshot::parse(snapshot)?;
        let metrics = Metrics::default();
        let budget = Budget::new(snapshot.retry_ratio, snapshot.retry_per_second);
        let current = compile(snapshot, None, &metrics)?;
        Ok(Arc::new(Self {
            current: ArcSwap::from_pointee(current),
            keys: Keys::default(),
            limits,
            books: Arc::new(Books::new(metrics, budget, journal)),
            ready: AtomicBool::new(false),
        }))
    }

    /// Puts another snapshot in force for the calls to come; its version.
    ///
    /// # Errors
    /// Every problem of the snapshot; the one before stays.
    pub fn swap(&self, snapshot: &[u8]) -> Result<u64, Vec<String>> {
        let snapshot = Snapshot::parse(snapshot)?;
        let version = snapshot.version;
        let budget = Budget::new(snapshot.retry_ratio, snapshot.retry_per_second);
        let next = compile(snapshot, Some(&self.current.load()), &self.books.metrics)?;
        self.books.retries.replace(budget);
        self.current.store(Arc::new(next));
        Ok(version)
    }

    /// Adds, changes and removes keys; how many there are afterwards.
    ///
    /// # Errors
    /// Every problem of the document; nothing is changed then.
    pub fn change_keys(&self, document: &[u8]) -> Result<usize, Vec<String>> {
        let count = self.keys.change(document)?;
        self.books.metrics.keys.set(i64::try_from(count).unwrap_or(i64::MAX));
        Ok(count)
    }

    /// How often a token has named a signing key that nobody knows.
    #[must_use]
    pub fn unknown_kids(&self) -> u64 {
        self.keys.unknown_kids()
    }

    /// What a probe saw of a backend.
    pub fn report(&self, backend: &str, up: bool) {
        let current = self.current.load();
        let found = current.snapshot.backends.iter().position(|known| *known.name == *backend);
        if let Some(load) = found.and_then(|index| current.loads.get(index)) {
            load.report(up, &current.snapshot.breaker);
        }
    }

    /// What a request for `path`, which has no query, is aimed at.
    #[must_use]
    pub fn target(&self, host: Option<&str>, path: &str) -> Target {
        Target::of(self.current.load().snapshot.hosts.at(host), path)
    }

    /// The place in the snapshot of the profile that holds for `host`.
    #[must_use]
    pub fn profile(&self, host: Option<&str>) -> usize {
        self.current.load().snapshot.hosts.place(host)
    }

    /// The front check for a door whose server has parsed the request: method and target, when nothing is wrong.
    ///
    /// # Errors
    /// The refusal, as a call.
    pub fn receive(
        self: &Arc<Self>,
        method: &str,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(Method, Target), Call> {
        let target = self.target(front::host_named(None, headers), path);
        match front::check_parsed(method, path, headers, &target.route) {
            Ok(method) => Ok((method, target)),
            Err(refusal) => Err(self.refuse(&target, headers, refusal)),
        }
    }

    /// Says who calls, by the headers alone, on a connection that presented `last` before.
    ///
    /// # Errors
    /// The refusal, as a call; or the answer to a preflight, which has no key.
    pub fn authenticate(
        self: &Arc<Self>,
        method: &Method,
        target: Target,
        headers: &HeaderMap,
        last: &Last,
    ) -> Result<Caller, Call> {
        let current = self.current.load();
        let grant = Grant::of(&current.snapshot.origins, headers);
        if let Some(told) = grant.and_then(|grant| grant.preflight(method, &target.route, headers)) {
            return Err(Call::preflight(self.begin(headers), told));
        }
        if target.route.is_open() {
            return Ok(Caller { key: None, target, body_limit: 0 });
        }
        match self.keys.presented(&current, headers, target.route.dialect(), last) {
            Ok(key) => {
                let body_limit = current.snapshot.body_limit(&target.profile);
                Ok(Caller { key: Some(key), target, body_limit })
            }
            Err(refusal) => Err(self.refuse(&target, headers, refusal)),
        }
    }

    /// Opens a call: everything is decided, nothing is sent yet.
    pub fn open(
        self: &Arc<Self>,
        caller: &Caller,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Call {
        let mut tally = self.begin(headers);
        tally.key = caller.key.as_ref().map(|key| Arc::clone(&key.id));
        let target = &caller.target;
        // What is not admitted is told all the same.
        if !matches!(target.route, Route::Inference(_)) {
            tally.standing = self.standing(caller, &tally);
        }
        if !target.route.takes(method) {
            return refused(tally, misdirected(&target.route, method, path), target);
        }
        match &target.route {
            Route::Inference(endpoint) => {
                match self.admit(caller, &mut tally, *endpoint, path, headers, body.clone(), false) {
                    Ok(plan) => Call::planned(tally, plan),
                    Err(Denied::Short(ticket)) => {
                        let waiting = Waiting::new(self, caller, *endpoint, path, headers, body, ticket);
                        Call::waiting(tally, waiting)
                    }
                    Err(Denied::Refused(refusal)) => {
                        tally.standing = self.standing(caller, &tally);
                        refused(tally, refusal, target)
                    }
                }
            }
            Route::Models => Call::answered(tally, 200, self.models(caller)),
            Route::Model(name) => match self.model(caller, name) {
                Ok(body) => Call::answered(tally, 200, body),
                Err(refusal) => refused(tally, refusal, target),
            },
            Route::Live => Call::answered(tally, 200, Bytes::from_static(b"{\"status\":\"ok\"}")),
            Route::Ready if self.ready.load(Relaxed) => {
                Call::answered(tally, 200, Bytes::from_static(b"{\"status\":\"ready\"}"))
            }
            Route::Ready => Call::answered(tally, 503, Bytes::from_static(b"{\"status\":\"not ready\"}")),
            Route::Unknown => refused(tally, misdirected(&Route::Unknown, method, path), target),
        }
    }

    /// A call that the app has answered: not one of a model, and in no ledger.
    pub fn answer(&self, caller: &Caller, headers: &HeaderMap, body: Bytes) -> Call {
        let mut tally = self.begin(headers);
        tally.key = caller.key.as_ref().map(|key| Arc::clone(&key.id));
        Call::answered(tally, 200, body)
    }

    /// A call that is refused for what its head says, or for what the door itself has noticed.
    pub fn refuse(self: &Arc<Self>, target: &Target, headers: &HeaderMap, refusal: Refusal) -> Call {
        refused(self.begin(headers), refusal, target)
    }

    /// The account of a call, opened with what its head says.
    fn begin(&self, headers: &HeaderMap) -> Box<Tally> {
        let grant = Grant::of(&self.current.load().snapshot.origins, headers);
        Tally::open(Arc::clone(&self.books), request_id(headers), grant)
    }

    /// Admission, one step a line: size, profile, parse, model, permission, ability, limits.
    fn admit(
        &self,
        caller: &Caller,
        tally: &mut Tally,
        endpoint: Endpoint,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
        last: bool,
    ) -> Result<Box<Plan>, Denied> {
        let current = self.current.load_full();
        tally.endpoint = Some(endpoint);
        if body.len() > caller.body_limit {
            return Err(too_large(caller.body_limit, Some(body.len() as u64)).into());
        }
        let (snapshot, profile) = (&current.snapshot, &caller.target.profile);
        let rules =
            profile.rules(endpoint).ok_or_else(|| misdirected(&Route::Unknown, &Method::POST, path))?;
        front::check_media(headers, endpoint.form())?;
        let content_type = content_type(endpoint, headers);
        let mut request = match endpoint.form() {
            Form::Json => request::read(profile, rules, &body)?,
            Form::Multipart => {
                let boundary = content_type.to_str().ok().and_then(form::boundary);
                let boundary = boundary.ok_or_else(|| Refusal::of(Kind::BadForm))?;
                request::read_form(profile, rules, boundary, &body)?
            }
        };
        tally.stream = request.stream;
        let index = match &request.model {
            Some(name) => permitted(caller, snapshot, name)?,
            None => {
                let index = snapshot.default_at(endpoint);
                let model = index.and_then(|index| snapshot.models.get(index));
                permitted(caller, snapshot, &model.ok_or_else(|| Refusal::of(Kind::MissingModel))?.name)?
            }
        };
        let model = snapshot.models.get(index).ok_or_else(|| Refusal::of(Kind::Internal))?;
        tally.model = Some(Arc::clone(&model.name)).zip(current.models.get(index).cloned());
        ability::check(&model.abilities, endpoint, &model.name, &request.needs)?;
        if rules.checks.images {
            ability::check_images(&model.abilities, &model.name, &body)?;
        }
        let loosened = model.abilities.json_schema == Some(false) && loosen(profile, &mut request)?;
        if let Some(key) = &caller.key {
            let asked = reserve::asked(caller, key, Some(endpoint), snapshot, Some(model), tally);
            self.reserve(asked, endpoint, tally, &mut request, &body, last)?;
        }
        tally.characters = request.characters;
        if matches!(endpoint, Endpoint::Images | Endpoint::ImageEdits) {
            tally.images = request.n;
        }
        tally.charge_prompt = current.snapshot.charge_prompt;
        // The last step: what is written down as begun is on its way.
        if !tally.write_down() {
            if let Some(reserved) = tally.reserved.take() {
                reserved.abort();
            }
            return Err(Refusal::of(Kind::Unavailable).into());
        }
        let style = Style {
            fingerprint: rules.fingerprint,
            cache_counters: rules.cache_counters,
            one_call: request.one_call,
            both_reasonings: rules.both_reasonings,
            ..Style::default()
        };
        let profile = Arc::clone(profile);
        let plan =
            Plan { model: index, endpoint, request, body, content_type, style, loosened, current, profile };
        Ok(Box::new(plan))
    }

    fn models(&self, caller: &Caller) -> Bytes {
        let current = self.current.load();
        let listed = |place: usize, name: &str| {
            caller.key.as_ref().is_none_or(|key| key.permits(name))
                && current.lists(&caller.target.profile, place)
        };
        let mut list = br#"{"object":"list","data":["#.to_vec();
        for (place, model) in current.snapshot.models.iter().enumerate() {
            if !listed(place, &model.name) {
                continue;
            }
            if !list.ends_with(b"[") {
                list.push(b',');
            }
            list.extend_from_slice(model.listed(&caller.target.profile));
        }
        list.extend_from_slice(b"]}");
        list.into()
    }

    fn model(&self, caller: &Caller, name: &str) -> Result<Bytes, Refusal> {
        let current = self.current.load();
        let index = permitted(caller, &current.snapshot, name)?;
        let profile = &caller.target.profile;
        let model = current.snapshot.models.get(index).filter(|_| current.lists(profile, index));
        model.map(|model| model.listed(profile).clone()).ok_or_else(|| not_found(profile, name))
    }

    /// The TLS configuration for a URL: none without TLS, its backend's own, or the system's roots.
    ///
    /// # Errors
    /// The roots cannot be read.
    pub fn client_tls(&self, url: &str) -> Result<Option<Arc<rustls::ClientConfig>>, String> {
        let Some(rest) = url.strip_prefix("https://") else { return Ok(None) };
        let place = rest.split('/').next().unwrap_or_default();
        let current = self.current.load();
        let mut known = current.snapshot.backends.iter().zip(&current.loads);
        match known.find(|(backend, _)| backend.secure && *backend.authority == *place) {
            Some((_, load)) => Ok(load.dialer.tls()),
            None => tls::client(None, true).map(Some),
        }
    }

    /// The TLS configuration of the public listener now in force.
    #[must_use]
    pub fn server_tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.current.load().tls.clone()
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.books.metrics
    }

    /// Where every call that is admitted is written down.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.books.journal
    }

    /// Whether `/readyz` says yes.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Relaxed);
        if !ready {
            self.books.metrics.set("draining", 1.0);
        }
    }

    /// From now on, calls that end without a word were cut by a shutdown; those still under way are.
    pub fn cut(&self) {
        self.books.cut();
    }

    /// Done when a shutdown no longer waits.
    pub fn cutting(&self) -> impl Future<Output = ()> + Send + use<> {
        self.books.cutting()
    }

    /// Done when no call is under way, or after `grace`.
    pub async fn ended(&self, grace: Duration) {
        let none = async {
            while self.books.metrics.in_flight.get() > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        // The time only bounds the wait: what still runs then is cut.
        let _ = tokio::time::timeout(grace, none).await;
    }

    /// Closes backend connections that have been idle too long, and forgets old accounts; to be called every second.
    pub fn sweep(&self) {
        self.sweep_limits();
        for load in &self.current.load().loads {
            load.dialer.sweep();
        }
    }
}

/// What a body is to the backend: the client's word for a form, whose boundary is in it; else JSON.
fn content_type(endpoint: Endpoint, headers: &HeaderMap) -> HeaderValue {
    match (endpoint.form(), headers.get(header::CONTENT_TYPE)) {
        (Form::Multipart, Some(value)) => value.clone(),
        _ => JSON,
    }
}

/// What becomes of a JSON Schema that the model cannot keep to; whether any JSON is asked for instead.
fn loosen(profile: &Profile, request: &mut Request) -> Result<bool, Refusal> {
    match profile.schema_fallback {
        SchemaFallback::None => Ok(false),
        SchemaFallback::JsonObject => Ok(request.loosen()),
        SchemaFallback::Reject if request.schema.is_none() => Ok(false),
        SchemaFallback::Reject => {
            let words = "Invalid value for 'response_format': this model does not support a JSON schema.";
            Err(Refusal::of(Kind::InvalidValue).message(words).param("response_format"))
        }
    }
}

/// A request id of 32 hexadecimal digits; every call needs one, and `format!` takes three times as long.
fn new_id(random: u128) -> Box<str> {
    const PREFIX: &str = "req_";
    let mut id = String::with_capacity(PREFIX.len() + 32);
    id.push_str(PREFIX);
    let halves = [(random >> 64) as u64, random as u64];
    for half in halves {
        id.extend((0..16).rev().filter_map(|place| char::from_digit((half >> (4 * place)) as u32 & 15, 16)));
    }
    id.into()
}

/// The client's own request id when it is harmless, else a new one.
fn request_id(headers: &HeaderMap) -> Box<str> {
    let given = headers.get("x-request-id").and_then(|value| value.to_str().ok()).filter(|id| {
        !id.is_empty()
            && id.len() <= bounds::REQUEST_ID_BYTES
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    });
    match given {
        Some(id) => id.into(),
        None => new_id(fastrand::u128(..)),
    }
}

/// What a control-plane report says.
///
/// # Errors
/// It is not the JSON object of the boundary.
pub fn is_up(report: &[u8]) -> Result<bool, Vec<String>> {
    let mut up = None;
    let read = json::Scanner::new(report).object::<json::Wrong>(|key, scanner| {
        let (kind, _) = scanner.value()?;
        if let (true, json::Kind::Bool(value)) = (key.is("up"), kind) {
            up = Some(value);
        }
        Ok(())
    });
    match (read, up) {
        (Ok(_), Some(up)) => Ok(up),
        _ => Err(vec!["health: expected an object with a boolean 'up'".to_owned()]),
    }
}
