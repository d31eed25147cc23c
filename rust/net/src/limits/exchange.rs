//! Shares of limits, from a Redis that all hosts have: asked for in one script for all rules of many calls.
//!
//! Law: nobody waits for it longer than its deadline, and nothing is locked meanwhile. Without it each host goes on with
//! what it has by itself. What is asked is bounded, and asked again until it is of no use any more.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use levada_core::bounds;
use levada_core::limit::Rule;
use levada_core::limit::share::{ALONE_MS, Answer, Need, Question};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Script};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::table::Table;

/// How long a call waits, and Redis has.
const DEADLINE: Duration = Duration::from_millis(25);
/// How long a connection may take, and how often one is tried while there is none.
const CONNECT: Duration = Duration::from_millis(250);
const RETRY: Duration = Duration::from_millis(100);
/// How often Redis hears of this host.
const TICK: Duration = Duration::from_millis(250);
/// How many rules are asked for at once: what Redis does in about a millisecond.
const BATCH: usize = 128;
/// Budgets of a day or a month are forgotten by Redis after their end.
const KEPT_MS: u64 = 40 * 86_400_000;
const KEPT_AFTER_MS: u64 = 60_000;
/// For so long after it was last asked for a host keeps a little of a share.
const LATELY: Duration = Duration::from_secs(60);
const HOSTS: &str = "{levada}:hosts";

/// What a call lacks of a rule.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Its cell.
    pub tag: u64,
    /// The level of the account.
    pub level: u8,
    /// The account.
    pub name: Box<str>,
    /// The rule.
    pub rule: Rule,
    /// How much it needs.
    pub need: u64,
    /// How much more it would like.
    pub extra: u64,
}

/// What is renewed until it is of no use.
#[derive(Debug)]
struct Known {
    wish: Wish,
    renewal: Instant,
    /// When more was last asked for.
    wanted: Instant,
}

#[derive(Debug, Default)]
struct Queue {
    wishes: HashMap<u64, Wish>,
    number: u64,
}

/// The exchange.
#[derive(Debug)]
pub struct Exchange {
    table: Arc<Table>,
    hosts: u64,
    host: String,
    queue: Mutex<Queue>,
    wake: Notify,
    done: watch::Sender<u64>,
    began: Instant,
    /// When Redis was last heard, in milliseconds since then; and whether it can be asked.
    heard: AtomicU64,
    up: AtomicBool,
}

/// A place in the queue.
#[derive(Debug)]
pub struct Ticket {
    number: u64,
    done: watch::Receiver<u64>,
}

impl Ticket {
    /// Done when Redis has answered, or the deadline is over.
    pub async fn answered(&mut self) {
        // Whatever came, the call is asked once more, and is told what there is then.
        let _ = timeout(DEADLINE, self.done.wait_for(|done| *done >= self.number)).await;
    }
}

impl Exchange {
    /// An exchange among so many hosts, which has heard nothing yet.
    #[must_use]
    pub fn new(table: Arc<Table>, hosts: u64) -> Self {
        let host = format!("{:016x}", table.seed());
        let (queue, wake, done) = (Mutex::default(), Notify::new(), watch::Sender::new(0));
        let (began, heard, up) = (Instant::now(), AtomicU64::new(0), AtomicBool::new(false));
        Self { table, hosts, host, queue, wake, done, began, heard, up }
    }

    /// How many hosts there are.
    #[must_use]
    pub fn hosts(&self) -> u64 {
        self.hosts
    }

