//! The instructions and the input of a request as the messages of a chat.
//!
//! Law: in their order. What the assistant said and the calls that it made right after are one message; its reasoning is
//! not told again. An item that has no form in a chat is refused.

use super::value::{Members, Value, next, put, refused};
use crate::json::Kind;
use crate::refusal::{self, Refusal};
use crate::validate::{missing, wrong_type};

/// The messages, as a JSON array.
///
/// # Errors
/// There are none, or one of them cannot be told to a chat.
pub(super) fn write(asked: &Members<'_>) -> Result<String, Refusal> {
    let mut messages = Messages { out: "[".to_owned(), turn: None };
    if let Some(text) = asked.get("instructions") {
        messages.message("\"system\"", text.expect(Kind::String, "instructions")?.text);
    }
    let input = asked.get("input").ok_or_else(|| missing("input"))?;
    match input.kind {
        Kind::String => messages.message("\"user\"", input.text),
        Kind::Array => {
            for (at, item) in input.items().into_iter().enumerate() {
                messages.item(&format!("input[{at}]"), item)?;
            }
        }
        other => return Err(wrong_type("input", "a string or an array", other)),
    }
    messages.flush();
    if messages.out.len() == 1 {
        let words = "Invalid 'input': empty array. Expected an array with minimum length 1.";
        return Err(Refusal::of(refusal::Kind::EmptyArray).message(words).param("input"));
    }
    messages.out.push(']');
    Ok(messages.out)
}

struct Messages {
    out: String,
    turn: Option<Turn>,
}

/// What the assistant did in one go; strings without their quotes.
#[derive(Default)]
struct Turn {
    text: Option<String>,
    refusal: Option<String>,
    calls: String,
}

impl Messages {
    fn message(&mut self, role: &str, content: &str) {
        self.flush();
        next(&mut self.out);
        self.out.push('{');
        put(&mut self.out, "role", role);
        put(&mut self.out, "content", content);
        self.out.push('}');
    }

    fn item(&mut self, path: &str, item: Value<'_>) -> Result<(), Refusal> {
        let members = item.expect(Kind::Object, path)?.members();
        let kind = members.get("type").map_or("message".into(), Value::says);
        match &*kind {
            "message" => self.said(path, &members),
            "function_call" => self.call(path, &members),
            "function_call_output" => self.result(path, &members),
            "reasoning" => Ok(()),
            "item_reference" => Err(refused(
                format!("{path}.type"),
                "Responses are not stored here, so no item can be referred to: send the item itself.".into(),
            )),
            other => Err(refused(
                format!("{path}.type"),
                format!(
                    "This model has no items of type '{other}': use message, function_call, function_call_output or \
                     reasoning."
                ),
            )),
        }
    }

    fn said(&mut self, path: &str, members: &Members<'_>) -> Result<(), Refusal> {
        let role = members.string(path, "role")?;
        let place = format!("{path}.content");
        let content = members.get("content").ok_or_else(|| missing(&place))?;
        match &*role.says() {
            "assistant" => {
                self.flush();
                self.turn = Some(turn(&place, content)?);
                Ok(())
            }
            "user" | "system" | "developer" => {
                let content = self::content(&place, content)?;
                self.message(role.text, &content);
                Ok(())
            }
            other => Err(refused(
                format!("{path}.role"),
                format!(
                    "Invalid value: '{other}'. Supported values are: 'assistant', 'system', 'developer', and 'user'."
                ),
            )),
        }
    }

    fn call(&mut self, path: &str, members: &Members<'_>) -> Result<(), Refusal> {
        let text = |name: &str| members.string(path, name).map(|value| value.text);
        let (id, name, arguments) = (text("call_id")?, text("name")?, text("arguments")?);
        let calls = &mut self.turn.get_or_insert_default().calls;
        next(calls);
        calls.push_str(&format!(
            r#"{{"id":{id},"type":"function","function":{{"name":{name},"arguments":{arguments}}}}}"#
        ));
        Ok(())
    }

    fn result(&mut self, path: &str, members: &Members<'_>) -> Result<(), Refusal> {
        let id = members.string(path, "call_id")?;
        let place = format!("{path}.output");
        let output = members.get("output").ok_or_else(|| missing(&place))?;
        let content = content(&place, output)?;
        self.message("\"tool\"", &content);
        // The brace that closed it, to put in whom it answers.
        self.out.pop();
        put(&mut self.out, "tool_call_id", id.text);
        self.out.push('}');
        Ok(())
    }

