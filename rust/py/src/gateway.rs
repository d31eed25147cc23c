//! The engine's object: one per worker, made after the fork.
//!
//! Law: it owns the engine's threads and ends them. Work that may take long runs without the interpreter's lock.

use std::io;
use std::net::TcpListener;
use std::os::fd::FromRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use levada_core::refusal::{Kind, Refusal};
use levada_net::edge::Edge;
use levada_net::journal::{Durability, Journal, Terms};
use levada_net::keys::Last;
use levada_net::limits::Limits;
use levada_net::{fetch, gateway, keys};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use tokio::runtime::{Builder, Runtime};

use crate::call::Call;
use crate::clock::clock;
use crate::disk::Folder;
use crate::doors::{Bridge, Finish, Later, Slot};
use crate::error;

/// How often idle backend connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The journal of this worker, in a folder that no other has had.
fn journal(data: &Path, terms: Terms) -> io::Result<Arc<Journal>> {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let name = format!("{now:013}-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
    let disk = Arc::new(Folder(data.join("journal")));
    let journal = Arc::new(Journal::new(disk, &name, terms)?);
    journal.keep()?;
    Ok(journal)
}

/// The limits, whose counts this worker shares with those before and after it.
fn limits(data: &Path) -> io::Result<Limits> {
    let folder = data.join("limits");
    std::fs::create_dir_all(&folder)?;
    Limits::open(Arc::new(Folder(folder)), clock()?)
}

/// Who calls, and what its head said: the body is all that is missing.
#[pyclass(frozen, module = "levada._native")]
pub struct Caller {
    caller: keys::Caller,
    gateway: Py<Gateway>,
    method: Method,
    path: String,
    headers: HeaderMap,
}

#[pymethods]
impl Caller {
    /// The content-length; 0 where there is none.
    #[getter]
    fn announced(&self) -> u64 {
        self.length().unwrap_or_default()
    }

    /// Opens the call with its body; a refusal is one too.
    fn open(&self, py: Python<'_>, body: &Bound<'_, PyBytes>) -> PyResult<Call> {
        let gateway = self.gateway.get();
        let body = Bytes::copy_from_slice(body.as_bytes());
        let call =
            py.detach(|| gateway.engine.open(&self.caller, &self.method, &self.path, &self.headers, body));
        gateway.call(py, call)
    }

    /// The call, answered by the app.
    fn answer(&self, py: Python<'_>, body: &[u8]) -> PyResult<Call> {
        let gateway = self.gateway.get();
        let body = Bytes::copy_from_slice(body);
        gateway.call(py, gateway.engine.answer(&self.caller, &self.headers, body))
    }

    /// The call, refused for what the door has noticed of its body, or the app of its query.
    #[pyo3(signature = (kind, param = None, message = None))]
    fn refuse(
        &self,
        py: Python<'_>,
        kind: &str,
        param: Option<String>,
        message: Option<String>,
    ) -> PyResult<Call> {
        let mut refusal = match kind {
            "body_too_large" => gateway::refusals::too_large(self.caller.body_limit, self.length()),
            "body_timeout" => Refusal::of(Kind::RequestTimeout),
            "bad_framing" => Refusal::of(Kind::BadFraming),
            "missing_parameter" => Refusal::of(Kind::MissingParameter),
            "unknown_parameter" => Refusal::of(Kind::UnknownParameter),
            "invalid_value" => Refusal::of(Kind::InvalidValue),
            "method_not_allowed" => Refusal::of(Kind::MethodNotAllowed).allow("GET, HEAD"),
            "unavailable" => Refusal::of(Kind::Unavailable),
            other => return Err(PyValueError::new_err(format!("no refusal is named '{other}'"))),
        };
        if let Some(message) = message {
            refusal = refusal.message(message);
        }
        if let Some(param) = param {
            refusal = refusal.param(param);
        }
        let gateway = self.gateway.get();
        gateway.call(py, gateway.engine.refuse_caller(&self.caller, &self.headers, refusal))
    }

    /// The key's id; empty on an open path.
    #[getter]
    fn key_id(&self) -> &str {
        self.caller.key_id().unwrap_or_default()
    }

    /// The largest body it may send, in bytes.
    #[getter]
    fn body_limit(&self) -> usize {
        self.caller.body_limit
    }
}

impl Caller {
    fn length(&self) -> Option<u64> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }
}

