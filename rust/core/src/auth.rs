//! Who calls: the key that was presented, its digest, and what the key that has this digest may do.
//!
//! Law: presented keys are kept no longer than the connection that they came on: a key is looked up by its HMAC under a
//! secret pepper, so the time a look-up takes tells nothing about the keys that exist, and a stolen table opens no door.

use std::fmt;
use std::sync::Arc;

use ring::hmac;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::limit::{self, Rule};
use crate::snapshot::document::{Fields, fault};

/// HMAC-SHA256 of a key.
pub type Digest = [u8; 32];

/// The secret that makes digests useless to who has only the table.
#[derive(Clone)]
pub struct Pepper(hmac::Key);

impl Pepper {
    /// From 64 hexadecimal digits. The key schedule is computed here, once.
    #[must_use]
    pub fn from_hex(digits: &str) -> Option<Self> {
        let secret = unhex(digits)?;
        Some(Self(hmac::Key::new(hmac::HMAC_SHA256, &secret)))
    }

    /// The digest under which a key is looked up.
    #[must_use]
    pub fn digest(&self, presented: &[u8]) -> Digest {
        let tag = hmac::sign(&self.0, presented);
        let mut digest = Digest::default();
        for (to, from) in digest.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        digest
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// The key in the value of an `Authorization` header, if its scheme is Bearer.
#[must_use]
pub fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked("bearer".len())?;
    if !scheme.eq_ignore_ascii_case(b"bearer") || !rest.starts_with(b" ") {
        return None;
    }
    bare(rest)
}

/// The key in a header that holds nothing else.
#[must_use]
pub fn bare(value: &[u8]) -> Option<&[u8]> {
    let key = value.trim_ascii();
    (!key.is_empty()).then_some(key)
}

/// `sk-abcd****wxyz`: enough of a key for its owner to know it again, too little to use it.
#[must_use]
pub fn mask(presented: &[u8]) -> String {
    const STARS: &str = "****";
    // A short or foreign secret might be a password: none of it is shown.
    if presented.len() < 20 || !presented.starts_with(b"sk-") || !presented.iter().all(u8::is_ascii_graphic) {
        return STARS.to_owned();
    }
    let text = String::from_utf8_lossy(presented);
    let end = text.len().saturating_sub(4);
    format!("{}{STARS}{}", text.get(..7).unwrap_or(""), text.get(end..).unwrap_or(""))
}

/// What is known of a key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Key {
    /// The name it goes by in records and commands.
    pub id: Arc<str>,
    /// The models it may call; `None`: all.
    pub models: Option<Vec<Box<str>>>,
    /// Unix time in seconds from which it is void; `None`: never.
    pub expires: Option<f64>,
    /// Whose it is: tenants have contracts.
    pub tenant: Option<Arc<str>>,
    /// The project that it belongs to.
    pub project: Option<Arc<str>>,
    /// How many requests a minute it may make, in place of what the profile says.
    pub requests_per_minute: Option<u32>,
    /// What was paid for is used up.
    pub exhausted: bool,
    /// How much it may use.
    pub limits: Vec<Rule>,
}

impl Key {
    /// Whether this key may call a model.
    #[must_use]
    pub fn permits(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.iter().any(|allowed| **allowed == *model))
    }

    /// Whether this key is void at a Unix time in seconds.
    #[must_use]
    pub fn expired(&self, unix: f64) -> bool {
        self.expires.is_some_and(|expires| unix >= expires)
    }
}

/// What becomes of the table of keys.
#[derive(Debug, PartialEq)]
pub struct Changes {
    /// The table is emptied first.
    pub replace: bool,
    /// Keys that are new or changed.
    pub set: Vec<(Digest, Key)>,
    /// Ids of keys that are gone.
    pub remove: Vec<Box<str>>,
}