    /// Writes what the assistant did, if that is due.
    fn flush(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        next(&mut self.out);
        self.out.push_str(r#"{"role":"assistant""#);
        for (name, said) in [("content", turn.text), ("refusal", turn.refusal)] {
            if let Some(said) = said {
                put(&mut self.out, name, &format!("\"{said}\""));
            }
        }
        if !turn.calls.is_empty() {
            put(&mut self.out, "tool_calls", &format!("[{}]", turn.calls));
        }
        self.out.push('}');
    }
}

/// What the assistant said: its texts are one text.
fn turn(path: &str, content: Value<'_>) -> Result<Turn, Refusal> {
    let mut turn = Turn::default();
    if content.kind == Kind::String {
        turn.text = Some(content.inner().to_owned());
        return Ok(turn);
    }
    for (at, part) in content.expect(Kind::Array, path)?.items().into_iter().enumerate() {
        let path = format!("{path}[{at}]");
        let members = part.expect(Kind::Object, &path)?.members();
        let (place, text) = match &*members.string(&path, "type")?.says() {
            "output_text" | "input_text" => (&mut turn.text, members.string(&path, "text")?),
            "refusal" => (&mut turn.refusal, members.string(&path, "refusal")?),
            other => return Err(no_part(&path, other, "'output_text' and 'refusal'")),
        };
        place.get_or_insert_default().push_str(text.inner());
    }
    if turn.refusal.is_none() {
        turn.text.get_or_insert_default();
    }
    Ok(turn)
}

/// What anybody else says. One text alone is a string, which every server reads.
fn content(path: &str, content: Value<'_>) -> Result<String, Refusal> {
    if content.kind == Kind::String {
        return Ok(content.text.to_owned());
    }
    let parts = content.expect(Kind::Array, path)?.items();
    let mut out = "[".to_owned();
    for (at, one) in parts.iter().enumerate() {
        let path = format!("{path}[{at}]");
        let members = one.expect(Kind::Object, &path)?.members();
        let kind = members.string(&path, "type")?.says();
        if parts.len() == 1 && matches!(&*kind, "input_text" | "output_text") {
            return members.string(&path, "text").map(|text| text.text.to_owned());
        }
        next(&mut out);
        out.push_str(&part(&path, &kind, &members)?);
    }
    out.push(']');
    Ok(out)
}

fn part(path: &str, kind: &str, members: &Members<'_>) -> Result<String, Refusal> {
    match kind {
        "input_text" | "output_text" => {
            Ok(format!(r#"{{"type":"text","text":{}}}"#, members.string(path, "text")?.text))
        }
        "input_image" => image(path, members),
        "input_file" => file(path, members),
        "input_audio" => {
            let place = format!("{path}.input_audio");
            let sound = members.get("input_audio").ok_or_else(|| missing(&place))?;
            let sound = sound.expect(Kind::Object, &place)?.text;
            Ok(format!(r#"{{"type":"input_audio","input_audio":{sound}}}"#))
        }
        other => Err(no_part(path, other, "'input_text', 'input_image', 'input_file' and 'input_audio'")),
    }
}

fn image(path: &str, members: &Members<'_>) -> Result<String, Refusal> {
    if members.get("image_url").is_none() && members.get("file_id").is_some() {
        return Err(refused(
            format!("{path}.file_id"),
            "Files are not stored here: send the image in 'image_url', as an address or as data.".into(),
        ));
    }
    let mut inner = "{".to_owned();
    put(&mut inner, "url", members.string(path, "image_url")?.text);
    if let Some(detail) = members.get("detail") {
        put(&mut inner, "detail", detail.text);
    }
    Ok(format!(r#"{{"type":"image_url","image_url":{inner}}}}}"#))
}

fn file(path: &str, members: &Members<'_>) -> Result<String, Refusal> {
    if members.get("file_url").is_some() {
        return Err(refused(
            format!("{path}.file_url"),
            "Files are not fetched for this model: send the file in 'file_data'.".into(),
        ));
    }
    let mut inner = "{".to_owned();
    for name in ["file_data", "filename", "file_id"] {
        if let Some(value) = members.get(name) {
            put(&mut inner, name, value.text);
        }
    }
    Ok(format!(r#"{{"type":"file","file":{inner}}}}}"#))
}

fn no_part(path: &str, kind: &str, known: &str) -> Refusal {
    refused(format!("{path}.type"), format!("Invalid value: '{kind}'. Supported values are: {known}."))
}
