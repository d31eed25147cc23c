//! A response as it is made: what is in it so far, and how it is written.
//!
//! Law: texts are kept as they are written between quotes, at most [`bounds::RESPONSE_BYTES`] in all. An item's id is
//! made of its place, so that every event and the whole name it alike.

use std::io::Write;

use bytes::Bytes;

use super::chat::{self, Call, Finish, Piece};
use crate::bounds;
use crate::refusal::{Kind, Refusal};
use crate::usage::Usage;

/// What is known of a response before its backend has said anything.
#[derive(Debug, Clone, Default)]
pub struct Heading {
    /// What its ids are made of: hexadecimal digits that no other response has.
    pub seed: Box<str>,
    /// When it was asked for, in seconds since 1970.
    pub created: u64,
    /// The model's public name, as JSON text.
    pub model: Box<str>,
    /// What it repeats of the request: members without braces.
    pub echo: Box<str>,
    /// Usage has `cache_read_input_tokens` and `cache_creation_input_tokens`.
    pub cache_counters: bool,
}

/// A response in the making.
#[derive(Debug)]
pub struct Made {
    heading: Heading,
    pub(super) items: Vec<Item>,
    /// How many bytes the items hold.
    held: usize,
    pub(super) finish: Option<Finish>,
}

/// One item of the output.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) sort: Sort,
    pub(super) open: bool,
    /// Its text or its arguments.
    pub(super) text: Vec<u8>,
    pub(super) logprobs: Vec<u8>,
    index: u64,
    call: Vec<u8>,
    name: Vec<u8>,
}

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Reasoning,
    Text,
    Refusal,
    Call,
}

/// What an item, an event or a whole says of how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    InProgress,
    Completed,
    Incomplete,
}

/// What an item counts beside its text, so that their number is bounded too.
const ITEM_BYTES: usize = 4 * 1024;

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
        }
    }
}

impl Made {
    /// A response in which nothing has been said.
    #[must_use]
    pub fn new(heading: Heading) -> Self {
        Self { heading, items: Vec::new(), held: 0, finish: None }
    }

    /// The whole response to a whole chat completion.
    ///
    /// # Errors
    /// The backend's answer is none.
    pub fn answer(mut self, body: &[u8], usage: Option<Usage>) -> Result<Bytes, Refusal> {
        let nonsense = || Refusal::of(Kind::UpstreamError);
        let piece = chat::read(body).map_err(|_| nonsense())?.ok_or_else(nonsense)?;
        self.finish = piece.finish.or(Some(Finish::Whole));
        for (sort, text) in said(&piece) {
            let at = self.open(sort);
            self.append(at, text, if sort == Sort::Text { piece.logprobs } else { b"" })?;
        }
        for call in &piece.calls {
            let (at, _) = self.call(call);
            self.append(at, &call.arguments, b"")?;
        }
        let mut out = Vec::with_capacity(body.len() + self.heading.echo.len() + 512);
        self.write(&mut out, self.ended(), usage);
        Ok(out.into())
    }

    /// Opens an item of this sort.
    pub(super) fn open(&mut self, sort: Sort) -> usize {
        self.held += ITEM_BYTES;
        let (text, logprobs, call, name) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        self.items.push(Item { sort, open: true, text, logprobs, index: 0, call, name });
        self.items.len() - 1
    }

    /// The item of a call, and whether it is a new one.
    pub(super) fn call(&mut self, call: &Call<'_>) -> (usize, bool) {
        let same = |item: &Item| item.open && item.sort == Sort::Call && item.index == call.index;
        let known = self.items.iter().position(same);
        let at = known.unwrap_or_else(|| self.open(Sort::Call));
        if let Some(item) = self.items.get_mut(at) {
            item.index = call.index;
            for (place, given) in [(&mut item.call, call.id), (&mut item.name, call.name)] {
                if place.is_empty() {
                    place.extend_from_slice(given);
                    self.held += given.len();
                }
            }
            if item.call.is_empty() {
                let _ = write!(item.call, "call_{}{at:02x}", self.heading.seed);
            }
        }
        (at, known.is_none())
    }

    /// Adds to what an item says.
    ///
    /// # Errors
    /// The response grew beyond the bound.
    pub(super) fn append(&mut self, at: usize, text: &[u8], logprobs: &[u8]) -> Result<(), Refusal> {
        self.held += text.len() + logprobs.len();
        if self.held > bounds::RESPONSE_BYTES {
            let words = "The answer grew longer than a response can be here. Please ask for fewer tokens.";
            return Err(Refusal::of(Kind::UpstreamError).message(words));
        }
        if let Some(item) = self.items.get_mut(at) {
            item.text.extend_from_slice(text);
            if !logprobs.is_empty() {
                if !item.logprobs.is_empty() {
                    item.logprobs.push(b',');
                }
                one_line(&mut item.logprobs, logprobs);
            }
        }
        Ok(())
    }

    /// How it has ended.
    pub(super) fn ended(&self) -> Status {
        match self.finish {
            Some(Finish::Length | Finish::Filtered) => Status::Incomplete,
            Some(Finish::Whole) | None => Status::Completed,
        }
    }

    /// How an item has ended: a response that was cut off was so in its last one.
    pub(super) fn ended_at(&self, at: usize) -> Status {
        if at + 1 == self.items.len() { self.ended() } else { Status::Completed }
    }

