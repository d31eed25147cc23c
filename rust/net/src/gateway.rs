//! Gateway: the snapshot in force, the keys, the live backends; where every call is opened.
//!
//! Law: a call reads one snapshot, taken at admission. A swap replaces it whole; what is live (loads, idle connections,
//! breakers) stays with a backend as long as its address does. Nothing here is locked across an await.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use levada_core::auth::{self, Digest, Key};
use levada_core::refusal::{Kind, Refusal};
use levada_core::request::{self, Endpoint};
use levada_core::retry::Budget;
use levada_core::snapshot::{Backend, Snapshot};
use levada_core::{bounds, json};

use crate::call::{Call, Plan};
use crate::client::Dialer;
use crate::front;
use crate::load::Load;
use crate::metrics::{Metrics, ModelMetrics};
use crate::records::Records;
use crate::routes::Route;
use crate::tally::Tally;
use crate::tls;

/// A snapshot with the live things that belong to it, in the snapshot's order.
#[derive(Debug)]
pub struct Current {
    /// What the operator wrote, compiled.
    pub snapshot: Snapshot,
    /// One for each backend.
    pub loads: Vec<Arc<Load>>,
    /// One for each model.
    pub models: Vec<Arc<ModelMetrics>>,
    tls: Option<Arc<rustls::ServerConfig>>,
}

/// The engine.
#[derive(Debug)]
pub struct Gateway {
    current: ArcSwap<Current>,
    keys: papaya::HashMap<Digest, Arc<Key>>,
    metrics: Metrics,
    records: Records,
    retries: Retries,
    ready: AtomicBool,
    cutting: AtomicBool,
}

/// Who calls, as far as the headers say.
#[derive(Debug, Clone)]
pub struct Caller {
    key: Option<Arc<Key>>,
    body_limit: usize,
}

impl Caller {
    /// The largest body it may send.
    #[must_use]
    pub fn body_limit(&self) -> usize {
        self.body_limit
    }

    /// The key's id; nothing on an open path.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key.as_deref().map(|key| &*key.id)
    }
}

/// The retry budget, fed without a lock.
#[derive(Debug)]
pub struct Retries {
    calls: AtomicU64,
    budget: Mutex<Budget>,
    born: Instant,
}

