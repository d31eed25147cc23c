//! CORS: which origins' pages may read an answer, and the headers that say so.
//!
//! Law: pure. Without configured origins nothing is said; what is said names the origin that asked, or `*` if any may.

use http::Method;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};

use crate::routes::Route;

/// The origin that stands for all of them.
const ANY: &str = "*";
/// How long a browser may go by a preflight's answer, in seconds: a change counts for everybody within ten minutes.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
/// What a page may send that did not say what it will.
const ALLOWED: HeaderValue = HeaderValue::from_static("authorization, content-type");
/// What a page may read besides what it always may.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, x-ratelimit-limit-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, \
     x-ratelimit-remaining-tokens, x-ratelimit-reset-requests, x-ratelimit-reset-tokens, retry-after, \
     openai-processing-ms",
);

/// What an answer says to the page that asked; made only where origins are configured.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The origin that may read the answer.
    origin: Option<HeaderValue>,
}

impl Grant {
    /// What is said to whoever sent these headers.
    #[must_use]
    pub fn of(origins: &[Box<str>], headers: &HeaderMap) -> Option<Self> {
        if origins.is_empty() {
            return None;
        }
        if origins.iter().any(|known| **known == *ANY) {
            return Some(Self { origin: Some(HeaderValue::from_static(ANY)) });
        }
        let named = headers.get(ORIGIN);
        let known = named.filter(|named| origins.iter().any(|known| known.as_bytes() == named.as_bytes()));
        Some(Self { origin: known.cloned() })
    }

    /// Says it in the head of an answer.
    pub fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = &self.origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }

    /// What else a preflight is told, if these headers are one and its origin may ask.
    #[must_use]
    pub fn preflight(&self, method: &Method, route: &Route, headers: &HeaderMap) -> Option<HeaderMap> {
        let asks = method == Method::OPTIONS
            && headers.contains_key(ORIGIN)
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !asks || !route.is_known() || self.origin.is_none() {
            return None;
        }
        let wanted = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned().unwrap_or(ALLOWED);
        let mut told = HeaderMap::with_capacity(3);
        told.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(route.methods()));
        told.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted);
        told.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(origin: &'static str) -> HeaderMap {
        HeaderMap::from_iter([
            (ORIGIN, HeaderValue::from_static(origin)),
            (ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("GET")),
        ])
    }

    fn told(origins: &[&str], origin: &'static str) -> Option<HeaderMap> {
        let origins: Vec<Box<str>> = origins.iter().map(|one| (*one).into()).collect();
        let mut told = HeaderMap::new();
        Grant::of(&origins, &headers(origin))?.tell(&mut told);
        Some(told)
    }

    #[test]
    fn an_answer_names_the_origin_that_may_read_it() {
        let page = "https://page.example";
        assert!(told(&[], page).is_none());
        let said = told(&["https://other.example", page], page).unwrap();
        assert_eq!(
            (&said[ACCESS_CONTROL_ALLOW_ORIGIN], &said[VARY]),
            (&page.parse().unwrap(), &"Origin".parse().unwrap())
        );
        assert_eq!(told(&["*"], page).unwrap()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        for foreign in ["https://page.example:8443", "http://page.example", "https://Page.example", "null"] {
            assert_eq!(Vec::from_iter(told(&[page], foreign).unwrap().keys()), [VARY], "{foreign}");
        }
    }

    #[test]
    fn a_preflight_is_told_what_the_path_takes() {
        let grant = |origin| Grant::of(&["https://a.example".into()], &headers(origin)).unwrap();
        let mut asked = headers("https://a.example");
        let one = grant("https://a.example");
        let said = one.preflight(&Method::OPTIONS, &Route::Models, &asked).unwrap();
        assert_eq!(said[ACCESS_CONTROL_ALLOW_METHODS], "GET, HEAD");
        assert_eq!(said[ACCESS_CONTROL_ALLOW_HEADERS], "authorization, content-type");
        asked.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static("x-stainless-os"));
        let said = one.preflight(&Method::OPTIONS, &Route::Models, &asked).unwrap();
        assert_eq!(said[ACCESS_CONTROL_ALLOW_HEADERS], "x-stainless-os");
        assert!(one.preflight(&Method::GET, &Route::Models, &asked).is_none());
        assert!(one.preflight(&Method::OPTIONS, &Route::Unknown, &asked).is_none());
        assert!(grant("https://b.example").preflight(&Method::OPTIONS, &Route::Models, &asked).is_none());
        asked.remove(ACCESS_CONTROL_REQUEST_METHOD);
        assert!(one.preflight(&Method::OPTIONS, &Route::Models, &asked).is_none());
    }
}
