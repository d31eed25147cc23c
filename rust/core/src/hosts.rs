//! Hosts: which profile holds for the name that a client has asked at.
//!
//! Law: pure; a name counts without its port, its case and the dot of the root. What is named exactly wins over
//! `*.suffix`, a longer suffix over a shorter; every other name has the first profile.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::profile::Profile;

/// The profiles by the names that they hold for.
#[derive(Debug, Clone)]
pub struct Hosts {
    usual: Arc<Profile>,
    profiles: Vec<Arc<Profile>>,
    /// The place of the profile by exact names; and by what follows the star of a wildcard, which begins with a dot.
    named: HashMap<Box<str>, usize>,
}

impl Hosts {
    /// The profiles, and of names the places of theirs; nothing without a profile.
    #[must_use]
    pub fn new(
        profiles: Vec<Arc<Profile>>,
        named: impl IntoIterator<Item = (Box<str>, usize)>,
    ) -> Option<Self> {
        let key = |name: &str| name.strip_prefix('*').unwrap_or(name).to_ascii_lowercase().into_boxed_str();
        let named = named.into_iter().map(|(name, place)| (key(&name), place)).collect();
        Some(Self { usual: Arc::clone(profiles.first()?), profiles, named })
    }

    /// The profile that holds where no name is known.
    #[must_use]
    pub fn usual(&self) -> &Arc<Profile> {
        &self.usual
    }

    /// The profile that holds for `host`, which may have a port.
    #[must_use]
    pub fn at(&self, host: Option<&str>) -> &Arc<Profile> {
        self.profiles.get(self.place(host)).unwrap_or(&self.usual)
    }

    /// Its place among the profiles.
    #[must_use]
    pub fn place(&self, host: Option<&str>) -> usize {
        match host {
            Some(host) if !self.named.is_empty() => self.find(bare(host)).unwrap_or_default(),
            _ => 0,
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
        let suffixes = name.match_indices('.').filter_map(|(at, _)| name.get(at..));
        std::iter::once(&*name).chain(suffixes).find_map(|known| self.named.get(known).copied())
    }
}

/// The name without its port and the dot of the root.
fn bare(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether a name may stand in the document: a name or an address, or `*.` and a name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    (1..=253).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(name: &str) -> Arc<Profile> {
        let all = include_str!("../../../tests/vectors/profiles.json");
        let all: serde_json::Value = serde_json::from_str(all).unwrap();
        Arc::new(Profile::parse(all[name].to_string().as_bytes()).unwrap())
    }

    #[test]
    fn a_name_has_its_profile() {
        let names = [("api.flex.example", 1), ("*.example", 2), ("*.Ionos.example", 3), ("[::1]", 4)];
        let profiles = ["openai", "flexai", "mittwald-shared", "ionos", "mittwald-dedicated"];
        let hosts = Hosts::new(profiles.map(profile).into(), names.map(|(name, at)| (name.into(), at)));
        let hosts = hosts.unwrap();
        assert!(Hosts::new(Vec::new(), []).is_none());
        for (host, expected) in [
            ("api.flex.example", "flexai"),
            ("API.Flex.EXAMPLE:8443", "flexai"),
            ("api.flex.example.", "flexai"),
            ("x.api.flex.example", "mittwald-shared"),
            ("eu.ionos.example", "ionos"),
            ("a.b.ionos.example:80", "ionos"),
            ("ionos.example", "mittwald-shared"),
            ("example", "openai"),
            ("ionos.example.evil", "openai"),
            ("xionos.example", "mittwald-shared"),
            ("[::1]:8080", "mittwald-dedicated"),
            ("[::1]", "mittwald-dedicated"),
            ("", "openai"),
            (".", "openai"),
            (":", "openai"),
        ] {
            assert_eq!(*hosts.at(Some(host)).name, *expected, "{host}");
        }
        assert_eq!(*hosts.at(None).name, *hosts.usual().name);
    }

    #[test]
    fn what_is_no_name() {
        for good in ["a", "a.b", "*.a", "10.0.0.1", "[::1]", "a_b-c.d"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "*", "*.", ".a", "a.*", "*.*.a", "a b", "a/b", "*a"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