/// Reads the keys document.
///
/// # Errors
/// Every problem with its path. No digest is repeated in one.
pub fn changes(json: &[u8]) -> Result<Changes, Vec<String>> {
    let document: Document = serde_json::from_slice(json).map_err(|error| vec![fault(&error)])?;
    let mut problems = Vec::new();
    let mut set = Vec::with_capacity(document.set.len());
    for (index, Entry(entry)) in document.set.into_iter().enumerate() {
        match entry {
            Ok(entry) => set.push(entry),
            Err(found) => {
                problems.extend(found.iter().map(|what| what.replacen("set", &format!("set[{index}]"), 1)))
            }
        }
    }
    for (index, _) in document.remove.iter().enumerate().filter(|(_, id)| !is_id(id)) {
        problems.push(format!("remove[{index}]: {ID}"));
    }
    let changes = Changes { replace: document.replace, set, remove: document.remove };
    if problems.is_empty() { Ok(changes) } else { Err(problems) }
}

/// The outer form. Entries become keys one by one while they are read: a million of them are never held as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    replace: bool,
    #[serde(default)]
    set: Vec<Entry>,
    #[serde(default)]
    remove: Vec<Box<str>>,
}

struct Entry(Result<(Digest, Key), Vec<String>>);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self(entry(value)))
    }
}

const ID: &str = "must be an id of 1 to 128 visible ASCII characters";

fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(crate) const LABEL: &str = "must be a text of 1 to 200 characters";

pub(crate) fn is_label(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= 200
}

fn entry(value: Value) -> Result<(Digest, Key), Vec<String>> {
    let mut problems = Vec::new();
    let read = Fields::open(value, "set".to_owned(), &mut problems).map(|mut fields| {
        let id = fields.text("id", is_id, ID);
        let hash = fields.text("hash", |text| unhex(text).is_some(), "must be 64 hexadecimal digits");
        let models = fields.optional("models").map(|models| names(models, &mut fields));
        let expires = fields.optional("expires").map(|expires| expires.as_f64());
        if expires == Some(None) {
            fields.problem("expires", "must be a Unix time in seconds or null");
        }
        let key = Key {
            id: id.into(),
            models,
            expires: expires.flatten(),
            tenant: fields.optional_text("tenant", is_label, LABEL).map(Into::into),
            project: fields.optional_text("project", is_label, LABEL).map(Into::into),
            requests_per_minute: fields
                .optional_whole("requests_per_minute", 1..=u64::from(u32::MAX))
                .and_then(|requests| u32::try_from(requests).ok()),
            exhausted: fields.optional_flag("exhausted").unwrap_or_default(),
            limits: limit::section(&mut fields, "limits"),
        };
        fields.done();
        (unhex(&hash).unwrap_or_default(), key)
    });
    match read {
        Some(read) if problems.is_empty() => Ok(read),
        _ => Err(problems),
    }
}

fn names(models: Value, fields: &mut Fields<'_>) -> Vec<Box<str>> {
    match serde_json::from_value(models) {
        Ok(names) => names,
        Err(_) => {
            fields.problem("models", "must be an array of names or null");
            Vec::new()
        }
    }
}

