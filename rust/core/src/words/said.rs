//! The texts in an answer or a request, as far as a model writes or reads them: those of every dialect, streamed or whole.
//!
//! Law: only for calls whose tokens we count ourselves. What is no text (images, audio, forms) says nothing here.

use serde_json::Value;

/// Who speaks: each voice's text is one, however it is mixed with others'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voice {
    /// Which choice or output.
    pub choice: u64,
    /// Of what kind.
    pub kind: Kind,
    /// Which call or part of it.
    pub part: u64,
}

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The answer.
    Text,
    /// What was thought before it.
    Thought,
    /// A call of a tool: its name and arguments.
    Call,
    /// Why there is no answer.
    Refusal,
}

/// Hears a text.
pub type Hear<'h> = &'h mut dyn FnMut(Voice, &str);

/// The texts of an event's data, or of a whole body.
///
/// # Errors
/// It is not JSON.
pub fn of_answer(data: &[u8], hear: Hear<'_>) -> Result<(), serde_json::Error> {
    let value: Value = serde_json::from_slice(data)?;
    for (place, choice) in list(&value, "choices") {
        let index = number(choice, "index").unwrap_or(place);
        tell(choice.get("text"), Voice { choice: index, kind: Kind::Text, part: 0 }, hear);
        message(choice.get("delta").or_else(|| choice.get("message")), index, hear);
    }
    match value.get("type").and_then(Value::as_str) {
        Some("message") => parts(&value, 0, hear),
        Some("content_block_delta") => {
            let part = number(&value, "index").unwrap_or_default();
            block(value.get("delta").unwrap_or(&Value::Null), 0, part, hear);
        }
        Some(name) if name.ends_with(".delta") => {
            let choice = number(&value, "output_index").unwrap_or_default();
            let part = number(&value, "content_index").or_else(|| number(&value, "summary_index"));
            let kind = match name {
                _ if name.contains("reasoning") => Kind::Thought,
                _ if name.contains("arguments") => Kind::Call,
                _ if name.contains("refusal") => Kind::Refusal,
                _ => Kind::Text,
            };
            tell(value.get("delta"), Voice { choice, kind, part: part.unwrap_or_default() }, hear);
        }
        _ => {}
    }
    for (place, item) in list(&value, "output") {
        parts(item, place, hear);
        block(item, place, 0, hear);
    }
    Ok(())
}

/// What a chat's choice says.
fn message(said: Option<&Value>, choice: u64, hear: Hear<'_>) {
    let Some(said) = said else { return };
    tell(said.get("content"), Voice { choice, kind: Kind::Text, part: 0 }, hear);
    tell(said.get("refusal"), Voice { choice, kind: Kind::Refusal, part: 0 }, hear);
    // Some tell it under both names.
    let thought = said.get("reasoning_content").filter(|thought| !thought.is_null());
    tell(thought.or_else(|| said.get("reasoning")), Voice { choice, kind: Kind::Thought, part: 0 }, hear);
    for (place, call) in list(said, "tool_calls") {
        let voice = Voice { choice, kind: Kind::Call, part: number(call, "index").unwrap_or(place) };
        for name in ["name", "arguments"] {
            tell(call.get("function").and_then(|function| function.get(name)), voice, hear);
        }
    }
}

/// The parts of a message in the dialects that have typed ones.
fn parts(item: &Value, choice: u64, hear: Hear<'_>) {
    for name in ["content", "summary"] {
        for (place, part) in list(item, name) {
            block(part, choice, place, hear);
        }
    }
}

/// One typed part, item or delta.
fn block(part: &Value, choice: u64, place: u64, hear: Hear<'_>) {
    let named = [
        ("text", Kind::Text),
        ("thinking", Kind::Thought),
        ("name", Kind::Call),
        ("arguments", Kind::Call),
        ("partial_json", Kind::Call),
        ("refusal", Kind::Refusal),
    ];
    for (name, kind) in named {
        tell(part.get(name), Voice { choice, kind, part: place }, hear);
    }
    if let Some(input @ Value::Object(_)) = part.get("input") {
        hear(Voice { choice, kind: Kind::Call, part: place }, &input.to_string());
    }
}

/// A text that is there and not empty, or the texts of its parts.
fn tell(value: Option<&Value>, voice: Voice, hear: Hear<'_>) {
    match value {
        Some(Value::String(text)) if !text.is_empty() => hear(voice, text),
        Some(Value::Array(parts)) => {
            for part in parts {
                tell(part.get("text"), voice, hear);
            }
        }
        _ => {}
    }
}

/// What a request gives the model to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// How many messages.
    pub messages: u64,
    /// How many tokens were given as numbers.
    pub tokens: u64,
}

/// The texts of a request's body, one by one.
///
/// # Errors
/// It is not JSON.
pub fn of_request(body: &[u8], hear: &mut dyn FnMut(&str)) -> Result<Asked, serde_json::Error> {
    let value: Value = serde_json::from_slice(body)?;
    let mut asked = Asked::default();
    for name in ["system", "instructions"] {
        if value.get(name).is_some_and(|text| !text.is_null()) {
            asked.messages += 1;
            text(value.get(name), hear);
        }
    }
    for name in ["messages", "input"] {
        for (_, item) in list(&value, name).filter(|(_, item)| item.is_object()) {
            asked.messages += 1;
            text(item.get("content"), hear);
            for name in ["arguments", "output"] {
                text(item.get(name), hear);
            }
            message(Some(&calls(item)), 0, &mut |_, text| hear(text));
        }
    }
    for name in ["prompt", "input"] {
        asked.tokens += plain(value.get(name), hear);
    }
    Ok(asked)
}

/// The messages of a conversation as a request's body has them.
///
/// # Errors
/// It is not JSON.
pub fn of_messages(messages: &[u8], hear: &mut dyn FnMut(&str)) -> Result<Asked, serde_json::Error> {
    let body = [br#"{"messages":"#, messages, b"}"].concat();
    of_request(&body, hear)
}

/// A message with its calls of tools alone.
fn calls(item: &Value) -> Value {
    serde_json::json!({"tool_calls": item.get("tool_calls")})
}

/// A text, or the texts of parts and of the parts within them.
fn text(value: Option<&Value>, hear: &mut dyn FnMut(&str)) {
    match value {
        Some(Value::String(said)) => hear(said),
        Some(Value::Array(parts)) => {
            for part in parts {
                text(part.get("text"), hear);
                text(part.get("content"), hear);
            }
        }
        _ => {}
    }
}

/// One text or many, as completions and embeddings are asked; how many tokens stand there as numbers.
fn plain(value: Option<&Value>, hear: &mut dyn FnMut(&str)) -> u64 {
    match value {
        Some(Value::String(said)) => {
            hear(said);
            0
        }
        Some(Value::Number(_)) => 1,
        Some(Value::Array(items)) => items.iter().map(|item| plain(Some(item), hear)).sum(),
        _ => 0,
    }
}

fn list<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = (u64, &'v Value)> {
    (0..).zip(value.get(name).and_then(Value::as_array).into_iter().flatten())
}

fn number(value: &Value, name: &str) -> Option<u64> {
    value.get(name).and_then(Value::as_u64)
}
