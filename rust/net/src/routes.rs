//! Which paths the engine answers itself, and by which methods.
//!
//! Law: an exact table over the raw path, read once for a request; nothing is decoded but a model's name.

use std::sync::Arc;

use http::Method;
use levada_core::endpoint::{Dialect, Endpoint};
use levada_core::profile::Profile;

/// What exists on the admin listener only, each with all that lies under it.
const ADMIN: [&str; 3] = ["/admin", "/dashboard", "/metrics"];

/// Whether `path` exists on the admin listener only; elsewhere it is nowhere, with or without a key.
#[must_use]
pub fn is_admin(path: &str) -> bool {
    let within =
        |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    ADMIN.iter().any(|root| within(root))
}

/// What a request is aimed at: a route, under the contract that holds there.
#[derive(Debug, Clone)]
pub struct Target {
    /// What the path means under that contract.
    pub route: Route,
    /// The contract.
    pub profile: Arc<Profile>,
}

impl Target {
    /// The target of `path`, which has no query.
    #[must_use]
    pub fn of(profile: &Arc<Profile>, path: &str) -> Self {
        Self { route: Route::of(profile, path), profile: Arc::clone(profile) }
    }
}

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/livez`: the process runs.
    Live,
    /// `/readyz`: it takes calls.
    Ready,
    /// `/v1/models`
    Models,
    /// `/v1/models/{id}`
    Model(Box<str>),
    /// A call to a backend.
    Inference(Endpoint),
    /// Not ours.
    Unknown,
}

impl Route {
    /// The meaning of `path`. What the profile does not offer is nowhere, for every method and in nobody's dialect.
    fn of(profile: &Profile, path: &str) -> Self {
        match path {
            "/livez" | "/health" => return Self::Live,
            "/readyz" | "/ready" => return Self::Ready,
            _ => {}
        }
        let bare = profile.base_paths.iter().filter_map(|base| path.strip_prefix(&**base));
        bare.map(|bare| Self::under(profile, bare)).find(Self::is_known).unwrap_or(Self::Unknown)
    }

    /// The meaning of what comes after a base path.
    fn under(profile: &Profile, bare: &str) -> Self {
        if let Some(endpoint) = Endpoint::at(bare).filter(|endpoint| profile.rules(*endpoint).is_some()) {
            return Self::Inference(endpoint);
        }
        match bare.strip_prefix("/models") {
            Some("") => Self::Models,
            Some(rest) => match rest.strip_prefix('/').filter(|name| !name.is_empty()).and_then(decode) {
                Some(name) => Self::Model(name.into()),
                None => Self::Unknown,
            },
            None => Self::Unknown,
        }
    }

    /// Whether the engine answers it.
    #[must_use]
    pub fn is_known(&self) -> bool {
        *self != Self::Unknown
    }

    /// Whether it may be asked without a key.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Live | Self::Ready)
    }

    /// What its clients read.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Inference(endpoint) => endpoint.dialect(),
            _ => Dialect::default(),
        }
    }

    /// The methods it has, as an Allow header; nothing for a path that is not ours.
    #[must_use]
    pub fn methods(&self) -> &'static str {
        match self {
            Self::Inference(_) => "POST",
            Self::Unknown => "",
            _ => "GET, HEAD",
        }
    }

    /// Whether `method` is one of them.
    #[must_use]
    pub fn takes(&self, method: &Method) -> bool {
        match self {
            Self::Inference(_) => method == Method::POST,
            Self::Unknown => false,
            _ => method == Method::GET || method == Method::HEAD,
        }
    }
}

/// A model's name out of a path: percent escapes are read, so that a name with a slash can be asked for either way.
fn decode(name: &str) -> Option<String> {
    let mut out = Vec::with_capacity(name.len());
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            out.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(name: &str) -> Profile {
        let all = include_str!("../../../tests/vectors/profiles.json");
        let all: serde_json::Value = serde_json::from_str(all).unwrap();
        Profile::parse(all[name].to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_table_is_exact() {
        let profile = profile("openai");
        let route = |path: &str| Route::of(&profile, path);
        assert_eq!(route("/v1/chat/completions"), Route::Inference(Endpoint::Chat));
        assert_eq!(route("/v1/models"), Route::Models);
        assert_eq!(route("/v1/models/a%2Fb"), Route::Model("a/b".into()));
        assert_eq!(route("/v1/models/a/b"), Route::Model("a/b".into()));
        for path in [
            "/v1/chat/completions/",
            "//v1/models",
            "/v1/models/",
            "/v1/models/%zz",
            "/V1/models",
            "/v1",
            "/",
            "",
            "/v1/modelsx",
            "/chat/completions",
            "/models",
            "/v1chat/completions",
        ] {
            assert_eq!(route(path), Route::Unknown, "{path}");
        }
        assert!(route("/livez").is_open() && !route("/v1/models").is_open());
    }

    #[test]
    fn a_profile_says_under_which_paths_it_is_found() {
        let mut profile = profile("mittwald-shared");
        assert_eq!(Route::of(&profile, "/embeddings"), Route::Inference(Endpoint::Embeddings));
        assert_eq!(Route::of(&profile, "/v1/models/a/b"), Route::Model("a/b".into()));
        assert_eq!(Route::of(&profile, "/moderations"), Route::Unknown);
        profile.base_paths = vec!["/openai/v1".into()];
        assert_eq!(Route::of(&profile, "/openai/v1/models"), Route::Models);
        assert_eq!(Route::of(&profile, "/v1/models"), Route::Unknown);
        assert_eq!(Route::of(&profile, "/livez"), Route::Live);
    }
}