/// The engine.
#[pyclass(frozen, module = "levada._native")]
pub struct Gateway {
    engine: Arc<gateway::Gateway>,
    runtime: Mutex<Option<Runtime>>,
    bridge: Mutex<Option<Arc<Bridge>>>,
    edge: Mutex<Option<Arc<Edge>>>,
    process: u32,
}

#[pymethods]
impl Gateway {
    #[new]
    #[pyo3(signature = (snapshot, data_dir, threads = 0, power = false, quota = 0, redis = None, replicas = 2))]
    fn new(
        py: Python<'_>,
        snapshot: &[u8],
        data_dir: &str,
        threads: usize,
        power: bool,
        quota: u64,
        redis: Option<&str>,
        replicas: u64,
    ) -> PyResult<Self> {
        if !Path::new(data_dir).is_dir() {
            return Err(PyValueError::new_err(format!("'{data_dir}' is not a directory")));
        }
        let durability = if power { Durability::Power } else { Durability::Process };
        let mut terms = Terms { durability, ..Terms::default() };
        if quota > 0 {
            terms.quota = quota;
        }
        let journal = py.detach(|| journal(Path::new(data_dir), terms)).map_err(error::system)?;
        let limits = py.detach(|| limits(Path::new(data_dir))).map_err(error::system)?;
        let engine = py.detach(|| gateway::Gateway::new(snapshot, journal, limits)).map_err(error::config)?;
        let mut builder = Builder::new_multi_thread();
        if threads > 0 {
            builder.worker_threads(threads);
        }
        let runtime = builder.thread_name("levada").enable_all().build()?;
        if let Some(url) = redis {
            runtime.spawn(engine.share(url, replicas).map_err(PyValueError::new_err)?);
        }
        let swept = Arc::downgrade(&engine);
        runtime.spawn(async move {
            let mut tick = tokio::time::interval(SWEEP);
            loop {
                tick.tick().await;
                let Some(engine) = swept.upgrade() else { return };
                engine.sweep();
            }
        });
        Ok(Self {
            engine,
            runtime: Mutex::new(Some(runtime)),
            bridge: Mutex::default(),
            edge: Mutex::default(),
            process: std::process::id(),
        })
    }

    /// Puts another snapshot in force; its version.
    fn swap(&self, py: Python<'_>, snapshot: &[u8]) -> PyResult<u64> {
        py.detach(|| self.engine.swap(snapshot)).map_err(error::config)
    }

    /// Changes keys; how many there are afterwards.
    fn keys(&self, py: Python<'_>, changes: &[u8]) -> PyResult<usize> {
        py.detach(|| self.engine.change_keys(changes)).map_err(error::config)
    }

    /// Whether limits are shared with other replicas now.
    fn shared(&self) -> bool {
        self.engine.is_shared()
    }

    /// How often a token has named a signing key that nobody knows.
    fn unknown_kids(&self) -> u64 {
        self.engine.unknown_kids()
    }

