//! The tokens that have been verified, and the signing keys that were asked for in vain.
//!
//! Law: lives as long as the issuers' entries and keys stay as they are; bounded, and looked up without a lock. A
//! signature is checked once, not for every call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use levada_core::auth::{Digest, Key};
use levada_core::bounds;
use levada_core::jwt::{self, Issuer, Wrong};

/// What is remembered of tokens.
#[derive(Debug, Default)]
pub struct Jwts {
    verified: papaya::HashMap<Digest, Arc<Key>>,
    /// Ids of signing keys that nobody has, and until when they count as such.
    unknown: papaya::HashMap<Digest, f64>,
}

impl Jwts {
    /// The key that a token stands for at a Unix time in seconds. A signing key that is asked for the first time in a
    /// while and is not there is counted in `missed`.
    pub fn key(&self, issuers: &[Issuer], token: &[u8], now: f64, missed: &AtomicU64) -> Option<Arc<Key>> {
        let name = jwt::fingerprint(token);
        let verified = self.verified.pin();
        if let Some(key) = verified.get(&name) {
            return (!key.expired(now)).then(|| Arc::clone(key));
        }
        match jwt::verify(issuers, token, now) {
            Ok(key) => {
                let key = Arc::new(key);
                // Only what an issuer has signed gets here; who has that many tokens pays with a few signatures.
                if verified.len() >= bounds::TOKENS_HELD {
                    verified.clear();
                }
                verified.insert(name, Arc::clone(&key));
                Some(key)
            }
            Err(Wrong::UnknownKey(id)) => {
                if self.is_missed(jwt::fingerprint(id.as_bytes()), now) {
                    missed.fetch_add(1, Relaxed);
                }
                None
            }
            Err(Wrong::Refused) => None,
        }
    }

    /// Whether an unknown id is worth a look at the issuer's keys: not again and again.
    fn is_missed(&self, id: Digest, now: f64) -> bool {
        let unknown = self.unknown.pin();
        if unknown.get(&id).is_some_and(|until| now < *until) {
            return false;
        }
        if unknown.len() >= bounds::UNKNOWN_KEYS_HELD {
            unknown.clear();
        }
        unknown.insert(id, now + bounds::UNKNOWN_KEY_SECONDS);
        true
    }
}
