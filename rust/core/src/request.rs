//! Reads from a request body what the engine needs, and where it stands; the body itself is never rebuilt.
//!
//! Law: one pass over the bytes. A text that is not strict JSON, or that says twice what we read once, is refused
//! here and reaches no backend.

mod adapt;
mod cuts;
mod estimate;
mod form;
mod guided;
mod images;
mod judge;
mod replies;
mod scan;

use std::ops::Range;

use crate::ability::Needs;
pub use crate::endpoint::Endpoint;
use crate::lacks::Lacks;
use crate::profile::{Profile, Rules};
use crate::refusal::{Kind, Refusal};
use crate::splice::Edit;
use adapt::Places;
use cuts::Cuts;
pub use estimate::estimate;
pub use images::first_image;

/// What a body says, as far as the engine reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The model's name as the client wrote it; nothing where it named none and need not.
    pub model: Option<Box<str>>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether the client asked for the usage chunk of a stream.
    pub include_usage: bool,
    /// `n`, or 1.
    pub n: u64,
    /// `max_completion_tokens`, else `max_tokens` or `max_output_tokens`.
    pub max_tokens: Option<u64>,
    /// What it needs of the model.
    pub needs: Needs,
    /// Where its `response_format` stands, if that is a JSON Schema.
    pub schema: Option<Range<usize>>,
    /// The client wants at most one tool call, and the gateway sees to it.
    pub one_call: bool,
    several: Option<Several>,
    place: ModelPlace,
    usage: UsagePlace,
    /// What the profile changes.
    edits: Vec<Edit>,
    /// What it takes out.
    cuts: Cuts,
    /// What is changed for a backend that lacks something.
    places: Places,
    end: usize,
}

/// Where the model's name is, or would go.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ModelPlace {
    /// The value of a JSON member.
    Value(Range<usize>),
    /// It is to be added before the closing brace, after a comma unless the object is empty.
    Absent,
    /// The content of a form's part.
    Part(Range<usize>),
    /// It is to be added as a part, before the first.
    NoPart { at: usize, boundary: Box<str> },
}

/// Where a body asks for several choices; what the profile changes is not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Several {
    n: Range<usize>,
    seed: Option<(Range<usize>, i64)>,
}

/// A model's name as a backend knows it.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    /// As it is.
    pub plain: &'a str,
    /// As JSON text.
    pub json: &'a str,
}

/// Where `include_usage` is, or would go.
#[derive(Debug, Clone, PartialEq, Eq)]
enum UsagePlace {
    /// There is no `stream_options`: add it before the closing brace.
    Absent,
    /// `stream_options` is null: replace it.
    Null(Range<usize>),
    /// It is an object without `include_usage`: add that after its brace.
    Object { brace: usize, empty: bool },
    /// `include_usage` has this value.
    Value(Range<usize>),
    /// It is no object: the backend will say so.
    Foreign,
}

/// Reads `body` as a request to an endpoint with these rules of this profile.
///
/// # Errors
/// The refusal for the first thing wrong with it, in the documented order of checks.
pub fn read(profile: &Profile, rules: &Rules, body: &[u8]) -> Result<Request, Refusal> {
    if simdutf8::basic::from_utf8(body).is_err() {
        return Err(Refusal::of(Kind::BadJson));
    }
    let seen = scan::scan(profile, rules, body)?;
    judge::judge(rules, seen, body)
}

/// Reads `body` as a form. Its texts are judged as the JSON that they stand for, with the same words.
///
/// # Errors
/// The refusal for the first thing wrong with it.
pub fn read_form(profile: &Profile, rules: &Rules, boundary: &str, body: &[u8]) -> Result<Request, Refusal> {
    let form = form::Form::read(profile, rules, boundary, body)?;
    let mut request = read(profile, rules, form.json.as_bytes())?;
    request.place = match form.model {
        Some(content) => ModelPlace::Part(content),
        None => ModelPlace::NoPart { at: form.start, boundary: boundary.into() },
    };
    request.edits = form.edits;
    (request.cuts, request.places) = (Cuts::default(), Places::default());
    request.usage = UsagePlace::Foreign;
    request.several = None;
    Ok(request)
}

