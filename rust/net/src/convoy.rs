//! A convoy: calls that get ready at about the same time leave together, so that who they are for is woken once.
//!
//! Law: it is a courtesy, and holds nobody up. The first to come leads for some passes of the scheduler; the others wait
//! for it, and whoever is woken by anything else leaves at once. However the leader ends, also dropped, it takes all along:
//! answers first, then requests. A call that is alone waits for nobody.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::task::yield_now;

/// For so many passes of the scheduler the first of a convoy waits for others. After one, few have come; after more than
/// these, no more come than before.
const PASSES: usize = 5;

/// Whom a call leaves for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// With its answer.
    Client,
    /// With its request.
    Backend,
}

/// What forms on one thread.
#[derive(Debug, Default)]
struct Forming {
    is_led: bool,
    /// Who goes along: with answers, and with requests.
    clients: Vec<Waker>,
    backends: Vec<Waker>,
}

thread_local! {
    static HERE: Arc<Mutex<Forming>> = Arc::default();
}

fn lock(forming: &Mutex<Forming>) -> MutexGuard<'_, Forming> {
    forming.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the convoy leaves, unless there are no other calls. `under_way`: how many there are, with this one.
pub async fn join(side: Side, under_way: i64) {
    let mut waits = under_way <= 1;
    let leader = poll_fn(|cx| {
        if std::mem::replace(&mut waits, true) {
            return Poll::Ready(None);
        }
        HERE.try_with(|here| enter(here, side, cx)).unwrap_or(Poll::Ready(None))
    });
    if let Some(_leader) = leader.await {
        for _ in 0..PASSES {
            yield_now().await;
        }
    }
}

/// Leads where nobody does, else goes along.
fn enter(here: &Arc<Mutex<Forming>>, side: Side, cx: &Context<'_>) -> Poll<Option<Leader>> {
    let mut forming = lock(here);
    if !std::mem::replace(&mut forming.is_led, true) {
        return Poll::Ready(Some(Leader(Arc::clone(here))));
    }
    match side {
        Side::Client => forming.clients.push(cx.waker().clone()),
        Side::Backend => forming.backends.push(cx.waker().clone()),
    }
    Poll::Pending
}

/// The first of a convoy. Its task may end on another thread: it leads where it began.
struct Leader(Arc<Mutex<Forming>>);

impl Drop for Leader {
    fn drop(&mut self) {
        let Forming { clients, backends, .. } = std::mem::take(&mut *lock(&self.0));
        clients.into_iter().chain(backends).for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::pin::pin;
    use std::rc::Rc;
    use std::time::Duration;

    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    /// What each call noted when it left, in the order of their leaving; `cut` ends the first one early.
    async fn order(calls: &[(Side, i64)], cut: bool) -> Vec<usize> {
        let told = Rc::new(RefCell::new(Vec::new()));
        let one = |at: usize, (side, under_way): (Side, i64)| {
            let told = Rc::clone(&told);
            async move {
                join(side, under_way).await;
                told.borrow_mut().push(at);
            }
        };
        let set = LocalSet::new();
        let run = async {
            let tasks: Vec<_> =
                calls.iter().enumerate().map(|(at, call)| spawn_local(one(at, *call))).collect();
            yield_now().await;
            if let Some(first) = tasks.first().filter(|_| cut) {
                first.abort();
            }
            for task in tasks {
                let _ = task.await;
            }
        };
        // Who is left behind fails the test and does not hang it.
        let _ = tokio::time::timeout(Duration::from_secs(5), set.run_until(run)).await;
        told.take()
    }

    #[tokio::test]
    async fn answers_leave_before_requests() {
        use Side::{Backend, Client};
        let calls = [(Backend, 4), (Backend, 4), (Client, 4), (Backend, 4), (Client, 4)];
        assert_eq!(order(&calls, false).await, [0, 2, 4, 1, 3]);
        // And the next convoy forms like the first.
        assert_eq!(order(&[(Client, 2), (Client, 2)], false).await, [0, 1]);
    }

    #[tokio::test]
    async fn who_leads_and_is_dropped_leaves_nobody_behind() {
        assert_eq!(order(&[(Side::Client, 3), (Side::Backend, 3), (Side::Client, 3)], true).await, [2, 1]);
        assert_eq!(order(&[(Side::Backend, 2), (Side::Backend, 2)], false).await, [0, 1]);
    }

    #[tokio::test]
    async fn who_is_alone_waits_for_nobody() {
        for side in [Side::Client, Side::Backend] {
            let mut alone = pin!(join(side, 1));
            assert!(poll_fn(|cx| Poll::Ready(alone.as_mut().poll(cx).is_ready())).await);
        }
    }

    #[tokio::test]
    async fn who_is_woken_by_something_else_leaves() {
        let mut leader = pin!(join(Side::Client, 2));
        let mut follower = pin!(join(Side::Backend, 2));
        let ready = poll_fn(|cx| {
            assert!(leader.as_mut().poll(cx).is_pending());
            assert!(follower.as_mut().poll(cx).is_pending());
            Poll::Ready(follower.as_mut().poll(cx).is_ready())
        });
        assert!(ready.await);
        leader.await;
        assert!(HERE.with(|here| lock(here).backends.is_empty()));
    }
}
