//! Tokens in place of keys: a bearer that an issuer has signed, and what it says of its caller.
//!
//! Law: nothing in a token chooses how it is judged. The issuer's entry names the algorithms, the key says which one it
//! serves, and a header that brings a key or asks for more is refused. Why a token is refused is told to nobody.

use std::sync::Arc;

use ring::digest;
use serde_json::{Map, Value};

use crate::auth::{Digest, Key};
use crate::bounds;
use crate::snapshot::document::{Fields, optional_texts};
use jwks::{Algorithm, PublicKey};

mod base64url;
mod jwks;
mod once;

/// Who may sign tokens, and for what.
#[derive(Debug, Clone, PartialEq)]
pub struct Issuer {
    /// Its `iss`.
    name: Box<str>,
    /// One of these must be among a token's `aud`.
    audience: Vec<Box<str>>,
    algorithms: Vec<Algorithm>,
    /// The claim that says who calls.
    subject: Box<str>,
    /// The claim that says which models may be called; `None`: all may.
    models: Option<Box<str>>,
    /// Empty until they are known.
    keys: Vec<PublicKey>,
}

/// Why a token is no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// It is not in order.
    Refused,
    /// Its issuer has no key of this id, yet.
    UnknownKey(Box<str>),
}

/// Whether a bearer has the look of a token: a JSON object in base64url, and two dots.
#[must_use]
pub fn is_token(bearer: &[u8]) -> bool {
    bearer.starts_with(b"eyJ") && bearer.iter().filter(|byte| **byte == b'.').count() == 2
}

/// The name under which a token, or the id of a key, is remembered.
#[must_use]
pub fn fingerprint(text: &[u8]) -> Digest {
    let mut fingerprint = Digest::default();
    for (to, from) in fingerprint.iter_mut().zip(digest::digest(&digest::SHA256, text).as_ref()) {
        *to = *from;
    }
    fingerprint
}

/// The key that a token stands for at a Unix time in seconds; it is void when the token is.
///
/// # Errors
/// It is not in order, or the issuer's key is not known.
pub fn verify(issuers: &[Issuer], token: &[u8], now: f64) -> Result<Key, Wrong> {
    let (signed, signature) = parted(token).ok_or(Wrong::Refused)?;
    let (head, body) = parted(signed).ok_or(Wrong::Refused)?;
    let header = object(head).as_ref().and_then(header).ok_or(Wrong::Refused)?;
    let claims = object(body).ok_or(Wrong::Refused)?;
    let named = claims.get("iss").and_then(Value::as_str).ok_or(Wrong::Refused)?;
    let issuer = issuers.iter().find(|issuer| *issuer.name == *named).ok_or(Wrong::Refused)?;
    if !issuer.algorithms.contains(&header.algorithm) {
        return Err(Wrong::Refused);
    }
    // Claims come first: they cost less than a signature, and a stale token makes nobody look for keys.
    let key = issuer.judge(&claims, now).ok_or(Wrong::Refused)?;
    let signature = base64url::decode(signature).ok_or(Wrong::Refused)?;
    if issuer.signed(&header, signed, &signature)? { Ok(key) } else { Err(Wrong::Refused) }
}

/// What is read of a header.
struct Header {
    algorithm: Algorithm,
    key: Option<Box<str>>,
}

fn header(members: &Map<String, Value>) -> Option<Header> {
    // Each of these lets the token choose its own key, or changes what the rest means.
    const REFUSED: [&str; 4] = ["jwk", "jku", "x5u", "crit"];
    if REFUSED.iter().any(|name| members.contains_key(*name)) {
        return None;
    }
    if !members.get("typ").is_none_or(is_type) {
        return None;
    }
    let key = match members.get("kid") {
        None => None,
        Some(id) => Some(id.as_str()?.into()),
    };
    Some(Header { algorithm: Algorithm::named(members.get("alg")?.as_str()?)?, key })
}

/// `JWT`, or the access token of RFC 9068; anything else was signed for another use.
fn is_type(value: &Value) -> bool {
    let Some(text) = value.as_str() else { return false };
    let text = text.to_ascii_lowercase();
    matches!(text.strip_prefix("application/").unwrap_or(&text), "jwt" | "at+jwt")
}