impl Retries {
    /// A call has begun: it earns its share of a retry.
    pub fn called(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    /// Takes one retry, if the budget has it.
    pub fn may_retry(&self) -> bool {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        budget.deposit(self.calls.swap(0, Relaxed));
        budget.withdraw(now)
    }
}

impl Gateway {
    /// An engine with this snapshot and no keys.
    ///
    /// # Errors
    /// Every problem of the snapshot.
    pub fn new(snapshot: &[u8]) -> Result<Arc<Self>, Vec<String>> {
        let snapshot = Snapshot::parse(snapshot)?;
        let metrics = Metrics::default();
        let budget = Budget::new(snapshot.retry_ratio, snapshot.retry_per_second);
        let current = compile(snapshot, None, &metrics)?;
        Ok(Arc::new(Self {
            current: ArcSwap::from_pointee(current),
            keys: papaya::HashMap::new(),
            metrics,
            records: Records::default(),
            retries: Retries { calls: AtomicU64::new(0), budget: Mutex::new(budget), born: Instant::now() },
            ready: AtomicBool::new(false),
            cutting: AtomicBool::new(false),
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
        let next = compile(snapshot, Some(&self.current.load()), &self.metrics)?;
        *self.retries.budget.lock().unwrap_or_else(PoisonError::into_inner) = budget;
        self.current.store(Arc::new(next));
        Ok(version)
    }

    /// Adds, changes and removes keys; how many there are afterwards.
    ///
    /// # Errors
    /// Every problem of the document; nothing is changed then.
    pub fn change_keys(&self, document: &[u8]) -> Result<usize, Vec<String>> {
        let changes = auth::changes(document)?;
        let keys = self.keys.pin();
        if changes.replace {
            let staying: std::collections::HashSet<Digest> =
                changes.set.iter().map(|(digest, _)| *digest).collect();
            keys.retain(|digest, _| staying.contains(digest));
        }
        if !changes.remove.is_empty() {
            keys.retain(|_, key| !changes.remove.iter().any(|id| **id == *key.id));
        }
        for (digest, key) in changes.set {
            keys.insert(digest, Arc::new(key));
        }
        self.metrics.keys.set(i64::try_from(keys.len()).unwrap_or(i64::MAX));
        Ok(keys.len())
    }

    /// What a probe saw of a backend.
    pub fn report(&self, backend: &str, up: bool) {
        let current = self.current.load();
        let found = current.snapshot.backends.iter().position(|known| *known.name == *backend);
        if let Some(load) = found.and_then(|index| current.loads.get(index)) {
            load.report(up, &current.snapshot.breaker);
        }
    }

    /// Whether the engine answers this path itself.
    #[must_use]
    pub fn serves(path: &str) -> bool {
        Route::of(path) != Route::Unknown
    }

    /// The front check for a door whose server has parsed the request: the method, when nothing is wrong.
    ///
    /// # Errors
    /// The refusal, as a call.
    pub fn receive(self: &Arc<Self>, method: &str, path: &str, headers: &HeaderMap) -> Result<Method, Call> {
        front::check_parsed(method, path, headers, Self::serves(path))
            .map_err(|refusal| self.refuse(headers, refusal))
    }

    /// Says who calls, by the headers alone.
    ///
    /// # Errors
    /// The refusal, as a call.
    pub fn authenticate(
        self: &Arc<Self>,
        _method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Caller, Call> {
        let current = self.current.load();
        let body_limit = current.snapshot.body_bytes;
        if matches!(path, "/livez" | "/readyz" | "/health" | "/ready") {
            return Ok(Caller { key: None, body_limit: 0 });
        }
        match self.key(&current.snapshot, headers) {
            Ok(key) => Ok(Caller { key: Some(key), body_limit }),
            Err(refusal) => Err(self.refuse(headers, refusal)),
        }
    }

    fn key(&self, snapshot: &Snapshot, headers: &HeaderMap) -> Result<Arc<Key>, Refusal> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let presented = match (values.next(), values.next()) {
            (None, _) => return Err(Refusal::of(Kind::NoKey)),
            (Some(_), Some(_)) => return Err(Refusal::of(Kind::TwoAuthorizations)),
            (Some(value), None) => auth::bearer(value.as_bytes()).ok_or_else(|| Refusal::of(Kind::NoKey))?,
        };
        let digest = snapshot.pepper.digest(presented);
        let found = self.keys.pin().get(&digest).map(Arc::clone);
        // Unknown, revoked and expired are one answer: it tells nothing about keys that exist.
        found.filter(|key| key.expires.is_none() || !key.expired(unix())).ok_or_else(|| {
            Refusal::of(Kind::BadKey)
                .message(format!("Incorrect API key provided: {}.", auth::mask(presented)))
        })
    }

    /// Opens a call: everything is decided, nothing is sent yet.
    pub fn open(
        self: &Arc<Self>,
        caller: Caller,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Call {
        let mut tally = Tally::open(Arc::clone(self), request_id(headers));
        tally.key = caller.key.as_ref().map(|key| Arc::clone(&key.id));
        let route = Route::of(path);
        if !route.takes(method) {
            return Call::refused(tally, misdirected(&route, method, path));
        }
        match route {
            Route::Inference(endpoint) => match self.admit(&caller, &mut tally, endpoint, body) {
                Ok(plan) => Call::planned(tally, plan),
                Err(refusal) => Call::refused(tally, refusal),
            },
            Route::Models => Call::answered(tally, 200, self.models(&caller)),
            Route::Model(name) => match self.model(&caller, &name) {
                Ok(body) => Call::answered(tally, 200, body),
                Err(refusal) => Call::refused(tally, refusal),
            },
            Route::Live => Call::answered(tally, 200, Bytes::from_static(b"{\"status\":\"ok\"}")),
            Route::Ready if self.ready.load(Relaxed) => {
                Call::answered(tally, 200, Bytes::from_static(b"{\"status\":\"ready\"}"))
            }
            Route::Ready => Call::answered(tally, 503, Bytes::from_static(b"{\"status\":\"not ready\"}")),
            Route::Unknown => Call::refused(tally, misdirected(&Route::Unknown, method, path)),
        }
    }

    /// A call that is refused for what the door itself has noticed.
    pub fn refuse(self: &Arc<Self>, headers: &HeaderMap, refusal: Refusal) -> Call {
        Call::refused(Tally::open(Arc::clone(self), request_id(headers)), refusal)
    }

    /// Admission, one step a line: size, parse, model, permission.
    fn admit(
        &self,
        caller: &Caller,
        tally: &mut Tally,
        endpoint: Endpoint,
        body: Bytes,
    ) -> Result<Plan, Refusal> {
        let current = self.current.load_full();
        tally.endpoint = Some(endpoint);
        if body.len() > caller.body_limit {
            return Err(too_large(caller.body_limit, body.len()));
        }
        let request = request::read(endpoint, &body)?;
        tally.stream = request.stream;
        let model = permitted(caller, &current.snapshot, &request.model)?;
        tally.model = current
            .snapshot
            .models
            .get(model)
            .map(|found| &found.name)
            .cloned()
            .zip(current.models.get(model).cloned());
        Ok(Plan { current, model, endpoint, request, body })
    }

    fn models(&self, caller: &Caller) -> Bytes {
        let current = self.current.load();
        let Some(key) = caller.key.as_ref().filter(|key| key.models.is_some()) else {
            return current.snapshot.list().clone();
        };
        let mut list = br#"{"object":"list","data":["#.to_vec();
        for model in current.snapshot.models.iter().filter(|model| key.permits(&model.name)) {
            if !list.ends_with(b"[") {
                list.push(b',');
            }
            list.extend_from_slice(&model.listed);
        }
        list.extend_from_slice(b"]}");
        list.into()
    }

    fn model(&self, caller: &Caller, name: &str) -> Result<Bytes, Refusal> {
        let current = self.current.load();
        let index = permitted(caller, &current.snapshot, name)?;
        current.snapshot.models.get(index).map(|model| model.listed.clone()).ok_or_else(|| not_found(name))
    }

    /// The TLS configuration of the public listener now in force.
    #[must_use]
    pub fn server_tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.current.load().tls.clone()
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The newest records.
    #[must_use]
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// The retry budget.
    #[must_use]
    pub fn budget(&self) -> &Retries {
        &self.retries
    }

    /// Whether `/readyz` says yes.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Relaxed);
        if !ready {
            self.metrics.set("draining", 1.0);
        }
    }

    /// From now on, calls that end without a word were cut by a shutdown.
    pub fn cut(&self) {
        self.cutting.store(true, Relaxed);
    }

    /// Whether a shutdown no longer waits.
    #[must_use]
    pub fn is_cutting(&self) -> bool {
        self.cutting.load(Relaxed)
    }

    /// Closes backend connections that have been idle too long; to be called every second.
    pub fn sweep(&self) {
        for load in &self.current.load().loads {
            load.dialer.sweep();
        }
    }
}

/// The index of a model that exists and that the caller may use.
fn permitted(caller: &Caller, snapshot: &Snapshot, name: &str) -> Result<usize, Refusal> {
    let index = snapshot.position(name).ok_or_else(|| not_found(name))?;
    if caller.key.as_ref().is_some_and(|key| !key.permits(name)) {
        let words = format!("This key does not have access to the model `{name}`.");
        return Err(Refusal::of(Kind::ModelForbidden).message(words));
    }
    Ok(index)
}

fn not_found(name: &str) -> Refusal {
    let shown: String = name.chars().take(bounds::MODEL_NAME_BYTES).collect();
    let words = format!("The model `{shown}` does not exist or you do not have access to it.");
    Refusal::of(Kind::ModelNotFound).message(words)
}

/// The refusal for a body over the limit.
#[must_use]
pub fn too_large(limit: usize, got: usize) -> Refusal {
    Refusal::of(Kind::BodyTooLarge)
        .message(format!("Maximum content size limit ({limit}) exceeded ({got} bytes read)"))
}

fn misdirected(route: &Route, method: &Method, path: &str) -> Refusal {
    let shown: String = path.chars().take(bounds::MODEL_NAME_BYTES).collect();
    match route.methods() {
        "" => Refusal::of(Kind::RouteNotFound).message(format!("Invalid URL ({method} {shown})")),
        methods => Refusal::of(Kind::MethodNotAllowed)
            .message(format!(
                "Not allowed to {method} on {shown}. (HINT: Perhaps you meant to use a different HTTP method?)"
            ))
            .allow(methods),
    }
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
        None => format!("req_{:032x}", fastrand::u128(..)).into(),
    }
}

fn unix() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// A snapshot with its live side; what was live before stays with the backends that did not move.
fn compile(snapshot: Snapshot, before: Option<&Current>, metrics: &Metrics) -> Result<Current, Vec<String>> {
    let mut problems = Vec::new();
    let mut loads = Vec::with_capacity(snapshot.backends.len());
    for (index, backend) in snapshot.backends.iter().enumerate() {
        let kept = before.and_then(|before| {
            let at = before.snapshot.backends.iter().position(|old| same_place(old, backend))?;
            before.loads.get(at).cloned()
        });
        let load = match kept {
            Some(load) => Ok(load),
            None => dialer(backend).map(|dialer| Arc::new(Load::new(dialer, metrics.backend(&backend.name)))),
        };
        match load {
            Ok(load) => loads.push(load),
            Err(problem) => problems.push(format!("backends[{index}]: {problem}")),
        }
    }
    let tls = match &snapshot.tls {
        None => None,
        Some(pair) => match tls::server(&pair.certificate, pair.key.reveal()) {
            Ok(config) => Some(config),
            Err(problem) => {
                problems.push(format!("tls: {problem}"));
                None
            }
        },
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let models = snapshot.models.iter().map(|model| Arc::new(metrics.model(&model.name))).collect();
    Ok(Current { snapshot, loads, models, tls })
}

fn same_place(old: &Backend, new: &Backend) -> bool {
    (&old.name, old.secure, &old.host, old.port, old.verify, &old.ca)
        == (&new.name, new.secure, &new.host, new.port, new.verify, &new.ca)
}

fn dialer(backend: &Backend) -> Result<Dialer, String> {
    let tls = if backend.secure { Some(tls::client(backend.ca.as_deref(), backend.verify)?) } else { None };
    Dialer::new(&backend.host, backend.port, tls)
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
