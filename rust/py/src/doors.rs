//! Between tokio and the event loop of Python: results that become awaitables.
//!
//! Law: the only file where an engine thread reaches a loop. It writes to one descriptor that the loop watches; the
//! loop's own thread then completes what is waited for. A result that is already there costs no turn of the loop.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyOSError, PyStopIteration};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyCFunction;

/// Turns a finished result into a Python object, on the loop's thread.
pub type Finish = Box<dyn for<'py> FnOnce(Python<'py>) -> PyResult<Py<PyAny>> + Send>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static ASK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    ASK.import(py, "asyncio", "get_running_loop")?.call0()
}

/// One event loop and the way to wake it.
pub struct Bridge {
    event_loop: Py<PyAny>,
    thread: std::thread::ThreadId,
    wake: OwnedFd,
    due: Mutex<Vec<Py<PyAny>>>,
}

impl Bridge {
    /// A bridge to the running loop, which watches it from now on.
    pub fn to_running_loop(py: Python<'_>) -> PyResult<Arc<Self>> {
        let event_loop = running_loop(py)?;
        // SAFETY: eventfd takes no pointers; a descriptor that it returns is ours alone.
        let wake = unsafe {
            let fd = libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
            if fd < 0 {
                return Err(PyOSError::new_err(std::io::Error::last_os_error().to_string()));
            }
            OwnedFd::from_raw_fd(fd)
        };
        let bridge = Arc::new(Self {
            event_loop: event_loop.clone().unbind(),
            thread: std::thread::current().id(),
            wake,
            due: Mutex::default(),
        });
        let weak = Arc::downgrade(&bridge);
        let complete = PyCFunction::new_closure(py, None, None, move |args, _| match weak.upgrade() {
            Some(bridge) => bridge.complete(args.py()),
            None => Ok(()),
        })?;
        event_loop.call_method1("add_reader", (bridge.wake.as_raw_fd(), complete))?;
        Ok(bridge)
    }

    /// Whether this is a bridge to the loop that runs on this thread. Not asked of asyncio, which looks up the process
    /// id at every call: one that belongs to this thread and runs can be no other.
    pub fn leads_here(&self, py: Python<'_>) -> bool {
        let runs = || self.event_loop.bind(py).call_method0("is_running").and_then(|runs| runs.is_truthy());
        self.thread == std::thread::current().id() && runs().unwrap_or(false)
    }

    /// The loop no longer watches.
    pub fn close(&self, py: Python<'_>) {
        // A loop that is closed has forgotten us already.
        let _ = self.event_loop.bind(py).call_method1("remove_reader", (self.wake.as_raw_fd(),));
    }

    fn future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.event_loop.bind(py).call_method0("create_future")
    }

    /// From any thread: the future is to be completed.
    fn notify(&self, future: Py<PyAny>) {
        let mut due = lock(&self.due);
        due.push(future);
        let first = due.len() == 1;
        drop(due);
        if first {
            let one = 1u64.to_ne_bytes();
            // SAFETY: the descriptor is open as long as self lives; the eight bytes are read and not kept. A full
            // counter means that the loop has yet to wake up, which it will.
            unsafe { libc::write(self.wake.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        }
    }

    /// On the loop's thread: completes all that is due.
    fn complete(&self, py: Python<'_>) -> PyResult<()> {
        let mut count = [0u8; 8];
        // SAFETY: the descriptor is open and non-blocking; it writes at most the eight bytes given.
        unsafe { libc::read(self.wake.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        let due = std::mem::take(&mut *lock(&self.due));
        for future in due {
            let future = future.bind(py);
            // One whose waiter was cancelled is done already.
            if !future.call_method0("done")?.is_truthy()? {
                future.call_method1("set_result", (py.None(),))?;
            }
        }
        Ok(())
    }
}

/// A place for one result at a time, filled by an engine thread and awaited by Python.
#[derive(Default)]
pub struct Slot(Mutex<Place>);

#[derive(Default)]
struct Place {
    result: Option<Finish>,
    waiter: Option<(Arc<Bridge>, Py<PyAny>)>,
}

impl Slot {
    /// The result is there.
    pub fn put(&self, result: Finish) {
        let mut place = lock(&self.0);
        place.result = Some(result);
        let waiter = place.waiter.take();
        drop(place);
        if let Some((bridge, future)) = waiter {
            bridge.notify(future);
        }
    }

    fn take(&self) -> Option<Finish> {
        lock(&self.0).result.take()
    }

    /// Waits for a result that is not there yet; false when it has come meanwhile.
    fn wait(&self, bridge: &Arc<Bridge>, future: Py<PyAny>) -> bool {
        let mut place = lock(&self.0);
        if place.result.is_some() {
            return false;
        }
        place.waiter = Some((Arc::clone(bridge), future));
        true
    }
}

/// An awaitable for what a [`Slot`] will hold.
#[pyclass(frozen, module = "levada._native")]
pub struct Later {
    slot: Arc<Slot>,
    bridge: Arc<Bridge>,
    /// The iterator of the loop's future, once one had to be made.
    waiting: Mutex<Option<Py<PyAny>>>,
}

impl Later {
    /// What `slot` will hold, for a coroutine of `bridge`'s loop.
    pub fn new(slot: Arc<Slot>, bridge: Arc<Bridge>) -> Self {
        Self { slot, bridge, waiting: Mutex::default() }
    }
}

#[pymethods]
impl Later {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let waiting = lock(&self.waiting).take();
        if let Some(iterator) = waiting {
            // The future has been completed, or its waiter cancelled: it says which.
            match iterator.bind(py).call_method0("__next__") {
                Ok(yielded) => {
                    *lock(&self.waiting) = Some(iterator);
                    return Ok(yielded.unbind());
                }
                Err(stop) if stop.is_instance_of::<PyStopIteration>(py) => {}
                Err(error) => return Err(error),
            }
        }
        loop {
            if let Some(finish) = self.slot.take() {
                return Err(PyStopIteration::new_err((finish(py)?,)));
            }
            let future = self.bridge.future(py)?;
            if self.slot.wait(&self.bridge, future.clone().unbind()) {
                let iterator = future.call_method0("__await__")?;
                let yielded = iterator.call_method0("__next__")?;
                *lock(&self.waiting) = Some(iterator.unbind());
                return Ok(yielded.unbind());
            }
        }
    }
}