    /// Writes an item's id.
    pub(super) fn id(&self, out: &mut Vec<u8>, at: usize) {
        let prefix = match self.items.get(at).map(|item| item.sort) {
            Some(Sort::Reasoning) => "rs",
            Some(Sort::Call) => "fc",
            Some(Sort::Text | Sort::Refusal) | None => "msg",
        };
        let _ = write!(out, "{prefix}_{}{at:02x}", self.heading.seed);
    }

    /// Writes an item; one in progress is still empty.
    pub(super) fn item(&self, out: &mut Vec<u8>, at: usize, status: Status) {
        let Some(item) = self.items.get(at) else { return };
        out.extend_from_slice(b"{\"id\":\"");
        self.id(out, at);
        let kind = match item.sort {
            Sort::Reasoning => "reasoning",
            Sort::Call => "function_call",
            Sort::Text | Sort::Refusal => "message",
        };
        let _ = write!(out, "\",\"type\":\"{kind}\",\"status\":\"{}\",", status.name());
        let empty = status == Status::InProgress;
        if item.sort == Sort::Call {
            let arguments = if empty { &b""[..] } else { &item.text };
            for (name, said) in [("call_id", &item.call[..]), ("name", &item.name), ("arguments", arguments)]
            {
                let _ = write!(out, "\"{name}\":\"");
                out.extend_from_slice(said);
                out.extend_from_slice(if name == "arguments" { b"\"}" } else { b"\"," });
            }
            return;
        }
        let before: &[u8] =
            if item.sort == Sort::Reasoning { b"\"summary\":[]," } else { b"\"role\":\"assistant\"," };
        out.extend_from_slice(before);
        out.extend_from_slice(b"\"content\":[");
        if !empty {
            self.part(out, at, false);
        }
        out.extend_from_slice(b"]}");
    }

    /// Writes the part that an item consists of.
    pub(super) fn part(&self, out: &mut Vec<u8>, at: usize, empty: bool) {
        let Some(item) = self.items.get(at) else { return };
        let (text, logprobs) =
            if empty { (&b""[..], &b""[..]) } else { (&item.text[..], &item.logprobs[..]) };
        match item.sort {
            Sort::Text => {
                out.extend_from_slice(b"{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[");
                out.extend_from_slice(logprobs);
                out.extend_from_slice(b"],\"text\":\"");
            }
            Sort::Refusal => out.extend_from_slice(b"{\"type\":\"refusal\",\"refusal\":\""),
            Sort::Reasoning | Sort::Call => {
                out.extend_from_slice(b"{\"type\":\"reasoning_text\",\"text\":\"");
            }
        }
        out.extend_from_slice(text);
        out.extend_from_slice(b"\"}");
    }

    /// Writes the response.
    pub(super) fn write(&self, out: &mut Vec<u8>, status: Status, usage: Option<Usage>) {
        let Heading { seed, created, model, echo, .. } = &self.heading;
        let reason = match self.finish {
            Some(Finish::Length) => r#"{"reason":"max_output_tokens"}"#,
            Some(Finish::Filtered) => r#"{"reason":"content_filter"}"#,
            Some(Finish::Whole) | None => "null",
        };
        let _ = write!(
            out,
            "{{\"id\":\"resp_{seed}\",\"object\":\"response\",\"created_at\":{created},\"status\":\"{}\",\
             \"background\":false,\"error\":null,\"incomplete_details\":{reason},\"model\":{model},\"output\":[",
            status.name()
        );
        for at in 0..self.items.len() {
            if at > 0 {
                out.push(b',');
            }
            self.item(out, at, self.ended_at(at));
        }
        let _ = write!(
            out,
            "],\"previous_response_id\":null,\"store\":false,\"truncation\":\"disabled\",{echo},\"usage\":"
        );
        self.usage(out, usage);
        out.push(b'}');
    }

    fn usage(&self, out: &mut Vec<u8>, usage: Option<Usage>) {
        let Some(usage) = usage else { return out.extend_from_slice(b"null") };
        let Usage { prompt, completion, cached, created, reasoning, .. } = usage;
        let _ = write!(
            out,
            "{{\"input_tokens\":{prompt},\"input_tokens_details\":{{\"cached_tokens\":{cached}}},\
             \"output_tokens\":{completion},\"output_tokens_details\":{{\"reasoning_tokens\":{reasoning}}},\
             \"total_tokens\":{}",
            prompt.saturating_add(completion)
        );
        if self.heading.cache_counters {
            let _ = write!(
                out,
                ",\"cache_read_input_tokens\":{cached},\"cache_creation_input_tokens\":{created}"
            );
        }
        out.push(b'}');
    }
}

/// The texts of a piece in the order of the output, without those that say nothing.
pub(super) fn said<'a>(piece: &Piece<'a>) -> impl Iterator<Item = (Sort, &'a [u8])> + use<'a> {
    let all = [(Sort::Reasoning, piece.reasoning), (Sort::Text, piece.text), (Sort::Refusal, piece.refusal)];
    all.into_iter().filter(|(_, text)| !text.is_empty())
}

/// Appends JSON text of a backend as one line; the line ends in it stand between values.
pub(super) fn one_line(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
}
