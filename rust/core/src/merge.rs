//! Several answers of one choice each as one answer of several choices.
//!
//! Law: it is made of the answers' own bytes. Written anew are only the indexes, the sums of tokens, and the id and
//! time that all chunks of one answer share: those of the first chunk that came. The prompt is counted once.

mod sums;

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use self::sums::summed;
use crate::json::{Kind, Scanner, Wrong};
use crate::relay::{DONE, edited};
use crate::splice::{self, Edit};
use crate::sse;

/// Whole answers as one; of what is no choice and no sum, the first one's stands.
///
/// # Errors
/// One of them is no JSON object, or has no choices.
pub fn bodies(bodies: &[Bytes]) -> Result<Bytes, Wrong> {
    let mut choices: Vec<(u64, Bytes)> = Vec::new();
    let mut parts = Vec::with_capacity(bodies.len());
    for (at, body) in bodies.iter().enumerate() {
        let part = read(body, |choice| {
            let (index, edit) = choice.of_whole(at, bodies.len());
            let edits = edit.into_iter().map(|edit| shifted(edit, choice.span.start)).collect();
            choices.push((index, splice::apply(body.slice(choice.span), edits)));
        })?;
        parts.push(part);
    }
    choices.sort_by_key(|(index, _)| *index);
    let usages = bodies.iter().zip(&parts).filter_map(|(body, part)| body.get(part.usage.clone()?));
    let sums = summed(&usages.collect::<Vec<_>>());
    let (Some(body), Some(part)) = (bodies.first(), parts.first()) else { return Err(Wrong::Syntax(0)) };
    if parts.iter().any(|part| part.choices.is_none()) {
        return Err(Wrong::Syntax(0));
    }
    let place = part.choices.clone().unwrap_or_default();
    let (mut before, mut after) = (body.slice(..place.start), body.slice(place.end..));
    // A first answer that told no usage has no place for the sum.
    match &part.usage {
        Some(usage) if usage.start < place.start => {
            let edits = sums.into_iter().map(|edit| moved(edit, usage.start)).collect();
            before = splice::apply(before, edits);
        }
        Some(usage) => {
            let edits =
                sums.into_iter().map(|edit| moved(edit, usage.start.saturating_sub(place.end))).collect();
            after = splice::apply(after, edits);
        }
        None => {}
    }
    let length: usize = choices.iter().map(|(_, choice)| choice.len() + 1).sum();
    let mut out = BytesMut::with_capacity(before.len() + length + after.len() + 2);
    out.extend_from_slice(&before);
    out.extend_from_slice(b"[");
    for (at, (_, choice)) in choices.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"" } else { b"," });
        out.extend_from_slice(choice);
    }
    out.extend_from_slice(b"]");
    out.extend_from_slice(&after);
    Ok(out.freeze())
}

/// Several streams as one. The first that speaks is choice 0, the next choice 1: the SDK's helper for streams takes a
/// choice that comes before a lower one for that one.
#[derive(Debug)]
pub struct Streams {
    /// `id` and `created` of the first chunk, as JSON texts; empty where it has none.
    shared: Option<[Box<str>; 2]>,
    /// Of each stream, the place among those that have spoken.
    order: Vec<Option<usize>>,
    spoken: usize,
    /// Of each stream, the last chunk that told its usage.
    told: Vec<Option<Bytes>>,
}

