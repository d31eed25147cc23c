//! A snapshot with what is alive behind it: loads, idle connections, counters.
//!
//! Law: made whole and never changed. What was alive before stays with the backends that did not move.

use std::sync::Arc;

use levada_core::profile::Profile;
use levada_core::snapshot::{Backend, Snapshot};

use crate::client::Dialer;
use crate::jwts::Jwts;
use crate::load::Load;
use crate::metrics::{Metrics, ModelMetrics};
use crate::tls;
use crate::tokens::{self, Tokenizer};

/// A snapshot with the live things that belong to it, in the snapshot's order.
#[derive(Debug)]
pub struct Current {
    /// What the operator wrote, compiled.
    pub snapshot: Snapshot,
    /// One for each backend.
    pub loads: Vec<Arc<Load>>,
    /// One for each model.
    pub models: Vec<Arc<ModelMetrics>>,
    /// What each model's tokens are counted with.
    pub tokenizers: Vec<Option<Arc<Tokenizer>>>,
    /// The TLS configuration of the public listener.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// What is remembered of tokens, under these issuers and keys.
    pub jwts: Arc<Jwts>,
}

impl Current {
    /// Whether the model at this place appears in lists: it does, unless the profile lists only what can be served now.
    #[must_use]
    pub fn lists(&self, profile: &Profile, model: usize) -> bool {
        if !profile.lists_live {
            return true;
        }
        let alive = |backend: usize| {
            self.loads.get(backend).is_some_and(|load| load.weight(&self.snapshot.breaker).is_some())
        };
        self.snapshot
            .models
            .get(model)
            .is_some_and(|model| model.pool.iter().any(|member| alive(member.backend)))
    }
}

/// A snapshot with its live side; what was live before stays with the backends that did not move.
///
/// # Errors
/// Every problem that only shows when things are made: host names, certificates.
pub fn compile(
    snapshot: Snapshot,
    before: Option<&Current>,
    metrics: &Metrics,
) -> Result<Current, Vec<String>> {
    let mut problems = Vec::new();
    let mut loads = Vec::with_capacity(snapshot.backends.len());
    for (index, backend) in snapshot.backends.iter().enumerate() {
        let kept = before.and_then(|before| {
            let at = before.snapshot.backends.iter().position(|old| same_place(old, backend))?;
            before.loads.get(at).cloned()
        });
        let load = match kept {
            Some(load) => Ok(load),
            None => dialer(backend).map(|dialer| Arc::new(Load::new(dialer, metrics.backend(&backend.name)))),
        };
        match load {
            Ok(load) => loads.push(load),
            Err(problem) => problems.push(format!("backends[{index}]: {problem}")),
        }
    }
    let tls = match &snapshot.tls {
        None => None,
        Some(pair) => match tls::server(&pair.certificate, pair.key.reveal()) {
            Ok(config) => Some(config),
            Err(problem) => {
                problems.push(format!("tls: {problem}"));
                None
            }
        },
    };
    let tokenizers = tokenizers(&snapshot, before, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let models = snapshot.models.iter().map(|model| Arc::new(metrics.model(&model.name))).collect();
    let same = before.filter(|before| before.snapshot.issuers == snapshot.issuers);
    let jwts = same.map(|before| Arc::clone(&before.jwts)).unwrap_or_default();
    Ok(Current { snapshot, loads, models, tokenizers, tls, jwts })
}

/// The tokenizers of the models. A file that has become bad since is judged at the next reload: until then what was
/// read of it stays.
fn tokenizers(
    snapshot: &Snapshot,
    before: Option<&Current>,
    problems: &mut Vec<String>,
) -> Vec<Option<Arc<Tokenizer>>> {
    let mut found = Vec::with_capacity(snapshot.models.len());
    for (index, model) in snapshot.models.iter().enumerate() {
        let Some(name) = &model.tokenizer else {
            found.push(None);
            continue;
        };
        let kept = || {
            let before = before?;
            let at = before.snapshot.models.iter().position(|old| old.tokenizer.as_ref() == Some(name))?;
            before.tokenizers.get(at).cloned().flatten()
        };
        let loaded = tokens::load(name).or_else(|problem| kept().ok_or(problem));
        match loaded {
            Ok(tokenizer) => found.push(Some(tokenizer)),
            Err(problem) => problems.push(format!("models[{index}].tokenizer: {problem}")),
        }
    }
    found
}

fn same_place(old: &Backend, new: &Backend) -> bool {
    (&old.name, old.secure, &old.host, old.port, old.verify, &old.ca)
        == (&new.name, new.secure, &new.host, new.port, new.verify, &new.ca)
}

fn dialer(backend: &Backend) -> Result<Dialer, String> {
    let tls = if backend.secure { Some(tls::client(backend.ca.as_deref(), backend.verify)?) } else { None };
    Dialer::new(&backend.host, backend.port, tls)
}
