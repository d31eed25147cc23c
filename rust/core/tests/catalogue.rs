//! The catalogue of messages: each row byte for byte, and what is right passes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use levada_core::profile::Profile;
use levada_core::refusal::Refusal;
use levada_core::request::{Endpoint, Request, read};
use serde_json::{Value, json};

fn profile(name: &str) -> Profile {
    let all: Value = serde_json::from_str(include_str!("../../../tests/vectors/profiles.json")).unwrap();
    Profile::parse(all[name].to_string().as_bytes()).unwrap()
}

fn ask(profile: &Profile, endpoint: &str, body: &str) -> Result<Request, Refusal> {
    let endpoint = Endpoint::all().find(|one| one.name() == endpoint).unwrap();
    read(profile, profile.rules(endpoint).unwrap(), body.as_bytes())
}

fn error(refusal: Refusal) -> Value {
    serde_json::from_slice::<Value>(&refusal.body(levada_core::endpoint::Dialect::Chunks)).unwrap()["error"]
        .clone()
}

#[test]
fn every_row_of_the_catalogue() {
    let base = profile("openai");
    let rows: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/vectors/catalogue.json")).unwrap();
    let mut wrong = Vec::new();
    for row in &rows {
        let body = row["body"].as_str().unwrap();
        let wanted = json!({"message": row["message"], "type": "invalid_request_error", "param": row["param"], "code": row["code"]});
        match ask(&base, row["endpoint"].as_str().unwrap(), body) {
            Ok(_) => wrong.push(format!("{body}\n  passed")),
            Err(refusal) if refusal.status() != 400 => wrong.push(format!("{body}\n  {}", refusal.status())),
            Err(refusal) => {
                let got = error(refusal);
                if got != wanted {
                    wrong.push(format!("{body}\n  {got}\n  {wanted}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn what_is_passed_on_unchecked_hides_no_denied_member() {
    let flexai = profile("flexai");
    let body = |rest: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        body.to_string()
    };
    let hidden = body(json!({"prediction": {"content": [{"lora_path": "x"}]}}));
    let found = error(ask(&flexai, "chat.completions", &hidden).unwrap_err());
    assert_eq!(found["param"], "prediction.content[0].lora_path");
    // A tool's parameters and metadata are the client's own data.
    let own = json!({"metadata": {"priority": "high"}, "tools": [{"type": "function", "function":
        {"name": "f", "parameters": {"properties": {"priority": {"type": "string"}}}}}]});
    for name in ["openai", "flexai"] {
        assert!(ask(&profile(name), "chat.completions", &body(own.clone())).is_ok(), "{name}");
    }
}