impl Streams {
    /// The beginning of `count` streams.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { shared: None, order: vec![None; count], spoken: 0, told: vec![None; count] }
    }

    /// Events of the stream `at` as events of the whole; its end and its usage chunk are held back.
    pub fn take(&mut self, at: usize, events: Bytes) -> Bytes {
        // As long as every event is kept, the bytes go on as they are; the first that is not starts a copy.
        let mut copy: Option<BytesMut> = None;
        let mut kept = 0;
        for event in sse::split(&events) {
            let instead = self.event(at, event);
            match (&mut copy, &instead) {
                (None, Cow::Borrowed(same)) if same.len() == event.len() => kept += event.len(),
                (None, other) => {
                    let mut begun = BytesMut::from(events.get(..kept).unwrap_or_default());
                    begun.extend_from_slice(other);
                    copy = Some(begun);
                }
                (Some(copy), other) => copy.extend_from_slice(other),
            }
        }
        copy.map_or(events, BytesMut::freeze)
    }

    /// The last events, when all streams have ended: the usage of all, if they told theirs, and `[DONE]`.
    #[must_use]
    pub fn end(&self) -> Bytes {
        let told = self.told.iter().flatten();
        let read: Vec<_> = told.filter_map(|data| Some((data, read(data, drop).ok()?))).collect();
        let usages = read.iter().filter_map(|(data, parts)| data.get(parts.usage.clone()?));
        let sums = summed(&usages.collect::<Vec<_>>());
        let mut out = BytesMut::new();
        if let Some((data, parts)) = read.first() {
            let start = parts.usage.as_ref().map_or(0, |usage| usage.start);
            let mut edits: Vec<_> = sums.into_iter().map(|edit| moved(edit, start)).collect();
            edits.extend(parts.choices.clone().map(|span| Edit { span, with: "[]".into() }));
            edits.extend(self.shared_edits(data, parts));
            out.extend_from_slice(&edited(b"", data, edits));
        }
        out.extend_from_slice(DONE);
        out.freeze()
    }

    /// What becomes of one event: nothing where it is held back.
    fn event<'a>(&mut self, at: usize, event: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(data) = data(event) else { return Cow::Borrowed(event) };
        if &*data == b"[DONE]" {
            return Cow::Borrowed(b"");
        }
        let (mut edits, mut choices, count) = (Vec::new(), 0, self.order.len());
        let place = self.order.get(at).copied().flatten().unwrap_or(self.spoken);
        let parts = read(&data, |choice| {
            choices += 1;
            edits.extend(choice.of_whole(place, count).1);
        });
        let Ok(parts) = parts else { return Cow::Borrowed(event) };
        if let (true, Some(order @ None)) = (choices > 0, self.order.get_mut(at)) {
            *order = Some(place);
            self.spoken += 1;
        }
        if let (Some(_), Some(told)) = (&parts.usage, self.told.get_mut(at)) {
            *told = Some(Bytes::copy_from_slice(&data));
            if choices == 0 {
                return Cow::Borrowed(b"");
            }
        }
        if self.shared.is_none() && parts.id.is_some() {
            self.shared = Some([&parts.id, &parts.created].map(|span| text(&data, span.as_ref()).into()));
        }
        edits.extend(self.shared_edits(&data, &parts));
        if edits.is_empty() { Cow::Borrowed(event) } else { Cow::Owned(edited(event, &data, edits)) }
    }

    /// The edits that give a chunk the id and time of the first.
    fn shared_edits(&self, data: &[u8], parts: &Parts) -> impl Iterator<Item = Edit> {
        let edit = |span: &Option<Range<usize>>, with: &str| {
            let span = span.clone().filter(|span| !with.is_empty() && text(data, Some(span)) != with)?;
            Some(Edit { span, with: with.into() })
        };
        let [id, created] = self.shared.as_ref().map_or(["", ""], |[id, created]| [id, created]);
        [edit(&parts.id, id), edit(&parts.created, created)].into_iter().flatten()
    }
}

/// Where those members of an answer stand that are changed.
#[derive(Debug, Default)]
struct Parts {
    id: Option<Range<usize>>,
    created: Option<Range<usize>>,
    /// If it is an object.
    usage: Option<Range<usize>>,
    choices: Option<Range<usize>>,
}

/// One choice of an answer.
#[derive(Debug)]
struct Choice {
    span: Range<usize>,
    /// Its index, or its place where it tells none.
    number: u64,
    /// Where the index stands, or would go.
    index: Option<Range<usize>>,
    told: bool,
}

