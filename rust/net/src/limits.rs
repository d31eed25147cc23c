//! Who has used how much of what its limits allow.
//!
//! Law: a request is counted in all its windows or in none, under one short lock that is never held across an await.
//! Callers who have not asked for so long that nothing counts any more are forgotten.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use levada_core::auth::Key;
use levada_core::endpoint::Endpoint;
use levada_core::limit::{Passed, Room, Window};
use levada_core::profile::rate::{Headers, Rate, Unit};
use levada_core::refusal::{Kind, Refusal};

/// Where a caller stands: the window that allows least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    limit: u32,
    left: u32,
    clear_ms: u64,
    at_ms: u64,
    headers: Headers,
}

impl Standing {
    /// The headers that tell of it.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let reset = match self.headers {
            Headers::None => None,
            Headers::Span => Some(span(self.clear_ms)),
            Headers::Epoch => Some((self.at_ms + self.clear_ms).div_ceil(1000).to_string()),
        };
        reset.into_iter().flat_map(|reset| {
            [
                ("x-ratelimit-limit-requests", self.limit.to_string()),
                ("x-ratelimit-remaining-requests", self.left.to_string()),
                ("x-ratelimit-reset-requests", reset),
            ]
        })
    }
}

/// What is asked: by whom, at what.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The caller's key.
    pub key: &'a Key,
    /// The endpoint; nothing: a call that no window counts.
    pub endpoint: Option<Endpoint>,
    /// What the profile says.
    pub rate: &'a Rate,
}

/// Who shares an account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Who(Unit, Arc<str>);

/// What one account has used, by window. A window that is configured otherwise begins anew.
#[derive(Debug, Default)]
struct Used {
    windows: Vec<(Window, Passed)>,
    /// It was forgotten while somebody held it: what is counted here counts no more.
    forgotten: bool,
}

type Account = Mutex<Used>;

/// Accounts are looked through once in so many calls of `sweep`.
const SWEEPS: u64 = 60;

/// All accounts.
#[derive(Debug)]
pub struct Limits {
    accounts: papaya::HashMap<Who, Arc<Account>>,
    began: Instant,
    began_ms: u64,
    sweeps: AtomicU64,
}

impl Default for Limits {
    fn default() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let began_ms = u64::try_from(since).unwrap_or_default();
        let (began, sweeps) = (Instant::now(), AtomicU64::default());
        Self { accounts: papaya::HashMap::default(), began, began_ms, sweeps }
    }
}

impl Limits {
    /// Where the caller stands; nothing where nothing is limited.
    #[must_use]
    pub fn standing(&self, asked: Asked<'_>) -> Option<Standing> {
        self.visit(asked, false).map(|(_, standing)| standing)
    }

    /// Counts one request; where the caller stands afterwards.
    ///
    /// # Errors
    /// There is no room in a window: how long to wait, in the words for `model`.
    pub fn take(&self, asked: Asked<'_>, model: &str) -> Result<Option<Standing>, Refusal> {
        if asked.key.exhausted {
            return Err(Refusal::of(Kind::NoCredit));
        }
        match self.visit(asked, true) {
            None => Ok(None),
            Some((None, standing)) => Ok(Some(standing)),
            Some((Some((window, room)), _)) => Err(reached(asked.key, &window, room, model)),
        }
    }

    /// Looks at the account, and with `take` counts a request if there is room in every window that counts it. The
    /// window without room that is the last to have some, and where the caller stands.
    fn visit(&self, asked: Asked<'_>, take: bool) -> Option<(Option<(Window, Room)>, Standing)> {
        let own = asked.key.requests_per_minute.map(a_minute);
        let windows = match &own {
            Some(own) => std::slice::from_ref(own),
            None => &asked.rate.windows[..],
        };
        // A call that goes to no backend uses up nothing; it is told of what all calls share.
        let counts = |window: &&Window| match asked.endpoint {
            Some(endpoint) => window.counts(endpoint),
            None => window.endpoints.is_none(),
        };
        windows.iter().find(counts)?;
        let who = who(asked.key, asked.rate.unit);
        loop {
            let account = self.account(&who);
            let mut used = lock(&account);
            if used.forgotten {
                continue;
            }
            let at_ms = self.now_ms();
            let counted: Vec<&Window> = windows.iter().filter(counts).collect();
            used.know(&counted);
            let full = used.full(&counted, at_ms);
            if take && full.is_none() {
                used.take(&counted, at_ms);
            }
            let (limit, room) = used.least(&counted, at_ms)?;
            let (left, clear_ms, headers) = (room.left, room.clear_ms, asked.rate.headers);
            return Some((full, Standing { limit, left, clear_ms, at_ms, headers }));
        }
    }