impl Issuer {
    /// Reads one entry of the snapshot's `auth.jwt`.
    pub(crate) fn read(mut fields: Fields<'_>) -> Self {
        let claim = |text: &str| !text.is_empty();
        let mut algorithms = Vec::new();
        for word in optional_texts(&mut fields, "algorithms") {
            match Algorithm::named(&word) {
                Some(algorithm) => algorithms.push(algorithm),
                None => fields.problem("algorithms", "must be of RS256, ES256 and EdDSA"),
            }
        }
        let set = fields.optional("keys").map(|set| jwks::read(&set));
        if set == Some(None) {
            fields.problem("keys", "must be a JWK set or null");
        }
        let issuer = Self {
            name: fields.text("issuer", claim, "must be a text that is not empty"),
            audience: optional_texts(&mut fields, "audience"),
            algorithms,
            subject: fields.text("subject", claim, "must be the name of a claim"),
            models: fields.optional_text("models_claim", claim, "must be the name of a claim or null"),
            keys: set.flatten().unwrap_or_default(),
        };
        fields.done();
        issuer
    }

    /// The key that the claims make, if they are in order now.
    fn judge(&self, claims: &Map<String, Value>, now: f64) -> Option<Key> {
        let expires = claims.get("exp")?.as_f64()? + bounds::TOKEN_LEEWAY_SECONDS;
        let begins = match claims.get("nbf") {
            None => f64::MIN,
            Some(begins) => begins.as_f64()? - bounds::TOKEN_LEEWAY_SECONDS,
        };
        let meant = |name: &&str| self.audience.iter().any(|known| **known == **name);
        if now >= expires || now < begins || !texts(claims.get("aud")?)?.iter().any(meant) {
            return None;
        }
        let models = match &self.models {
            None => None,
            Some(claim) => Some(allowed(claims.get(&**claim))?),
        };
        let id = caller(claims.get(&*self.subject)?.as_str()?)?;
        Some(Key { id, models, expires: Some(expires), ..Key::default() })
    }

    /// Whether one of the keys that the header means has made the signature.
    fn signed(&self, header: &Header, signed: &[u8], signature: &[u8]) -> Result<bool, Wrong> {
        let fits = |key: &&PublicKey| match &header.key {
            Some(id) => key.id() == Some(id),
            None => key.algorithm() == header.algorithm,
        };
        match self.keys.iter().filter(fits).count() {
            0 => Err(Wrong::UnknownKey(header.key.clone().unwrap_or_default())),
            // Without an id there is no choice to make but where there is none.
            count if count > 1 && header.key.is_none() => Ok(false),
            _ => {
                let mut meant = self.keys.iter().filter(fits);
                Ok(meant.any(|key| key.algorithm() == header.algorithm && key.verifies(signed, signature)))
            }
        }
    }
}

/// The parts before and after the last dot.
fn parted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let dot = text.iter().rposition(|byte| *byte == b'.')?;
    Some((text.get(..dot)?, text.get(dot + 1..)?))
}

fn object(part: &[u8]) -> Option<Map<String, Value>> {
    once::object(&base64url::decode(part)?)
}

/// One text, or an array of nothing but texts.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(values) => values.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// The models of a claim: an array of names, or one text with spaces between them. Without the claim there are none.
fn allowed(claim: Option<&Value>) -> Option<Vec<Box<str>>> {
    match claim {
        None => Some(Vec::new()),
        Some(Value::String(text)) => Some(text.split_ascii_whitespace().map(Into::into).collect()),
        Some(names) => Some(texts(names)?.into_iter().map(Into::into).collect()),
    }
}

/// The name that a subject goes by in records: what is not visible ASCII could disturb a line of them.
fn caller(subject: &str) -> Option<Arc<str>> {
    let visible: String = subject.chars().filter(char::is_ascii_graphic).collect();
    let shown: String = format!("jwt:{visible}").chars().take(bounds::KEY_ID_BYTES).collect();
    (!visible.is_empty()).then(|| shown.into())
}

#[cfg(test)]
mod tests;