impl Choice {
    /// Its index in the whole, and the edit that says so. A list of prompts has several choices in each answer: those
    /// of one prompt stand together.
    fn of_whole(&self, at: usize, count: usize) -> (u64, Option<Edit>) {
        let index = self.number.saturating_mul(count as u64).saturating_add(at as u64);
        let edit = self.index.clone().filter(|_| !self.told || index != self.number).map(|span| {
            let with = if self.told { index.to_string() } else { format!("\"index\":{index},") };
            Edit { span, with: with.into() }
        });
        (index, edit)
    }
}

/// Reads an answer or a chunk; each of its choices goes to `choice`.
fn read(text: &[u8], mut choice: impl FnMut(Choice)) -> Result<Parts, Wrong> {
    let mut parts = Parts::default();
    let mut scanner = Scanner::new(text);
    scanner.object::<Wrong>(|key, scanner| {
        if key.raw == b"choices" && scanner.peek() == Some(b'[') {
            let span = scanner.array(|place, scanner| one(place, scanner).map(&mut choice))?;
            parts.choices = Some(span);
            return Ok(());
        }
        let (kind, span) = scanner.value()?;
        match (key.raw, kind) {
            (b"id", _) => parts.id = Some(span),
            (b"created", _) => parts.created = Some(span),
            (b"usage", Kind::Object) => parts.usage = Some(span),
            _ => {}
        }
        Ok(())
    })?;
    scanner.end()?;
    Ok(parts)
}

/// Takes one choice.
fn one(place: usize, scanner: &mut Scanner<'_>) -> Result<Choice, Wrong> {
    let mut choice = Choice { span: 0..0, number: place as u64, index: None, told: false };
    if scanner.peek() != Some(b'{') {
        choice.span = scanner.value()?.1;
        return Ok(choice);
    }
    choice.span = scanner.object::<Wrong>(|key, scanner| {
        let before = scanner.key_at();
        let span = scanner.value()?.1;
        if key.raw == b"index" {
            choice.number = scanner.text(&span).parse().unwrap_or(choice.number);
            (choice.index, choice.told) = (Some(span), true);
        } else if choice.index.is_none() {
            choice.index = Some(before..before);
        }
        Ok(())
    })?;
    Ok(choice)
}

/// The data of an event, if it has any.
fn data(event: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut lines = sse::fields(event).filter(|field| field.name == b"data").map(|field| field.value);
    let mut data = Cow::Borrowed(lines.next()?);
    for line in lines {
        let whole = data.to_mut();
        whole.push(b'\n');
        whole.extend_from_slice(line);
    }
    Some(data)
}

fn text<'a>(data: &'a [u8], span: Option<&Range<usize>>) -> &'a str {
    span.and_then(|span| std::str::from_utf8(data.get(span.clone())?).ok()).unwrap_or_default()
}

/// The same edit of a text that begins `by` bytes later.
fn shifted(edit: Edit, by: usize) -> Edit {
    Edit { span: edit.span.start.saturating_sub(by)..edit.span.end.saturating_sub(by), with: edit.with }
}

