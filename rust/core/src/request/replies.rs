//! Tool calls and the messages that answer them.
//!
//! Law: looked at only after every message has its shape; a conversation without tools costs one search for a word.

use std::collections::HashSet;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::json::{Scanner, Wrong};
use crate::refusal::{Kind, Refusal};

/// What stands in each of them.
static TOOL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"tool"));

/// The refusal for a tool message that answers nothing, or a tool call that nothing answers.
pub(super) fn check(messages: &[u8]) -> Option<Refusal> {
    TOOL.find(messages)?;
    let mut open: Vec<String> = Vec::new();
    let mut known: HashSet<String> = HashSet::new();
    let mut found = None;
    let mut calling = 0;
    let _ = Scanner::new(messages).array::<Wrong>(|index, scanner| {
        let message = read(scanner)?;
        if message.role == "tool" {
            match message.answers {
                Some(id) if known.contains(&id) => open.retain(|one| *one != id),
                _ => {
                    found.get_or_insert_with(|| orphan(index));
                }
            }
            return Ok(());
        }
        if !open.is_empty() {
            found.get_or_insert_with(|| unanswered(calling, &open));
            open.clear();
        }
        if !message.calls.is_empty() {
            calling = index;
            known = message.calls.iter().cloned().collect();
            open = message.calls;
        }
        Ok(())
    });
    if !open.is_empty() {
        found.get_or_insert_with(|| unanswered(calling, &open));
    }
    found
}

#[derive(Default)]
struct Message {
    role: String,
    answers: Option<String>,
    calls: Vec<String>,
}

fn read(scanner: &mut Scanner<'_>) -> Result<Message, Wrong> {
    let mut message = Message::default();
    scanner.object::<Wrong>(|key, scanner| {
        match (key.raw, scanner.peek()) {
            (b"role", Some(b'"')) => message.role = scanner.string()?.decode().into_owned(),
            (b"tool_call_id", Some(b'"')) => message.answers = Some(scanner.string()?.decode().into_owned()),
            (b"tool_calls", Some(b'[')) => {
                scanner.array::<Wrong>(|_, scanner| {
                    scanner.object::<Wrong>(|key, scanner| {
                        if key.raw == b"id" && scanner.peek() == Some(b'"') {
                            message.calls.push(scanner.string()?.decode().into_owned());
                        } else {
                            scanner.value()?;
                        }
                        Ok(())
                    })?;
                    Ok(())
                })?;
            }
            _ => {
                scanner.value()?;
            }
        }
        Ok(())
    })?;
    Ok(message)
}

fn orphan(index: usize) -> Refusal {
    Refusal::of(Kind::InvalidValue)
        .message("Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.")
        .param(format!("messages.[{index}].role"))
}

fn unanswered(index: usize, ids: &[String]) -> Refusal {
    Refusal::of(Kind::InvalidValue)
        .message(format!(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: {}",
            ids.join(", ")
        ))
        .param(format!("messages.[{index}].role"))
}
