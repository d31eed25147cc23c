//! The answers that are sent whole, made once for each size and kept.

use crate::request::{Endpoint, Wish};
use std::collections::HashMap;
use std::fmt::Write;
use std::rc::Rc;

/// How many different answers are kept; the marker could ask for any number of them.
const KEPT: usize = 64;

const FILL: &[u8] = b" lorem ipsum dolor sit amet";
const CHAT: (&str, &str) = (
    r#"{"id":"chatcmpl-mock","object":"chat.completion","created":1700000000,"model":"mock","choices":[{"index":0,"message":{"role":"assistant","content":"mock-ok"#,
    r#""},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":16,"completion_tokens":128,"total_tokens":144}}"#,
);
const MODELS: &str = r#"{"object":"list","data":[{"id":"mock","object":"model","created":1700000000,"owned_by":"mock","root":"mock","max_model_len":131072}]}"#;
const INFO: &str = r#"{"model_path":"mock","tokenizer_path":"mock","served_model_name":"mock","model_id":"mock","is_generation":true,"tp_size":1,"dp_size":1,"version":"1","status":"ready"}"#;
const HEALTH: &str = r#"{"status":"ok","version":"1"}"#;
const UNKNOWN: &str =
    r#"{"error":{"message":"not found","type":"invalid_request_error","param":null,"code":null}}"#;

/// Head and body of the answers made so far.
#[derive(Default)]
pub struct Replies(HashMap<(Endpoint, usize, usize), Rc<[u8]>>);

impl Replies {
    /// The whole answer to `wish`, head and body.
    pub fn get(&mut self, wish: &Wish) -> Rc<[u8]> {
        let key = match wish.endpoint {
            Endpoint::Chat => (Endpoint::Chat, wish.size, 0),
            Endpoint::Embeddings => (Endpoint::Embeddings, wish.rows, wish.dimensions),
            other => (other, 0, 0),
        };
        if self.0.len() >= KEPT && !self.0.contains_key(&key) {
            self.0.clear();
        }
        self.0.entry(key).or_insert_with(|| make(wish)).clone()
    }
}

fn make(wish: &Wish) -> Rc<[u8]> {
    let body = match wish.endpoint {
        Endpoint::Chat => chat(wish.size),
        Endpoint::Embeddings => embeddings(wish.rows, wish.dimensions),
        Endpoint::Models => MODELS.to_owned(),
        Endpoint::Info => INFO.to_owned(),
        Endpoint::Health => HEALTH.to_owned(),
        Endpoint::Unknown => UNKNOWN.to_owned(),
    };
    let status = if wish.endpoint == Endpoint::Unknown { "404 Not Found" } else { "200 OK" };
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
        .into()
}

fn chat(size: usize) -> String {
    let (start, end) = CHAT;
    let fill = size.saturating_sub(start.len() + end.len());
    let mut body = String::with_capacity(size);
    body.push_str(start);
    body.extend(FILL.iter().cycle().take(fill).map(|c| *c as char));
    body.push_str(end);
    body
}

fn embeddings(rows: usize, dimensions: usize) -> String {
    let mut body = String::from(r#"{"object":"list","model":"mock","data":["#);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for row in 0..rows {
        let comma = if row > 0 { "," } else { "" };
        let _ = write!(body, r#"{comma}{{"object":"embedding","index":{row},"embedding":["#);
        for column in 0..dimensions {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let value = ((seed >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.2;
            // As Python prints a float32 that became a float64: some twenty digits.
            let comma = if column > 0 { "," } else { "" };
            let _ = write!(body, "{comma}{:?}", f64::from(value));
        }
        body.push_str("]}");
    }
    body.push_str(r#"],"usage":{"prompt_tokens":16,"total_tokens":16}}"#);
    body
}

#[cfg(test)]
mod tests {
    use super::{Replies, chat, embeddings};
    use crate::request::{Endpoint, Wish};

    #[test]
    fn bodies_are_json_of_the_size_asked_for() {
        assert_eq!(chat(1024).len(), 1024);
        assert!(serde_json::from_str::<serde_json::Value>(&chat(4096)).is_ok());
        let value: serde_json::Value = serde_json::from_str(&embeddings(2, 5)).unwrap_or_default();
        assert_eq!(value["data"][1]["embedding"].as_array().map(Vec::len), Some(5));
        let megabyte = embeddings(46, 1024).len();
        assert!((900_000..1_100_000).contains(&megabyte), "{megabyte}");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut replies = Replies::default();
        for size in 0..1000 {
            replies.get(&Wish { endpoint: Endpoint::Chat, size, ..Wish::default() });
        }
        assert!(replies.0.len() <= super::KEPT);
    }
}