    /// Whether Redis can be asked.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up.load(Relaxed)
    }

    /// How long ago others were last heard of, in milliseconds, if that is so long that they leave this host its part.
    #[must_use]
    pub fn unheard_ms(&self) -> Option<u64> {
        let age_ms = self.age_ms().saturating_sub(self.heard.load(Relaxed));
        (!self.is_up() && age_ms >= ALONE_MS).then_some(age_ms)
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Asks for something; nothing, and nothing is asked, while there is nobody to ask or too much is asked already.
    pub fn ask(&self, wishes: Vec<Wish>) -> Option<Ticket> {
        if wishes.is_empty() || !self.is_up() {
            return None;
        }
        let mut queue = self.queue();
        if queue.wishes.len() + wishes.len() > bounds::WISHES {
            return None;
        }
        for wish in wishes {
            match queue.wishes.entry(wish.tag) {
                Entry::Vacant(place) => _ = place.insert(wish),
                Entry::Occupied(mut held) => {
                    let held = held.get_mut();
                    held.need = held.need.saturating_add(wish.need);
                    held.extra = held.extra.max(wish.extra);
                }
            }
        }
        let number = queue.number + 1;
        drop(queue);
        self.wake.notify_one();
        Some(Ticket { number, done: self.done.subscribe() })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on for ever.
    pub async fn run(self: Arc<Self>, client: Client) {
        let mut known = HashMap::new();
        loop {
            let Ok(Ok(mut link)) = timeout(CONNECT, connect(&client)).await else {
                tokio::time::sleep(RETRY).await;
                continue;
            };
            // Until all that this host has is known again, it is not heard of.
            let now = Instant::now();
            known.values_mut().for_each(|one: &mut Known| one.renewal = now);
            let mut whole = false;
            while self.turn(&mut link, &mut known, whole).await.is_ok() {
                whole = true;
                self.up.store(true, Relaxed);
                let _ = timeout(TICK, self.wake.notified()).await;
            }
            self.up.store(false, Relaxed);
            self.finish();
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Nobody waits any more.
    fn finish(&self) {
        let mut queue = self.queue();
        queue.number += 1;
        queue.wishes.clear();
        self.done.send_replace(queue.number);
    }

    /// Asks for all that is wished and all that is due.
    async fn turn(
        &self,
        link: &mut MultiplexedConnection,
        known: &mut HashMap<u64, Known>,
        whole: bool,
    ) -> Result<(), Gone> {
        let (number, mut wishes) = {
            let mut queue = self.queue();
            queue.number += 1;
            (queue.number, std::mem::take(&mut queue.wishes))
        };
        let now = Instant::now();
        for (tag, one) in known.iter_mut().filter(|(_, one)| one.renewal <= now) {
            wishes.entry(*tag).or_insert_with(|| Wish { need: 0, extra: 0, ..one.wish.clone() });
        }
        let wishes: Vec<Wish> = wishes.into_values().collect();
        let mut batches = wishes.chunks(BATCH).peekable();
        if batches.peek().is_none() {
            self.batch(link, known, &[], whole).await?;
        }
        for batch in batches {
            self.batch(link, known, batch, whole).await?;
        }
        if !whole {
            self.batch(link, known, &[], true).await?;
        }
        self.heard.store(self.age_ms(), Relaxed);
        self.done.send_replace(number);
        Ok(())
    }

    async fn batch(
        &self,
        link: &mut MultiplexedConnection,
        known: &mut HashMap<u64, Known>,
        wishes: &[Wish],
        whole: bool,
    ) -> Result<(), Gone> {
        let (asked, asked_ms) = self.questions(known, wishes);
        let script = script();
        let mut invocation = script.prepare_invoke();
        invocation.key(HOSTS).arg(&self.host).arg(self.hosts).arg(u8::from(whole));
        for (wish, one) in &asked {
            let Wish { level, name, need, extra, rule, .. } = wish;
            invocation.key(format!(
                "{{levada}}:{}{:x}:{}:{name}",
                char::from(*level),
                rule.salt(),
                one.period
            ));
            let kept = match (one.counts_ms, one.period) {
                (0, 0) => 0,
                (0, _) => KEPT_MS,
                (counts, _) => counts.saturating_add(KEPT_AFTER_MS),
            };
            for part in
                [one.number, one.keeps, one.used, one.most, one.alone, one.counts_ms, kept, *need, *extra]
            {
                invocation.arg(part);
            }
        }
        let answers: Vec<i64> =
            timeout(DEADLINE, invocation.invoke_async(link)).await.map_err(|_| Gone)??;
        self.answers(&asked, asked_ms, &answers);
        Ok(())
    }

    /// What is asked for each, and when.
    fn questions<'w>(
        &self,
        known: &mut HashMap<u64, Known>,
        wishes: &'w [Wish],
    ) -> (Vec<(&'w Wish, Question)>, u64) {
        let now = Instant::now();
        let mut locked = self.table.lock();
        let now_ms = locked.now_ms(now);
        let unheard_ms = self.unheard_ms();
        let mut asked = Vec::with_capacity(wishes.len());
        for wish in wishes {
            let Some(place) = locked.find(wish.tag) else {
                known.remove(&wish.tag);
                continue;
            };
            let is_wanted = wish.need > 0 || wish.extra > 0;
            let before = known.get(&wish.tag).map(|known| known.wanted);
            let wanted = before.filter(|_| !is_wanted).unwrap_or(now);
            let renewal = Duration::from_millis(wish.rule.renewal_ms());
            let need = match now - wanted {
                age if age < renewal => Need::Now,
                age if age < LATELY => Need::Lately,
                _ => Need::Once,
            };
            let question = wish.rule.question(&mut locked.at(place), self.hosts, need, unheard_ms, now_ms);
            locked.done();
            if !is_wanted && question.keeps == 0 {
                known.remove(&wish.tag);
            } else if known.len() < bounds::CELLS {
                known.insert(wish.tag, Known { wish: wish.clone(), renewal: now + renewal, wanted });
            }
            asked.push((wish, question));
        }
        (asked, now_ms)
    }

    fn answers(&self, asked: &[(&Wish, Question)], asked_ms: u64, answers: &[i64]) {
        let mut locked = self.table.lock();
        let (parts, _) = answers.as_chunks::<3>();
        for ((wish, question), [share, target, used]) in asked.iter().zip(parts) {
            // A question that came after a later one was not heard.
            let Ok(share) = u64::try_from(*share) else { continue };
            let [target, used] = [target, used].map(|part| part.unsigned_abs());
            let Some(place) = locked.find(wish.tag) else { continue };
            let answer = Answer { share, target, used };
            wish.rule.answer_to(&mut locked.at(place), question, &answer, wish.need, asked_ms);
            locked.done();
        }
    }
}

/// Redis does not answer, or not in time.
#[derive(Debug)]
struct Gone;

impl From<RedisError> for Gone {
    fn from(_: RedisError) -> Self {
        Self
    }
}

fn script() -> Script {
    Script::new(include_str!("shares.lua"))
}

async fn connect(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await
}