impl Request {
    /// The edits that turn the client's body into the backend's: its own name for the model where it has one (or the
    /// client gave none), the usage chunk asked for, and what it lacks put in words that it knows.
    #[must_use]
    pub fn edits(&self, upstream: Option<Name<'_>>, ask_usage: bool, lacks: &Lacks) -> Vec<Edit> {
        let bare = self.places.bare.as_ref().filter(|_| lacks.null);
        let cuts = bare.unwrap_or(&self.cuts);
        let mut edits = self.edits.clone();
        edits.extend_from_slice(cuts.edits());
        edits.extend(self.places.edits(lacks, self.end.saturating_sub(1)));
        edits.extend(upstream.map(|name| self.model_edit(name, cuts.is_empty())));
        if ask_usage && self.stream && !self.include_usage {
            edits.extend(self.usage_edit(bare.is_some()));
        }
        edits
    }

    /// How many choices a backend is asked for.
    #[must_use]
    pub fn choices(&self) -> u64 {
        if self.several.is_some() { self.n } else { 1 }
    }

    /// The further edits that ask for one choice only, the one at `at`; its seed is its own, so that it differs.
    #[must_use]
    pub fn one_choice(&self, at: u32) -> Vec<Edit> {
        let Some(several) = &self.several else { return Vec::new() };
        let seed = several.seed.as_ref().map(|(span, seed)| {
            let seed = seed.checked_add(i64::from(at)).unwrap_or(seed.wrapping_sub(i64::from(at)));
            Edit { span: span.clone(), with: seed.to_string().into() }
        });
        [Edit { span: several.n.clone(), with: "1".into() }].into_iter().chain(seed).collect()
    }

    /// Whether the client wants vectors as base64.
    #[must_use]
    pub fn wants_base64(&self) -> bool {
        self.places.base64.is_some()
    }

    /// Bounds each choice of an answer that the client has not bounded.
    pub fn bound(&mut self, name: &'static str, most: u64) {
        self.max_tokens = self.places.limits.bound(name, most);
    }

