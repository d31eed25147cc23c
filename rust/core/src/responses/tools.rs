//! The tools of a request, and which of them the model is to use, as a chat has them.
//!
//! Law: functions only. A tool that the API itself would run cannot be run here, and is refused by its place.

use super::value::{Members, Value, next, put, refused};
use crate::json::Kind;
use crate::refusal::Refusal;

/// Writes `tools`, `tool_choice` and `parallel_tool_calls`, as far as they say anything.
///
/// # Errors
/// One of them is no function.
pub(super) fn write(out: &mut String, asked: &Members<'_>) -> Result<(), Refusal> {
    let tools = match asked.get("tools") {
        Some(tools) => tools.expect(Kind::Array, "tools")?.items(),
        None => Vec::new(),
    };
    let choice = asked.get("tool_choice").map(choice).transpose()?;
    if tools.is_empty() {
        // Without tools a chat wants no word of them, but for one that insists on a tool: the backend refuses that.
        if let Some(choice) = choice.filter(|choice| !matches!(&**choice, "\"auto\"" | "\"none\"")) {
            put(out, "tool_choice", &choice);
        }
        return Ok(());
    }
    put(out, "tools", "[");
    for (at, tool) in tools.into_iter().enumerate() {
        let tool = function(&format!("tools[{at}]"), tool)?;
        next(out);
        out.push_str(&tool);
    }
    out.push(']');
    if let Some(choice) = choice {
        put(out, "tool_choice", &choice);
    }
    if let Some(parallel) = asked.get("parallel_tool_calls") {
        put(out, "parallel_tool_calls", parallel.text);
    }
    Ok(())
}

/// A function: flat in a response, one deeper in a chat.
fn function(path: &str, tool: Value<'_>) -> Result<String, Refusal> {
    let members = tool.expect(Kind::Object, path)?.members();
    let kind = members.string(path, "type")?.says();
    if kind != "function" {
        return Err(refused(
            format!("{path}.type"),
            format!(
                "This model has no tool of type '{kind}': only tools of type 'function' can be given to it."
            ),
        ));
    }
    members.string(path, "name")?;
    let mut out = "{".to_owned();
    for (key, value) in members.others(&["type"]) {
        if value.kind != Kind::Null {
            put(&mut out, key, value.text);
        }
    }
    Ok(format!(r#"{{"type":"function","function":{out}}}}}"#))
}

fn choice(choice: Value<'_>) -> Result<String, Refusal> {
    if choice.kind == Kind::String {
        return Ok(choice.text.to_owned());
    }
    let members = choice.expect(Kind::Object, "tool_choice")?.members();
    match &*members.string("tool_choice", "type")?.says() {
        "function" => named("tool_choice", &members),
        "allowed_tools" => {
            let mode = members.string("tool_choice", "mode")?.text;
            let path = "tool_choice.tools";
            let mut tools = "[".to_owned();
            for (at, tool) in
                members.get("tools").map(Value::items).unwrap_or_default().into_iter().enumerate()
            {
                let path = format!("{path}[{at}]");
                let tool = named(&path, &tool.expect(Kind::Object, &path)?.members())?;
                next(&mut tools);
                tools.push_str(&tool);
            }
            Ok(format!(r#"{{"type":"allowed_tools","allowed_tools":{{"mode":{mode},"tools":{tools}]}}}}"#))
        }
        other => Err(refused(
            "tool_choice.type".into(),
            format!("This model has no tool of type '{other}': only functions can be chosen."),
        )),
    }
}

fn named(path: &str, members: &Members<'_>) -> Result<String, Refusal> {
    let name = members.string(path, "name")?.text;
    Ok(format!(r#"{{"type":"function","function":{{"name":{name}}}}}"#))
}