    /// Who calls, by the headers alone; a refusal is a Call.
    fn authenticate<'py>(
        slf: &Bound<'py, Self>,
        method: &str,
        path: &str,
        headers: &Bound<'py, PyList>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let headers = read_headers(headers)?;
        let admitted = this.engine.receive(method, path, &headers).and_then(|(method, target)| {
            let caller = this.engine.authenticate(&method, target, &headers, &Last::default())?;
            Ok((method, caller))
        });
        match admitted {
            Ok((method, caller)) => {
                let gateway = slf.clone().unbind();
                Ok(Bound::new(py, Caller { caller, gateway, method, path: path.to_owned(), headers })?
                    .into_any())
            }
            Err(call) => Ok(Bound::new(py, this.call(py, call)?)?.into_any()),
        }
    }

    /// Opens a call; a refusal is one too.
    fn open(
        &self,
        py: Python<'_>,
        method: &str,
        path: &str,
        headers: &Bound<'_, PyList>,
        body: &Bound<'_, PyBytes>,
    ) -> PyResult<Call> {
        let headers = read_headers(headers)?;
        let body = Bytes::copy_from_slice(body.as_bytes());
        let call = py.detach(|| {
            let (method, target) = self.engine.receive(method, path, &headers)?;
            let caller = self.engine.authenticate(&method, target, &headers, &Last::default())?;
            Ok(self.engine.open(&caller, &method, path, &headers, body))
        });
        self.call(py, call.unwrap_or_else(|refused| refused))
    }

    /// The place in the snapshot of the profile that holds for a host.
    #[pyo3(signature = (host))]
    fn profile(&self, host: Option<&str>) -> usize {
        self.engine.profile(host)
    }

    /// The first records that are not acknowledged, as JSON lines; and what is damaged.
    fn records<'py>(&self, py: Python<'py>, limit: usize) -> (Bound<'py, PyBytes>, Vec<String>) {
        let lines = py.detach(|| self.engine.journal().records(limit));
        (PyBytes::new(py, &lines.text), lines.damages)
    }

    /// The ledger has the first `count` of the lines that it was given last.
    fn acknowledge(&self, py: Python<'_>, count: usize) {
        py.detach(|| self.engine.journal().acknowledge(count));
    }

    /// What a probe saw of a backend.
    fn report(&self, backend: &str, health: &[u8]) -> PyResult<()> {
        self.engine.report(backend, gateway::is_up(health).map_err(error::config)?);
        Ok(())
    }

    /// All metrics as text.
    fn metrics<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let text = py.detach(|| self.engine.metrics().render());
        PyBytes::new(py, &text)
    }

    /// Sets a figure of the control plane.
    fn count(&self, name: &str, value: f64) -> PyResult<()> {
        if self.engine.metrics().set(name, value) {
            return Ok(());
        }
        Err(PyValueError::new_err(format!("no metric is named '{name}'")))
    }

    /// An awaitable: (status, body) of a rare call.
    #[pyo3(signature = (method, url, headers, timeout, body = b"".as_slice()))]
    fn fetch(
        &self,
        py: Python<'_>,
        method: &str,
        url: &str,
        headers: &Bound<'_, PyList>,
        timeout: f64,
        body: &[u8],
    ) -> PyResult<Later> {
        let method =
            Method::from_bytes(method.as_bytes()).map_err(|_| PyValueError::new_err("not a method"))?;
        let headers = read_headers(headers)?;
        let (url, limit) = (url.to_owned(), seconds(timeout)?);
        let body = Bytes::copy_from_slice(body);
        let tls = self.engine.client_tls(&url).map_err(PyValueError::new_err)?;
        self.later(py, async move {
            let result = fetch::fetch(tls, method, &url, headers, body, limit).await;
            let finish: Finish = Box::new(move |py| {
                let (status, body) = result.map_err(error::fetch)?;
                let pair = [status.into_pyobject(py)?.into_any(), PyBytes::new(py, &body).into_any()];
                Ok(PyTuple::new(py, pair)?.into_any().unbind())
            });
            finish
        })
    }

    /// An awaitable: done when the inherited listeners are accepting.
    fn listen(&self, py: Python<'_>, edge: &[u8]) -> PyResult<Later> {
        let text =
            std::str::from_utf8(edge).map_err(|_| PyValueError::new_err("the edge document is not UTF-8"))?;
        let document = py.import("json")?.call_method1("loads", (text,))?;
        let adopt = |name: &str| -> PyResult<Vec<TcpListener>> {
            let numbers: Vec<i32> = document.get_item(name)?.extract()?;
            numbers.into_iter().map(adopt).collect()
        };
        let (public, admin) = (adopt("public")?, adopt("admin")?);
        let edge = {
            let runtime = self.handle()?;
            let _inside = runtime.enter();
            Edge::listen(Arc::clone(&self.engine), edge, public, admin).map_err(error::config)?
        };
        *lock(&self.edge) = Some(Arc::new(edge));
        self.engine.set_ready(true);
        self.later(py, async {
            let finish: Finish = Box::new(|py| Ok(py.None()));
            finish
        })
    }

    /// An awaitable: how many connections were cut when the grace was over.
    fn drain(&self, py: Python<'_>, grace: f64) -> PyResult<Later> {
        let (edge, grace, engine) = (lock(&self.edge).clone(), seconds(grace)?, Arc::clone(&self.engine));
        engine.set_ready(false);
        engine.metrics().set("draining", 1.0);
        self.later(py, async move {
            // The edge's connections and the calls of the other door end side by side.
            let edges = async {
                match edge {
                    Some(edge) => edge.drain(grace).await,
                    None => 0,
                }
            };
            let (cut, ()) = tokio::join!(edges, engine.ended(grace));
            engine.cut();
            // What the last calls have cost can be asked for at once.
            let _ = tokio::task::spawn_blocking(move || engine.journal().carry()).await;
            let finish: Finish = Box::new(move |py| Ok(cut.into_pyobject(py)?.into_any().unbind()));
            finish
        })
    }

    /// Says whether `/readyz` answers yes.
    fn ready(&self, ready: bool) {
        self.engine.set_ready(ready);
    }

    /// Ends the engine's threads. Calls under way are cut.
    fn close(&self, py: Python<'_>) {
        self.engine.cut();
        if let Some(bridge) = lock(&self.bridge).take() {
            bridge.close(py);
        }
        let runtime = lock(&self.runtime).take();
        if let Some(runtime) = runtime {
            py.detach(|| runtime.shutdown_timeout(Duration::from_secs(1)));
        }
        py.detach(|| self.engine.journal().close());
    }
}