    /// Asks for any JSON in place of a schema; false where there is none.
    pub fn loosen(&mut self) -> bool {
        let edit = self.schema.take().map(|span| Edit { span, with: r#"{"type":"json_object"}"#.into() });
        let found = edit.is_some();
        self.edits.extend(edit);
        found
    }

    fn model_edit(&self, name: Name<'_>, empty: bool) -> Edit {
        match &self.place {
            ModelPlace::Value(span) => Edit { span: span.clone(), with: name.json.into() },
            ModelPlace::Part(span) => Edit { span: span.clone(), with: name.plain.into() },
            ModelPlace::Absent => {
                let (comma, brace) = (if empty { "" } else { "," }, self.end - 1);
                Edit { span: brace..brace, with: format!("{comma}\"model\":{}", name.json).into() }
            }
            ModelPlace::NoPart { at, boundary } => {
                let head = "Content-Disposition: form-data; name=\"model\"";
                let with = format!("--{boundary}\r\n{head}\r\n\r\n{}\r\n", name.plain);
                Edit { span: *at..*at, with: with.into() }
            }
        }
    }

    fn usage_edit(&self, bare: bool) -> Option<Edit> {
        let absent = UsagePlace::Absent;
        let place = match &self.usage {
            // That null has been taken out.
            UsagePlace::Null(_) if bare => &absent,
            place => place,
        };
        let (span, with) = match place {
            UsagePlace::Absent => (self.end - 1..self.end - 1, r#","stream_options":{"include_usage":true}"#),
            UsagePlace::Null(span) => (span.clone(), r#"{"include_usage":true}"#),
            UsagePlace::Object { brace, empty: true } => (*brace..*brace, r#""include_usage":true"#),
            UsagePlace::Object { brace, empty: false } => (*brace..*brace, r#""include_usage":true,"#),
            UsagePlace::Value(span) => (span.clone(), "true"),
            UsagePlace::Foreign => return None,
        };
        Some(Edit { span, with: with.into() })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{bounds, splice};

    /// The built-in profile of this name, as the control plane compiles it.
    fn built_in(name: &str) -> Profile {
        let vectors = include_str!("../../../tests/vectors/profiles.json");
        let all: serde_json::Value = serde_json::from_str(vectors).unwrap();
        Profile::parse(all[name].to_string().as_bytes()).unwrap()
    }

    fn read(endpoint: Endpoint, body: &[u8]) -> Result<Request, Refusal> {
        let profile = built_in("openai");
        super::read(&profile, profile.rules(endpoint).unwrap(), body)
    }

    fn said(endpoint: Endpoint, body: &str) -> serde_json::Value {
        let refusal = read(endpoint, body.as_bytes()).unwrap_err();
        assert_eq!(refusal.status() / 100, 4, "{body}");
        serde_json::from_slice::<serde_json::Value>(&refusal.body(crate::endpoint::Dialect::Chunks)).unwrap()
            ["error"]
            .clone()
    }

    fn spliced(body: &str, name: Option<&str>) -> String {
        let request = read(Endpoint::Chat, body.as_bytes()).unwrap();
        let edits = request.edits(name.map(|json| Name { plain: "", json }), true, &Lacks::default());
        String::from_utf8(splice::apply(Bytes::copy_from_slice(body.as_bytes()), edits).to_vec()).unwrap()
    }

    #[test]
    fn reads_what_it_needs() {
        let body = br#" {"messages":[{"role":"user","content":"x"}],"mod\u0065l":"a\u0062","n":2,"max_tokens":7,"stream":true,"x":1e99,
            "stream_options":{"a":1,"include_usage":true}} "#;
        let request = read(Endpoint::Chat, body).unwrap();
        assert_eq!(
            (request.model.as_deref(), request.stream, request.include_usage),
            (Some("ab"), true, true)
        );
        assert_eq!((request.n, request.max_tokens), (2, Some(7)));
        assert!(request.edits(None, true, &Lacks::default()).is_empty());
    }

    #[test]
    fn edits_touch_only_their_span() {
        let base =
            r#"{"model": "a", "messages":[{"role":"user","content":"x"}],"temperature":1.00,"stream":true"#;
        assert_eq!(
            spliced(&format!("{base}}}"), Some("\"b/c\"")),
            format!("{},\"stream_options\":{{\"include_usage\":true}}}}", base.replace("\"a\"", "\"b/c\""))
        );
        for (before, after) in [
            ("null", r#"{"include_usage":true}"#),
            ("{}", r#"{"include_usage":true}"#),
            ("{ \"z\":1}", r#"{"include_usage":true, "z":1}"#),
            (r#"{"include_usage": false}"#, r#"{"include_usage": true}"#),
            (r#"{"include_usage":null,"z":[]}"#, r#"{"include_usage":true,"z":[]}"#),
        ] {
            let whole = |value: &str| format!("{base},\"stream_options\":{value}}} ");
            assert_eq!(spliced(&whole(before), None), whole(after));
        }
    }

    #[test]
    fn refuses_what_the_catalogue_does_not_list() {
        let body =
            |rest: &str| format!(r#"{{"model":"a","messages":[{{"role":"user","content":"x"}}]{rest}}}"#);
        let rows = [
            (body(r#","m\u006fdel":"b""#), Some("model"), Some("duplicate_parameter")),
            (body(r#","n":1,"n":2"#), Some("n"), Some("duplicate_parameter")),
            (body(r#","max_tokens":1e400"#), Some("max_tokens"), Some("invalid_type")),
            (format!("{{{}", &body("")[1..body("").len() - 1]), None, None),
            ("[]".to_owned(), None, None),
        ];
        for (body, param, code) in rows {
            let error = said(Endpoint::Chat, &body);
            assert_eq!((error["param"].as_str(), error["code"].as_str()), (param, code), "{body}");
        }
        assert!(read(Endpoint::Embeddings, br#"{"model":"a","input":[[1,2],[3]]}"#).is_ok());
        assert!(read(Endpoint::Completions, br#"{"model":"a"}"#).is_ok());
    }

    #[test]
    fn an_answer_without_a_bound_is_given_one() {
        let base = r#"{"model":"a","messages":[{"role":"user","content":"x"}]"#;
        let mut request = read(Endpoint::Chat, format!("{base}}}").as_bytes()).unwrap();
        request.bound("max_tokens", 9);
        for (word, name) in [("responses", "max_tokens"), ("max_tokens", "max_completion_tokens")] {
            let edits = request.edits(None, true, &Lacks::of([word]).unwrap());
            let out = splice::apply(Bytes::from(format!("{base}}}")), edits);
            assert_eq!(out, format!("{base},\"{name}\":9}}"));
        }
        let text = br#"{"model":"a","input":"x"}"#;
        request = read(Endpoint::Responses, text).unwrap();
        request.bound("max_output_tokens", 9);
        let out = splice::apply(Bytes::from_static(text), request.edits(None, false, &Lacks::default()));
        assert!(out.ends_with(br#","max_output_tokens":9}"#));
    }

    #[test]
    fn what_a_profile_ignores_is_taken_out_with_its_comma() {
        let profile = built_in("mittwald-dedicated");
        let rules = profile.rules(Endpoint::Chat).unwrap();
        let (m, u) = (r#""model": "a""#, r#""messages":[{"role":"user","content":"x"}]"#);
        let (m, u) = (m.to_owned(), u.to_owned());
        for (body, wanted) in [
            (format!(r#"{{"user":5, {m}, {u}}}"#), format!("{{{m}, {u}}}")),
            (format!(r#"{{{m} , "user":{{}} ,{u}}}"#), format!("{{{m} ,{u}}}")),
            (format!(r#"{{ {m}, {u} , "user" : null }}"#), format!("{{ {m}, {u} }}")),
        ] {
            let request = super::read(&profile, rules, body.as_bytes()).unwrap();
            let out = splice::apply(Bytes::from(body), request.edits(None, true, &Lacks::default()));
            assert_eq!(String::from_utf8(out.to_vec()).unwrap(), wanted);
        }
    }

    #[test]
    fn a_model_that_is_not_named_is_put_in_once() {
        for (body, wanted) in [
            (r#"{"input":"x"}"#, r#"{"input":"x","model":"up"}"#),
            (r#"{"model":null,"input":"x"}"#, r#"{"model":"up","input":"x"}"#),
        ] {
            let request = read(Endpoint::Moderations, body.as_bytes()).unwrap();
            assert_eq!(request.model, None);
            let edits = request.edits(Some(Name { plain: "up", json: "\"up\"" }), false, &Lacks::default());
            assert_eq!(splice::apply(Bytes::copy_from_slice(body.as_bytes()), edits), wanted);
        }
        assert_eq!(
            said(Endpoint::Chat, r#"{"model":null}"#)["message"],
            "you must provide a model parameter"
        );
    }

    /// The body for a backend that lacks what these words say.
    fn lacking(words: &[&str], endpoint: Endpoint, body: &str) -> String {
        let request = read(endpoint, body.as_bytes()).unwrap();
        let lacks = Lacks::of(words.iter().copied()).unwrap();
        let edits = request.edits(None, endpoint.asks_usage(), &lacks);
        String::from_utf8(splice::apply(Bytes::copy_from_slice(body.as_bytes()), edits).to_vec()).unwrap()
    }

    #[test]
    fn nulls_are_taken_out_for_whom_they_trouble() {
        let m = r#""messages":[{"role":"assistant","content":"x","refusal":null}]"#;
        for (body, wanted) in [
            (r#"{"n":null,"stop":null,"model":"a",M,"x":null}"#, r#"{"model":"a",M}"#),
            (r#"{ "model":"a" , "n" : null , M }"#, r#"{ "model":"a" , M }"#),
            (
                r#"{"model":"a",M,"stream":true,"stream_options":null}"#,
                r#"{"model":"a",M,"stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (r#"{"model":"a",M,"stream_options":null,"top_p":1}"#, r#"{"model":"a",M,"top_p":1}"#),
            (r#"{"model":"a",M,"top_p":1}"#, r#"{"model":"a",M,"top_p":1}"#),
        ] {
            let (body, wanted) = (body.replace('M', m), wanted.replace('M', m));
            assert_eq!(lacking(&["null"], Endpoint::Chat, &body), wanted);
            if !body.contains("\"stream\"") {
                assert_eq!(lacking(&[], Endpoint::Chat, &body), body);
            }
        }
        let body = r#"{"model":null,"input":"x","encoding_format":null}"#;
        let request = read(Endpoint::Moderations, body.as_bytes()).unwrap();
        let lacks = Lacks { null: true, ..Lacks::default() };
        let edits = request.edits(Some(Name { plain: "up", json: "\"up\"" }), false, &lacks);
        assert_eq!(splice::apply(Bytes::from(body), edits), r#"{"model":"up","input":"x"}"#);
    }

    #[test]
    fn a_limit_goes_on_once_and_under_the_name_that_is_known() {
        let (new, old) = (r#""max_completion_tokens": 7"#, r#""max_tokens":9"#);
        let old_7 = r#""max_tokens": 7"#;
        let table: [(&[&str], String, String); 11] = [
            (&[], format!("{new},{old}"), new.into()),
            (&[], format!("{old},{new}"), r#""max_completion_tokens":7"#.into()),
            (
                &["max_completion_tokens"],
                format!("{new},\"n\":null,{old},\"top_p\":1"),
                format!("{old_7},\"n\":null,\"top_p\":1"),
            ),
            (&["max_completion_tokens"], format!("{old},\"n\":1,{new}"), r#""max_tokens":7,"n":1"#.into()),
            (&["max_tokens"], format!("{old},{new}"), r#""max_completion_tokens":7"#.into()),
            (&["max_completion_tokens"], new.into(), old_7.into()),
            (&["max_tokens"], old.into(), r#""max_completion_tokens":9"#.into()),
            (&["max_tokens"], new.into(), new.into()),
            (&["max_completion_tokens"], format!("\"max_tokens\":null,{new}"), r#""max_tokens":7"#.into()),
            (
                &["max_completion_tokens", "null"],
                format!("\"max_tokens\":null,{new},\"n\":null"),
                old_7.into(),
            ),
            (&[], format!("\"max_tokens\":null,{new}"), format!("\"max_tokens\":null,{new}")),
        ];
        for (words, given, wanted) in table {
            let body = |limit: &str| {
                format!(r#"{{"model":"a",{limit},"messages":[{{"role":"user","content":"x"}}]}}"#)
            };
            assert_eq!(lacking(words, Endpoint::Chat, &body(&given)), body(&wanted), "{given}");
        }
        let text = r#"{"model":"a","prompt":"x","max_tokens":5}"#;
        assert_eq!(lacking(&["max_tokens"], Endpoint::Completions, text), text);
    }

    #[test]
    fn constraints_go_on_under_the_name_that_is_known() {
        for (given, wanted) in [
            (r#""guided_json": {"type":"object"} "#, r#""structured_outputs": {"json":{"type":"object"}} "#),
            (
                r#""guided_regex":"a","x":1,"guided_choice":["b"]"#,
                r#""structured_outputs":{"regex":"a","choice":["b"]},"x":1"#,
            ),
            (
                r#""guided_json":null,"guided_grammar":"g""#,
                r#""guided_json":null,"structured_outputs":{"grammar":"g"}"#,
            ),
            (r#""guided_json":{},"structured_outputs":{}"#, r#""guided_json":{},"structured_outputs":{}"#),
            (r#""guided_whitespace_pattern":"x""#, r#""guided_whitespace_pattern":"x""#),
        ] {
            let body = |more: &str| {
                format!(r#"{{{more},"model":"a","messages":[{{"role":"user","content":"x"}}]}}"#)
            };
            assert_eq!(lacking(&["guided"], Endpoint::Chat, &body(given)), body(wanted));
            assert_eq!(lacking(&[], Endpoint::Chat, &body(given)), body(given));
        }
    }

    #[test]
    fn floats_are_asked_of_whom_has_no_base64() {
        let body = r#"{"model":"a","input":"x","encoding_format":"b\u0061se64"}"#;
        assert_eq!(
            lacking(&["base64"], Endpoint::Embeddings, body),
            r#"{"model":"a","input":"x","encoding_format":"float"}"#
        );
        assert_eq!(lacking(&["n"], Endpoint::Embeddings, body), body);
        assert!(read(Endpoint::Embeddings, body.as_bytes()).unwrap().wants_base64());
    }

    #[test]
    fn one_choice_has_a_seed_of_its_own() {
        let base = r#"{"model":"a","messages":[{"role":"user","content":"x"}]"#;
        let copies = |rest: &str| {
            let body = format!("{base}{rest}}}");
            let request = read(Endpoint::Chat, body.as_bytes()).unwrap();
            let copy = |at| {
                let out = splice::apply(Bytes::from(body.clone()), request.one_choice(at));
                String::from_utf8(out.to_vec()).unwrap()[base.len()..].to_owned()
            };
            (request.choices(), copy(0), copy(2))
        };
        let of = |choices, first: &str, third: &str| (choices, first.to_owned(), third.to_owned());
        assert_eq!(copies(r#","n": 3"#), of(3, r#","n": 1}"#, r#","n": 1}"#));
        assert_eq!(copies(r#","n":3,"seed":7"#), of(3, r#","n":1,"seed":7}"#, r#","n":1,"seed":9}"#));
        let most = i64::MAX;
        let (rest, third) = (format!(r#","seed":{most},"n":4"#), format!(r#","seed":{},"n":1}}"#, most - 2));
        assert_eq!(copies(&rest), (4, format!(r#","seed":{most},"n":1}}"#), third));
        assert_eq!(copies(r#","seed":null,"n":2"#).1, r#","seed":null,"n":1}"#);
        for one in [r#","n":1,"seed":7"#, r#","n":null"#, ""] {
            assert_eq!(copies(one), of(1, &format!("{one}}}"), &format!("{one}}}")));
        }
    }

    #[test]
    fn depth_counts_from_the_body() {
        let nest = |n: usize| {
            format!(
                r#"{{"model":"a","messages":[{{"role":"user","content":"x"}}],"x":{}{}}}"#,
                "[".repeat(n),
                "]".repeat(n)
            )
        };
        assert!(read(Endpoint::Chat, nest(bounds::JSON_DEPTH - 1).as_bytes()).is_ok());
        assert_eq!(
            read(Endpoint::Chat, nest(bounds::JSON_DEPTH).as_bytes()).unwrap_err().kind(),
            Kind::TooDeep
        );
    }
}
