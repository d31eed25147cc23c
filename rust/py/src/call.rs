//! One call as Python drives it: start, next, cancel.
//!
//! Law: the engine works ahead by one batch at most; what Python has not fetched holds the backend back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use levada_core::bounds;
use levada_net::{call, gateway, head};
use pyo3::exceptions::PyConnectionAbortedError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::doors::{Bridge, Later, Slot};

/// One client request.
#[pyclass(frozen, module = "levada._native")]
pub struct Call {
    engine: Arc<gateway::Gateway>,
    bridge: Arc<Bridge>,
    runtime: Handle,
    shared: Arc<Shared>,
    /// The call itself until it is started; then the engine has it.
    idle: Mutex<Option<call::Call>>,
    task: Mutex<Option<AbortHandle>>,
}

/// What the engine puts down for Python.
#[derive(Default)]
struct Shared {
    head: Arc<Slot>,
    next: Arc<Slot>,
    flow: Mutex<Flow>,
    room: Notify,
}

#[derive(Default)]
struct Flow {
    ready: BytesMut,
    whole: Option<Bytes>,
    end: Option<End>,
    /// Python waits for a piece.
    wanted: bool,
}

#[derive(Clone, Copy)]
enum End {
    Well,
    Cut,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Call {
    /// Wraps a call of the engine.
    pub fn new(
        call: call::Call,
        engine: Arc<gateway::Gateway>,
        bridge: Arc<Bridge>,
        runtime: Handle,
    ) -> Self {
        Self {
            engine,
            bridge,
            runtime,
            shared: Arc::default(),
            idle: Mutex::new(Some(call)),
            task: Mutex::default(),
        }
    }
}

#[pymethods]
impl Call {
    /// An awaitable: (status, headers), after the first byte from the backend, or a refusal.
    fn start(&self) -> Later {
        if let Some(call) = lock(&self.idle).take() {
            let (shared, cut) = (Arc::clone(&self.shared), self.engine.cutting());
            let task = self.runtime.spawn(async move {
                tokio::select! {
                    biased;
                    () = run(call, &shared) => {}
                    () = cut => shared.give_up(),
                }
            });
            *lock(&self.task) = Some(task.abort_handle());
        }
        Later::new(Arc::clone(&self.shared.head), Arc::clone(&self.bridge))
    }

    /// An awaitable: all whole events that are ready, about 16 KiB at most, or None at the end.
    fn next(&self) -> Later {
        self.shared.want();
        Later::new(Arc::clone(&self.shared.next), Arc::clone(&self.bridge))
    }

    /// Whether all has been handed over, and well: the door need not ask again.
    #[getter]
    fn ended(&self) -> bool {
        let flow = lock(&self.shared.flow);
        flow.ready.is_empty() && flow.whole.is_none() && matches!(flow.end, Some(End::Well))
    }

    /// Ends the call now.
    fn cancel(&self) {
        drop(lock(&self.idle).take());
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
        self.shared.give_up();
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

/// Drives a call: its head, then piece after piece as far as there is room.
async fn run(mut call: call::Call, shared: &Shared) {
    let head = call.start().await;
    let mut waiting_head = Some(head);
    loop {
        let piece = std::future::poll_fn(|cx| {
            let polled = call.poll_next(cx);
            // A head alone is told at once; one whose body is there is told with it, which saves a turn of the loop.
            if let Some(head) = waiting_head.take_if(|_| polled.is_pending()) {
                shared.head.put(told(head));
            }
            polled
        })
        .await;
        match piece {
            Some(Ok(bytes)) => {
                let last = call.remaining() == Some(0);
                shared.put(bytes, last);
                if let Some(head) = waiting_head.take() {
                    shared.head.put(told(head));
                }
                if last {
                    return;
                }
                shared.room_for_more().await;
            }
            Some(Err(call::Cut)) => return finish(shared, waiting_head, End::Cut),
            None => return finish(shared, waiting_head, End::Well),
        }
    }
}

fn finish(shared: &Shared, head: Option<head::Head>, end: End) {
    shared.end(end);
    if let Some(head) = head {
        shared.head.put(told(head));
    }
}

/// The head as Python reads it: (status, [(name, value), ...]).
fn told(head: head::Head) -> crate::doors::Finish {
    Box::new(move |py| {
        let headers = PyList::empty(py);
        for (name, value) in &head.headers {
            let pair = (PyBytes::new(py, name.as_str().as_bytes()), PyBytes::new(py, value.as_bytes()));
            headers.append(pair)?;
        }
        Ok(PyTuple::new(py, [head.status.as_u16().into_pyobject(py)?.into_any(), headers.into_any()])?
            .into_any()
            .unbind())
    })
}

impl Shared {
    fn put(&self, bytes: Bytes, last: bool) {
        let mut flow = lock(&self.flow);
        if flow.ready.is_empty() && flow.whole.is_none() {
            flow.whole = Some(bytes);
        } else {
            if let Some(first) = flow.whole.take() {
                flow.ready.extend_from_slice(&first);
            }
            flow.ready.extend_from_slice(&bytes);
        }
        if last {
            flow.end = Some(End::Well);
        }
        self.deliver(&mut flow);
    }

    fn end(&self, end: End) {
        let mut flow = lock(&self.flow);
        flow.end.get_or_insert(end);
        self.deliver(&mut flow);
    }

    /// Nothing more is to come: whoever waits, for the head or for a piece, is told so.
    fn give_up(&self) {
        self.head.put(Box::new(|_| Err(PyConnectionAbortedError::new_err("the call was cancelled"))));
        self.end(End::Cut);
    }

    fn want(&self) {
        let mut flow = lock(&self.flow);
        flow.wanted = true;
        self.deliver(&mut flow);
    }

    /// Hands over what is there to a Python that waits.
    fn deliver(&self, flow: &mut Flow) {
        if !flow.wanted {
            return;
        }
        let bytes =
            flow.whole.take().or_else(|| (!flow.ready.is_empty()).then(|| flow.ready.split().freeze()));
        match (bytes, flow.end) {
            (Some(bytes), _) => {
                self.next.put(Box::new(move |py| Ok(PyBytes::new(py, &bytes).into_any().unbind())));
                self.room.notify_one();
            }
            (None, Some(End::Well)) => self.next.put(Box::new(|py| Ok(py.None()))),
            (None, Some(End::Cut)) => {
                self.next.put(Box::new(|_| Err(PyConnectionAbortedError::new_err("the answer broke off"))));
            }
            (None, None) => return,
        }
        flow.wanted = false;
    }

    fn held(&self) -> usize {
        let flow = lock(&self.flow);
        flow.ready.len() + flow.whole.as_ref().map_or(0, Bytes::len)
    }

    async fn room_for_more(&self) {
        loop {
            let room = self.room.notified();
            if self.held() < bounds::JOIN_BYTES {
                return;
            }
            room.await;
        }
    }
}