impl Gateway {
    /// The engine's runtime; it does not survive a fork.
    fn handle(&self) -> PyResult<tokio::runtime::Handle> {
        if std::process::id() != self.process {
            return Err(error::misuse(
                "this Gateway was made before a fork: make it in the process that serves",
            ));
        }
        let runtime = lock(&self.runtime);
        runtime
            .as_ref()
            .map(|runtime| runtime.handle().clone())
            .ok_or_else(|| error::misuse("this Gateway is closed"))
    }

    /// The bridge to the loop that runs now.
    fn bridge(&self, py: Python<'_>) -> PyResult<Arc<Bridge>> {
        let mut held = lock(&self.bridge);
        if let Some(bridge) = held.as_ref().filter(|bridge| bridge.leads_here(py)) {
            return Ok(Arc::clone(bridge));
        }
        let bridge = Bridge::to_running_loop(py)?;
        *held = Some(Arc::clone(&bridge));
        Ok(bridge)
    }

    fn call(&self, py: Python<'_>, call: levada_net::call::Call) -> PyResult<Call> {
        Ok(Call::new(call, Arc::clone(&self.engine), self.bridge(py)?, self.handle()?))
    }

    fn later(&self, py: Python<'_>, work: impl Future<Output = Finish> + Send + 'static) -> PyResult<Later> {
        let (slot, bridge) = (Arc::new(Slot::default()), self.bridge(py)?);
        let filled = Arc::clone(&slot);
        self.handle()?.spawn(async move { filled.put(work.await) });
        Ok(Later::new(slot, bridge))
    }
}

/// A duplicate of an inherited listening socket: closing it leaves the parent's open.
fn adopt(number: i32) -> PyResult<TcpListener> {
    // SAFETY: fcntl takes a number and gives a new descriptor or an error; the new one is ours alone.
    let listener = unsafe {
        let copy = libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0);
        if copy < 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        TcpListener::from_raw_fd(copy)
    };
    Ok(listener)
}

fn read_headers(pairs: &Bound<'_, PyList>) -> PyResult<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(pairs.len());
    for pair in pairs {
        let pair = pair.cast::<PyTuple>()?;
        let (name, value) = (pair.get_item(0)?, pair.get_item(1)?);
        let name = HeaderName::from_bytes(name.cast::<PyBytes>()?.as_bytes());
        let value = HeaderValue::from_bytes(value.cast::<PyBytes>()?.as_bytes());
        // A server that lets through what is no header has checked less than we do; it is not ours to read.
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    Ok(headers)
}

fn seconds(number: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(number).map_err(|error| PyValueError::new_err(error.to_string()))
}