/// The same edit where its text begins `by` bytes further on.
fn moved(edit: Edit, by: usize) -> Edit {
    Edit { span: edit.span.start + by..edit.span.end + by, with: edit.with }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json;

    fn merged(texts: &[&str]) -> String {
        let texts: Vec<_> = texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect();
        String::from_utf8(bodies(&texts).unwrap().to_vec()).unwrap()
    }

    /// The shape of llama.cpp: choices first, the id last, timings.
    fn llamacpp(id: &str, text: &str, usage: &str) -> String {
        format!(
            r#"{{"choices":[{{"finish_reason":"stop","index":0,"message":{{"content":"{text}"}}}}],"created":1,"usage":{usage},"id":"{id}","timings":{{"predicted_ms":7.50}}}}"#
        )
    }

    #[test]
    fn bodies_are_the_first_with_the_choices_of_all_and_the_sums() {
        let first = r#"{"completion_tokens":12,"prompt_tokens":36,"total_tokens":48,"prompt_tokens_details":{"cached_tokens":0}}"#;
        let other = r#"{"completion_tokens":5,"prompt_tokens":36,"total_tokens":41,"prompt_tokens_details":{"cached_tokens":36}}"#;
        let (a, b, c) =
            (llamacpp("a", "x", first), llamacpp("b", "y \\u00e9", other), llamacpp("c", "z", other));
        let choice = |index: u64, text: &str| {
            format!(r#"{{"finish_reason":"stop","index":{index},"message":{{"content":"{text}"}}}}"#)
        };
        let choices = [choice(0, "x"), choice(1, "y \\u00e9"), choice(2, "z")].join(",");
        let usage = r#"{"completion_tokens":22,"prompt_tokens":36,"total_tokens":58,"prompt_tokens_details":{"cached_tokens":0}}"#;
        let wanted = format!(
            r#"{{"choices":[{choices}],"created":1,"usage":{usage},"id":"a","timings":{{"predicted_ms":7.50}}}}"#
        );
        assert_eq!(merged(&[&a, &b, &c]), wanted);
        assert_eq!(merged(&[&a]), a);
    }

    #[test]
    fn details_of_the_answer_add_up_and_usage_may_stand_first() {
        let body = |reasoning: u64| {
            format!(
                r#"{{"usage":{{"prompt_tokens":3,"completion_tokens":9,"total_tokens":12,"completion_tokens_details":{{"reasoning_tokens":{reasoning},"x":null}},"cache_read_input_tokens":2}}, "choices" : [ {{"text":"a","index":0}} ],"x":1e5}}"#
            )
        };
        assert_eq!(
            merged(&[&body(4), &body(5)]),
            r#"{"usage":{"prompt_tokens":3,"completion_tokens":18,"total_tokens":21,"completion_tokens_details":{"reasoning_tokens":9,"x":null},"cache_read_input_tokens":2}, "choices" : [{"text":"a","index":0},{"text":"a","index":1}],"x":1e5}"#
        );
    }

    #[test]
    fn choices_of_a_prompt_stand_together_and_an_index_is_put_in_where_there_is_none() {
        let list =
            |a: &str| format!(r#"{{"choices":[{{"index":0,"text":"{a}0"}},{{"index":1,"text":"{a}1"}}]}}"#);
        assert_eq!(
            merged(&[&list("a"), &list("b")]),
            r#"{"choices":[{"index":0,"text":"a0"},{"index":1,"text":"b0"},{"index":2,"text":"a1"},{"index":3,"text":"b1"}]}"#
        );
        let bare = r#"{"choices":[{"text":"a"}],"usage":null}"#;
        assert_eq!(
            merged(&[bare, bare]),
            r#"{"choices":[{"index":0,"text":"a"},{"index":1,"text":"a"}],"usage":null}"#
        );
    }

    #[test]
    fn what_is_no_answer_is_not_merged() {
        let good = r#"{"choices":[{"index":0}]}"#;
        for bad in ["", "null", "[]", "{}", r#"{"choices":null}"#, r#"{"choices":[}"#] {
            for pair in [[good, bad], [bad, good]] {
                assert!(bodies(&pair.map(|text| Bytes::copy_from_slice(text.as_bytes()))).is_err(), "{bad}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_pass() {
        let body = Bytes::from_static(b"{\"choices\":[{\"index\":0,\"text\":\"\xff\"}]}");
        let wanted = b"{\"choices\":[{\"index\":0,\"text\":\"\xff\"},{\"index\":1,\"text\":\"\xff\"}]}";
        assert_eq!(&bodies(&[body.clone(), body]).unwrap()[..], wanted);
    }

    fn chunk(id: &str, index: u64, rest: &str) -> String {
        format!(
            "data: {{\"id\":\"{id}\",\"created\":1,\"choices\":[{{\"index\":{index},\"delta\":{{{rest}}}}}]}}\n\n"
        )
    }

    fn usage(id: &str, completion: u64, total: u64) -> String {
        format!(
            "data: {{\"id\":\"{id}\",\"created\":1,\"choices\":[],\"usage\":{{\"prompt_tokens\":3,\"total_tokens\":{total},\"completion_tokens\":{completion}}}}}\n\n"
        )
    }

    fn taken(streams: &mut Streams, at: usize, events: &str) -> String {
        let out = streams.take(at, Bytes::copy_from_slice(events.as_bytes()));
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn chunks_share_the_id_of_the_first_that_came_and_are_numbered_as_they_come() {
        let mut streams = Streams::new(2);
        let ends = |id: &str, completion| {
            [usage(id, completion, 3 + completion), "data: [DONE]\n\n".into()].concat()
        };
        assert_eq!(taken(&mut streams, 1, &chunk("b", 0, "")), chunk("b", 0, ""));
        assert_eq!(taken(&mut streams, 0, ": ping\n\ndata: null\n\n"), ": ping\n\ndata: null\n\n");
        assert_eq!(taken(&mut streams, 0, &chunk("a", 0, r#""x":1.0"#)), chunk("b", 1, r#""x":1.0"#));
        assert_eq!(taken(&mut streams, 0, &ends("a", 4)), "");
        let last = [chunk("b", 0, ""), ends("b", 5)].concat();
        assert_eq!(taken(&mut streams, 1, &last), chunk("b", 0, ""));
        let end = String::from_utf8(streams.end().to_vec()).unwrap();
        assert_eq!(end, [usage("b", 9, 12), "data: [DONE]\n\n".into()].concat());
    }

    #[test]
    fn without_usage_there_is_only_the_end() {
        let mut streams = Streams::new(2);
        taken(&mut streams, 0, &chunk("a", 0, ""));
        assert_eq!(&streams.end()[..], DONE);
    }

    #[test]
    fn usage_beside_a_choice_passes_and_is_summed_at_the_end() {
        let told = |id: &str, index: u64, completion: u64| {
            format!(
                "data: {{\"id\":\"{id}\",\"choices\":[{{\"index\":{index}}}],\"usage\":{{\"prompt_tokens\":1,\"completion_tokens\":{completion}}}}}\n\n"
            )
        };
        let mut streams = Streams::new(2);
        assert_eq!(taken(&mut streams, 0, &told("a", 0, 1)), told("a", 0, 1));
        assert_eq!(taken(&mut streams, 0, &told("a", 0, 2)), told("a", 0, 2));
        assert_eq!(taken(&mut streams, 1, &told("b", 0, 3)), told("a", 1, 3));
        let end = String::from_utf8(streams.end().to_vec()).unwrap();
        let wanted = told("a", 0, 5).replace("{\"index\":0}", "");
        assert_eq!(end, [wanted, "data: [DONE]\n\n".into()].concat());
    }

    #[test]
    fn what_need_not_change_is_not_copied() {
        let mut streams = Streams::new(2);
        let events = Bytes::from([chunk("a", 0, ""), chunk("a", 0, "")].concat());
        assert_eq!(streams.take(0, events.clone()).as_ptr(), events.as_ptr());
    }

    proptest! {
        #[test]
        fn json_stays_json(texts in prop::collection::vec(
            r#"\{("id":("a"|1|null),)?("usage":(null|\{("completion_tokens":[0-9]{1,3})?\}),)?"choices":\[(\{("index":(0|7|null))?\}|5)?(,\{"x":1\})?\](,"created":2)?\}"#, 1..4,
        )) {
            let good = |text: &[u8]| json::check(text).is_ok();
            let all: Vec<_> = texts.iter().filter(|text| good(text.as_bytes())).cloned().map(Bytes::from).collect();
            prop_assume!(!all.is_empty());
            prop_assert!(good(&bodies(&all).unwrap()));
            let mut streams = Streams::new(all.len());
            for (at, body) in all.iter().enumerate() {
                let event = Bytes::from([b"data: ", &body[..], b"\n\n"].concat());
                for out in sse::split(&streams.take(at, event)) {
                    prop_assert!(good(&data(out).unwrap()), "{}", String::from_utf8_lossy(out));
                }
            }
            let end = streams.end();
            for out in sse::split(&end).filter(|out| *out != DONE) {
                prop_assert!(good(&data(out).unwrap()));
            }
        }
    }
}
