//! The keys in force, and who calls with one.
//!
//! Law: looked up by digest, without a lock; unknown, expired and revoked keys are one answer.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, header};
use levada_core::auth::{self, Digest, Key};
use levada_core::bounds;
use levada_core::endpoint::Dialect;
use levada_core::jwt;
use levada_core::refusal::{Kind, Refusal};
use levada_core::snapshot::Snapshot;

use crate::current::Current;
use crate::routes::Target;

/// What a connection presented last: most present one key again and again, and it is digested once. Forgotten with the
/// connection.
#[derive(Default)]
pub struct Last(Mutex<Option<Digested>>);

/// A key and its digest, under the pepper of this version of the snapshot.
struct Digested {
    version: u64,
    presented: Box<[u8]>,
    digest: Digest,
}

impl Last {
    fn digest(&self, snapshot: &Snapshot, presented: &[u8]) -> Digest {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |one: &&Digested| one.version == snapshot.version && *one.presented == *presented;
        if let Some(one) = last.as_ref().filter(same) {
            return one.digest;
        }
        let digest = snapshot.pepper.digest(presented);
        *last = Some(Digested { version: snapshot.version, presented: presented.into(), digest });
        digest
    }
}

/// The table of keys.
#[derive(Debug, Default)]
pub struct Keys {
    held: papaya::HashMap<Digest, Arc<Key>>,
    unknown_kids: AtomicU64,
}

impl Keys {
    /// Adds, changes and removes keys; how many there are afterwards.
    ///
    /// # Errors
    /// Every problem of the document; nothing is changed then.
    pub fn change(&self, document: &[u8]) -> Result<usize, Vec<String>> {
        let changes = auth::changes(document)?;
        let keys = self.held.pin();
        if changes.replace {
            let staying: HashSet<Digest> = changes.set.iter().map(|(digest, _)| *digest).collect();
            keys.retain(|digest, _| staying.contains(digest));
        }
        if !changes.remove.is_empty() {
            keys.retain(|_, key| !changes.remove.iter().any(|id| **id == *key.id));
        }
        for (digest, key) in changes.set {
            keys.insert(digest, Arc::new(key));
        }
        Ok(keys.len())
    }

    /// The key that the headers present.
    ///
    /// # Errors
    /// None, more than one, or one that is not in force.
    pub fn presented(
        &self,
        current: &Current,
        headers: &HeaderMap,
        dialect: Dialect,
        last: &Last,
    ) -> Result<Arc<Key>, Refusal> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let presented = match (values.next(), values.next()) {
            // Anthropic's clients have a header of their own.
            (None, _) if dialect == Dialect::Anthropic => {
                let value = headers.get("x-api-key").map(HeaderValue::as_bytes);
                value.and_then(auth::bare).ok_or_else(|| Refusal::of(Kind::NoKey))?
            }
            (None, _) => return Err(Refusal::of(Kind::NoKey)),
            (Some(_), Some(_)) => return Err(Refusal::of(Kind::TwoAuthorizations)),
            (Some(value), None) => auth::bearer(value.as_bytes()).ok_or_else(|| Refusal::of(Kind::NoKey))?,
        };
        // Unknown, revoked and expired are one answer: it tells nothing about keys that exist.
        self.known(current, presented, last).ok_or_else(|| {
            Refusal::of(Kind::BadKey)
                .message(format!("Incorrect API key provided: {}.", auth::mask(presented)))
        })
    }

    /// The key in force that a bearer is, or that its issuer has signed.
    fn known(&self, current: &Current, presented: &[u8], last: &Last) -> Option<Arc<Key>> {
        let snapshot = &current.snapshot;
        if presented.len() > bounds::KEY_BYTES {
            return None;
        }
        if !snapshot.issuers.is_empty() && jwt::is_token(presented) {
            return current.jwts.key(&snapshot.issuers, presented, unix(), &self.unknown_kids);
        }
        if !snapshot.allow_opaque {
            return None;
        }
        let found = self.held.pin().get(&last.digest(snapshot, presented)).map(Arc::clone);
        found.filter(|key| key.expires.is_none() || !key.expired(unix()))
    }

    /// How often a token has named a signing key that nobody knows; the same one counts again after a while.
    pub fn unknown_kids(&self) -> u64 {
        self.unknown_kids.load(Relaxed)
    }
}

/// What the head of a call says: who calls, for what.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Its key; nothing on an open path.
    pub key: Option<Arc<Key>>,
    /// What it asks for.
    pub target: Target,
    /// The largest body it may send, in bytes.
    pub body_limit: usize,
}

impl Caller {
    /// The key's id; nothing on an open path.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key.as_deref().map(|key| &*key.id)
    }
}

fn unix() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