    fn account(&self, who: &Who) -> Arc<Account> {
        let accounts = self.accounts.pin();
        match accounts.get(who) {
            Some(account) => Arc::clone(account),
            None => Arc::clone(accounts.get_or_insert_with(who.clone(), Arc::default)),
        }
    }

    /// Forgets the accounts in which nothing counts any more; to be called every second.
    pub fn sweep(&self) {
        if !self.sweeps.fetch_add(1, Relaxed).is_multiple_of(SWEEPS) {
            return;
        }
        let now = self.now_ms();
        self.accounts.pin().retain(|_, account| {
            let mut used = lock(account);
            used.windows.retain_mut(|(window, passed)| passed.room(window, now).clear_ms > 0);
            used.forgotten = used.windows.is_empty();
            !used.forgotten
        });
    }

    /// Milliseconds since 1970 by a clock that never goes back.
    fn now_ms(&self) -> u64 {
        self.began_ms + u64::try_from(self.began.elapsed().as_millis()).unwrap_or_default()
    }
}

impl Used {
    /// Sees to it that these windows are there.
    fn know(&mut self, windows: &[&Window]) {
        for window in windows {
            if !self.windows.iter().any(|(known, _)| known == *window) {
                self.windows.push(((*window).clone(), Passed::default()));
            }
        }
    }

    fn among<'a>(&'a mut self, windows: &'a [&Window]) -> impl Iterator<Item = (&'a Window, &'a mut Passed)> {
        let some = self.windows.iter_mut().filter(|(known, _)| windows.contains(&known));
        some.map(|(window, passed)| (&*window, passed))
    }

    /// The window without room that is the last to have some.
    fn full(&mut self, windows: &[&Window], now_ms: u64) -> Option<(Window, Room)> {
        let rooms = self.among(windows).map(|(window, passed)| (window, passed.room(window, now_ms)));
        let full = rooms.filter(|(_, room)| room.left == 0).max_by_key(|(_, room)| room.wait_ms);
        full.map(|(window, room)| (window.clone(), room))
    }

    fn take(&mut self, windows: &[&Window], now_ms: u64) {
        self.among(windows).for_each(|(window, passed)| passed.take(window, now_ms));
    }

    /// The window that allows least: how much in all, and what there is room for.
    fn least(&mut self, windows: &[&Window], now_ms: u64) -> Option<(u32, Room)> {
        let rooms = self.among(windows).map(|(window, passed)| (window.burst, passed.room(window, now_ms)));
        rooms.min_by_key(|(_, room)| room.left)
    }
}

fn lock(account: &Account) -> MutexGuard<'_, Used> {
    account.lock().unwrap_or_else(PoisonError::into_inner)
}

fn a_minute(requests: u32) -> Window {
    Window { requests, per_ms: 60_000, burst: requests, endpoints: None }
}

fn who(key: &Key, unit: Unit) -> Who {
    let own = || Who(Unit::Key, Arc::clone(&key.id));
    match unit {
        // A key with a limit of its own shares it with nobody.
        _ if key.requests_per_minute.is_some() => own(),
        Unit::Key => own(),
        Unit::Project => key.project.as_ref().map_or_else(own, |name| Who(unit, Arc::clone(name))),
        Unit::Contract => Who(unit, key.tenant.clone().unwrap_or_default()),
    }
}

fn reached(key: &Key, window: &Window, room: Room, model: &str) -> Refusal {
    let (limit, seconds) = (window.burst, room.wait_ms.div_ceil(1000).max(1));
    let per = match window.per_ms {
        1000 => "second (RPS)".to_owned(),
        60_000 => "min (RPM)".to_owned(),
        3_600_000 => "hour (RPH)".to_owned(),
        86_400_000 => "day (RPD)".to_owned(),
        ms => span(ms),
    };
    let tenant = key.tenant.as_ref().map(|name| format!(" in organization {name}")).unwrap_or_default();
    let wait = span(room.wait_ms);
    let words = format!(
        "Rate limit reached for {model}{tenant} on requests per {per}: Limit {limit}, Used {limit}, Requested 1. \
         Please try again in {wait}."
    );
    let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
    Refusal::of(Kind::LimitReached).message(words).after(seconds)
}

