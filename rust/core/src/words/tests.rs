//! Pieces of text: cut anywhere they are the same text, and counted apart they are counted as one.

use super::said::{Kind, of_answer, of_request};
use super::*;

fn chunk(choice: u64, text: &str) -> Vec<u8> {
    serde_json::json!({"choices": [{"index": choice, "delta": {"content": text}}]}).to_string().into_bytes()
}

fn heard(data: &str) -> Vec<(u64, Kind, u64, String)> {
    let mut found = Vec::new();
    of_answer(data.as_bytes(), &mut |voice, text| {
        found.push((voice.choice, voice.kind, voice.part, text.to_owned()));
    })
    .unwrap();
    found
}

#[test]
fn every_dialect_is_heard() {
    for (data, wanted) in [
        (r#"{"choices":[{"delta":{"content":"a"},"index":2}]}"#, vec![(2, Kind::Text, 0, "a")]),
        (
            r#"{"choices":[{"text":"a"},{"text":"b"}]}"#,
            vec![(0, Kind::Text, 0, "a"), (1, Kind::Text, 0, "b")],
        ),
        (
            r#"{"choices":[{"message":{"content":null,"reasoning":"t","reasoning_content":"t",
               "tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}}]}"#,
            vec![(0, Kind::Thought, 0, "t"), (0, Kind::Call, 0, "f"), (0, Kind::Call, 0, "{}")],
        ),
        (
            r#"{"type":"response.output_text.delta","output_index":1,"content_index":2,"delta":"a"}"#,
            vec![(1, Kind::Text, 2, "a")],
        ),
        (r#"{"type":"response.reasoning_text.delta","delta":"a"}"#, vec![(0, Kind::Thought, 0, "a")]),
        (
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"a"}}"#,
            vec![(0, Kind::Text, 1, "a")],
        ),
        (
            r#"{"type":"message","content":[{"type":"text","text":"a"},{"type":"tool_use","name":"f","input":{"x":1}}]}"#,
            vec![(0, Kind::Text, 0, "a"), (0, Kind::Call, 1, "f"), (0, Kind::Call, 1, r#"{"x":1}"#)],
        ),
        (
            r#"{"object":"response","output":[{"type":"message","content":[{"type":"output_text","text":"a"}]},
               {"type":"function_call","name":"f","arguments":"{}"}]}"#,
            vec![(0, Kind::Text, 0, "a"), (1, Kind::Call, 0, "f"), (1, Kind::Call, 0, "{}")],
        ),
        (r#"{"type":"response.completed","response":{"output":[{"content":[{"text":"a"}]}]}}"#, vec![]),
    ] {
        let wanted: Vec<_> = wanted
            .into_iter()
            .map(|(choice, kind, part, text)| (choice, kind, part, text.to_owned()))
            .collect();
        assert_eq!(heard(data), wanted, "{data}");
    }
}

#[test]
fn every_kind_of_prompt_is_heard() {
    for (body, texts, messages, tokens) in [
        (
            r#"{"messages":[{"content":"a"},{"content":[{"type":"text","text":"b"},{"type":"image_url"}]}]}"#,
            "a|b",
            2,
            0,
        ),
        (r#"{"system":"s","messages":[{"content":[{"type":"tool_result","content":"r"}]}]}"#, "s|r", 2, 0),
        (
            r#"{"messages":[{"content":null,"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}]}"#,
            "f|{}",
            1,
            0,
        ),
        (r#"{"instructions":"i","input":"a"}"#, "i|a", 1, 0),
        (
            r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"a"}]},{"output":"o"}]}"#,
            "a|o",
            2,
            0,
        ),
        (r#"{"prompt":["a","b"]}"#, "a|b", 0, 0),
        (r#"{"prompt":[[1,2],[3]]}"#, "", 0, 3),
        (r#"{"input":[7]}"#, "", 0, 1),
    ] {
        let mut found: Vec<String> = Vec::new();
        let asked = of_request(body.as_bytes(), &mut |text| found.push(text.to_owned())).unwrap();
        assert_eq!(
            (found.join("|").as_str(), asked.messages, asked.tokens),
            (texts, messages, tokens),
            "{body}"
        );
    }
}

#[test]
fn a_text_is_cut_between_words_or_lines() {
    assert_eq!(cut("one two three"), Some((7, After::Letter)));
    assert_eq!(cut("one  two"), None);
    assert_eq!(cut("über äther"), Some((5, After::Letter)));
    assert_eq!(cut("1 2, 3"), None);
    assert_eq!(cut("。\n下"), Some((4, After::Line)));
    assert_eq!(cut("a\n\nb"), None);
    assert_eq!(cut("\nb"), None);
    assert_eq!(cut(""), None);
}

#[test]
fn pieces_and_rest_are_all_that_was_said() {
    let mut words = Words::new(Gather::Pieces);
    let (mut pieces, mut wanted) = (vec![String::new(); 2], vec![String::new(); 2]);
    for turn in 0..4000 {
        let (choice, text) = (turn % 2, if turn % 7 == 0 { "word " } else { "wo rds" });
        wanted[choice].push_str(text);
        words.take(&chunk(choice as u64, text), true, false);
        let ready: Vec<Piece> = words.pieces().collect();
        for piece in ready {
            assert!(piece.text.len() < bounds::PIECE_BYTES + 16);
            let of = usize::from(!wanted[0][pieces[0].len()..].starts_with(&piece.text));
            pieces[of].push_str(&piece.text);
        }
    }
    assert!(pieces.iter().all(|said| said.len() > bounds::PIECE_BYTES));
    let rest: Vec<Piece> = words.rest().collect();
    assert_eq!(rest.len(), 2);
    for (said, rest) in pieces.iter_mut().zip(rest) {
        assert_eq!(rest.after, After::Letter);
        said.push_str(&rest.text);
    }
    assert_eq!(pieces, wanted);
}

#[test]
fn text_without_a_place_to_cut_is_held_up_to_a_bound() {
    for gather in [Gather::Pieces, Gather::Whole] {
        let mut words = Words::new(gather);
        let text = "x".repeat(1000);
        for turn in 1..=bounds::WORDS_BYTES / 1000 {
            words.take(&chunk(0, &text), true, false);
            assert_eq!(words.pieces().count(), 0);
            assert!(!words.lost(), "{turn}");
        }
        words.take(&chunk(0, &text), true, false);
        assert!(words.lost());
        words.take(&chunk(0, &text), true, false);
        assert_eq!(words.rest().count(), 0);
    }
}

#[test]
fn a_usage_that_is_told_ends_the_gathering() {
    let mut words = Words::new(Gather::Pieces);
    words.take(&chunk(0, "a"), true, false);
    words.take(&chunk(0, "b"), true, true);
    words.take(&chunk(0, "c"), true, false);
    assert_eq!((words.rest().count(), words.lost()), (0, false));
    let mut words = Words::new(Gather::Nothing);
    words.take(&chunk(0, "a"), true, false);
    assert_eq!(words.rest().count(), 0);
}

#[test]
fn too_many_voices_and_what_is_no_json_are_lost() {
    let mut words = Words::new(Gather::Pieces);
    for choice in 0..=bounds::VOICES as u64 {
        words.take(&chunk(choice, "a"), true, false);
    }
    assert!(words.lost());
    let mut words = Words::new(Gather::Pieces);
    words.take(b"{", true, false);
    assert!(words.lost());
}