fn unhex(digits: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    if digits.len() != 2 * digest.len() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let nibble = |digit: &u8| char::from(*digit).to_digit(16);
        *byte = u8::try_from(nibble(high)? << 4 | nibble(low)?).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::{Changes, Key, Pepper, Rule, bearer, changes, mask};

    /// RFC 4231 test case 2 needs a 4-byte key; HMAC pads keys with zeros, so 28 zeros more make the same key.
    const JEFE: &str = "4a65666500000000000000000000000000000000000000000000000000000000";
    const HASH: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";

    #[test]
    fn digest_is_hmac_sha256() {
        let digest = Pepper::from_hex(JEFE).unwrap().digest(b"what do ya want for nothing?");
        assert_eq!(digest, super::unhex(HASH).unwrap());
    }

    #[test]
    fn pepper_wants_64_digits_and_shows_none() {
        assert!(Pepper::from_hex("").is_none());
        assert!(Pepper::from_hex(&JEFE[2..]).is_none());
        assert!(Pepper::from_hex(&JEFE.replace('4', "g")).is_none());
        assert!(Pepper::from_hex(&"é".repeat(32)).is_none());
        assert_eq!(format!("{:?}", Pepper::from_hex(JEFE).unwrap()), "***");
    }

    #[test]
    fn bearer_forms() {
        let rows: [(&[u8], Option<&[u8]>); 14] = [
            (b"Bearer sk-1", Some(b"sk-1")),
            (b"bearer sk-1", Some(b"sk-1")),
            (b"BEARER   sk-1 \t ", Some(b"sk-1")),
            (b"Bearer a b", Some(b"a b")),
            (b"Bearer \xff", Some(b"\xff")),
            (b"Bearer", None),
            (b"Bearer ", None),
            (b"Bearer   \t", None),
            (b"Bearersk-1", None),
            (b"Bearer\tsk-1", None),
            (b"Basic c2s=", None),
            (b" Bearer sk-1", None),
            (b"sk-1", None),
            (b"", None),
        ];
        for (value, key) in rows {
            assert_eq!(bearer(value), key, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn mask_shows_little_or_nothing() {
        assert_eq!(mask(b"sk-abcdefghijklmnopqrstuvwxyz"), "sk-abcd****wxyz");
        for hidden in
            [b"".as_slice(), b"sk-short", b"correct horse battery staple", b"sk-\xffbcdefghijklmnopqrst"]
        {
            assert_eq!(mask(hidden), "****");
        }
    }

    #[test]
    fn what_a_key_may_do() {
        let mut key = Key { id: "k_1".into(), ..Key::default() };
        assert!(key.permits("any"));
        assert!(!key.expired(f64::MAX));
        key.models = Some(vec!["a".into(), "b".into()]);
        key.expires = Some(100.0);
        assert!(key.permits("b") && !key.permits("c") && !key.permits("B"));
        assert!(!key.expired(99.9) && key.expired(100.0));
        key.models = Some(Vec::new());
        assert!(!key.permits("a"));
    }

    #[test]
    fn changes_are_read() {
        let json = format!(
            r#"{{"replace":true,"set":[{{"id":"k_1","hash":"{HASH}","models":["a"],"expires":1790000000.5,
                 "tenant":"t","project":"p","requests_per_minute":7,"exhausted":true,"limits":{{"concurrency":2}}}},
                {{"id":"k_2","hash":"{JEFE}","models":null,"expires":null}}],"remove":["k_3"]}}"#
        );
        let first = Key {
            id: "k_1".into(),
            models: Some(vec!["a".into()]),
            expires: Some(1_790_000_000.5),
            tenant: Some("t".into()),
            project: Some("p".into()),
            requests_per_minute: Some(7),
            exhausted: true,
            limits: vec![Rule::Concurrency(2)],
        };
        let second = Key { id: "k_2".into(), ..Key::default() };
        let digest = |hex| super::unhex(hex).unwrap();
        let set = vec![(digest(HASH), first), (digest(JEFE), second)];
        assert_eq!(changes(json.as_bytes()), Ok(Changes { replace: true, set, remove: vec!["k_3".into()] }));
        let empty = Changes { replace: false, set: Vec::new(), remove: Vec::new() };
        assert_eq!(changes(br#"{"replace":false}"#), Ok(empty));
    }

    #[test]
    fn every_problem_of_changes_at_once() {
        let json = br#"{"replace":true,"remove":[""],"set":[
            {"id":"","hash":"5b","models":[1],"expires":"soon","colour":"red"}, 7, {"id":"k_2"}]}"#;
        let problems = [
            "set[0].id: must be an id of 1 to 128 visible ASCII characters",
            "set[0].hash: must be 64 hexadecimal digits",
            "set[0].models: must be an array of names or null",
            "set[0].expires: must be a Unix time in seconds or null",
            "set[0].colour: is not known",
            "set[1]: must be an object",
            "set[2].hash: is missing",
            "remove[0]: must be an id of 1 to 128 visible ASCII characters",
        ];
        assert_eq!(changes(json).unwrap_err(), problems);
    }

    #[test]
    fn what_is_not_the_document_is_one_problem_that_repeats_nothing() {
        for json in [
            "",
            "[]",
            "{}",
            "{\"replace\":true,",
            "{\"replace\":\"secret\"}",
            "{\"replace\":true,\"set\":\"secret\"}",
        ] {
            let problems = changes(json.as_bytes()).unwrap_err();
            assert!(problems.len() == 1 && !problems[0].contains("secret"), "{json}: {problems:?}");
        }
    }
}