/// A time as OpenAI's headers have it: `120ms`, `20s`, `1m30s`, `2h0m0s`.
fn span(ms: u64) -> String {
    if ms < 1000 {
        return format!("{ms}ms");
    }
    let seconds = ms.div_ceil(1000);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, tenant: Option<&str>) -> Key {
        Key { id: id.into(), tenant: tenant.map(Into::into), ..Key::default() }
    }

    fn rate(unit: Unit, windows: Vec<Window>) -> Rate {
        Rate { unit, windows, headers: Headers::Span }
    }

    fn asked<'a>(key: &'a Key, rate: &'a Rate, endpoint: Endpoint) -> Asked<'a> {
        Asked { key, endpoint: Some(endpoint), rate }
    }

    #[test]
    fn spans_are_worded() {
        let rows = [(0, "0ms"), (120, "120ms"), (1000, "1s"), (20_001, "21s"), (90_000, "1m30s")];
        for (ms, words) in rows.into_iter().chain([(7_200_000, "2h0m0s")]) {
            assert_eq!(span(ms), words);
        }
    }

    #[test]
    fn a_request_counts_in_all_its_windows_or_in_none() {
        let images = Window { endpoints: Some(vec![Endpoint::Images]), ..a_minute(1) };
        let rate = rate(Unit::Contract, vec![a_minute(3), images]);
        let (limits, a, b, other) = (Limits::default(), key("a", None), key("b", None), key("c", Some("t")));
        assert_eq!(limits.take(asked(&a, &rate, Endpoint::Images), "m").unwrap().unwrap().left, 0);
        // The second image is refused, and costs nothing of what all share.
        let refusal = limits.take(asked(&b, &rate, Endpoint::Images), "m").unwrap_err();
        assert_eq!((refusal.status(), refusal.kind()), (429, Kind::LimitReached));
        assert_eq!(limits.take(asked(&b, &rate, Endpoint::Chat), "m").unwrap().unwrap().left, 1);
        assert_eq!(limits.standing(asked(&a, &rate, Endpoint::Chat)).unwrap().left, 1);
        assert_eq!(limits.standing(asked(&other, &rate, Endpoint::Chat)).unwrap().left, 3);
        limits.sweep();
        assert_eq!(limits.accounts.pin().len(), 1);
    }

    #[test]
    fn a_key_of_its_own_rate_and_one_without_credit() {
        let rate = rate(Unit::Contract, vec![a_minute(1)]);
        let limits = Limits::default();
        let own = Key { requests_per_minute: Some(2), ..key("a", None) };
        for left in [1, 0] {
            assert_eq!(limits.take(asked(&own, &rate, Endpoint::Chat), "m").unwrap().unwrap().left, left);
        }
        let refusal = limits.take(asked(&own, &rate, Endpoint::Chat), "m").unwrap_err();
        assert!(refusal.words().starts_with(
            "Rate limit reached for m on requests per min (RPM): Limit 2, Used 2, Requested 1. Please try again in 1m"
        ));
        let broke = Key { exhausted: true, ..key("b", None) };
        assert_eq!(
            limits.take(asked(&broke, &rate, Endpoint::Chat), "m").unwrap_err().kind(),
            Kind::NoCredit
        );
        assert!(limits.take(asked(&key("c", None), &rate, Endpoint::Chat), "m").is_ok());
    }

    #[test]
    fn headers_tell_of_the_reset() {
        let standing =
            Standing { limit: 3, left: 1, clear_ms: 20_500, at_ms: 1_000_000, headers: Headers::Span };
        let told: Vec<_> = standing.headers().map(|(_, value)| value).collect();
        assert_eq!(told, ["3", "1", "21s"]);
        let epoch = Standing { headers: Headers::Epoch, ..standing };
        assert_eq!(epoch.headers().last().unwrap().1, "1021");
        assert_eq!(Standing { headers: Headers::None, ..standing }.headers().count(), 0);
    }
}
