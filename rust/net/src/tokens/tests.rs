//! Counting threads: what is handed over is counted as a whole, bounded, and off the threads of the sockets.

use levada_core::words::Words;

use super::*;

/// Words of bytes: the pattern of GPT-2, merges that a text of ours has.
const BYTES: &str = r#"{"version":"1.0","truncation":{"direction":"Right","max_length":3,"strategy":"LongestFirst","stride":0},
"padding":null,"added_tokens":[],"normalizer":null,
"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
"post_processor":null,"decoder":null,
"model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,
"fuse_unk":false,"byte_fallback":false,"ignore_merges":false,"vocab":VOCAB,"merges":[["t","h"],["th","e"],["Ġ","the"],["Ċ","Ċ"]]}}"#;
/// Pieces of sentences: no pattern, and a mark before the first word.
const MARKS: &str = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],
"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},
"pre_tokenizer":null,"post_processor":null,"decoder":null,
"model":{"type":"BPE","dropout":null,"unk_token":"?","continuing_subword_prefix":null,"end_of_word_suffix":null,
"fuse_unk":true,"byte_fallback":false,"ignore_merges":false,"vocab":VOCAB,"merges":[["t","h"],["th","e"],["▁","the"],["▁","▁"]]}}"#;

fn made(json: &str, vocabulary: &[&str], merged: &[&str]) -> Tokenizer {
    let bytes = (0..=255u8).map(|byte| match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte).to_string(),
        b'\n' => '\u{10a}'.to_string(),
        b' ' => '\u{120}'.to_string(),
        other => format!("<{other}>"),
    });
    let all = bytes.chain(vocabulary.iter().chain(merged).map(|&token| token.to_owned()));
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        all.enumerate().map(|(id, token)| (token, id.into())).collect();
    let vocabulary = serde_json::Value::from(vocabulary).to_string();
    Tokenizer::read(json.replace("VOCAB", &vocabulary).as_bytes()).unwrap()
}

fn of_bytes() -> Tokenizer {
    made(BYTES, &[], &["th", "the", "\u{120}the", "\u{10a}\u{10a}"])
}

fn of_marks() -> Tokenizer {
    made(MARKS, &["?", "\n", "▁"], &["th", "the", "▁the", "▁▁"])
}

fn chunk(text: &str) -> Vec<u8> {
    serde_json::json!({"choices": [{"index": 0, "delta": {"content": text}}]}).to_string().into_bytes()
}

/// A long random text of what is special where texts are cut.
fn text(random: &mut fastrand::Rng, length: usize) -> String {
    let parts =
        ["the", " the", "e", " ", "  ", "\n", "\n\n", ".", "1", "'s", "下", "ü", "\t", "the the ", "ab cd"];
    std::iter::repeat_with(|| parts[random.usize(..parts.len())]).take(length).collect()
}

#[test]
fn counts_are_what_the_merges_say_and_files_cut_nothing() {
    let tokenizer = of_bytes();
    assert_eq!(tokenizer.gather(), Gather::Pieces);
    for (text, count) in
        [("", 0), ("the the", 2), ("thee", 2), ("a b c d", 7), ("\n\n", 1), ("the\n\nthe", 4)]
    {
        assert_eq!(tokenizer.count(text), Some(count), "{text:?}");
    }
    assert_eq!(of_marks().count("the the"), Some(2));
}

#[test]
fn the_sum_of_pieces_is_the_count_of_the_whole() {
    let mut random = fastrand::Rng::with_seed(7);
    let encoding = |name| Tokenizer::encoding(name).unwrap();
    for tokenizer in [of_bytes(), of_marks(), encoding(O200K), encoding(CL100K)] {
        for _ in 0..12 {
            let whole = text(&mut random, 12_000);
            let mut words = Words::new(tokenizer.gather());
            let (mut rest, mut pieces) = (whole.as_str(), Vec::new());
            while !rest.is_empty() {
                let mut at = random.usize(1..=rest.len().min(400));
                while !rest.is_char_boundary(at) {
                    at += 1;
                }
                let (now, later) = rest.split_at(at);
                words.take(&chunk(now), true, false);
                pieces.extend(words.pieces());
                rest = later;
            }
            pieces.extend(words.rest());
            assert!(pieces.len() > 4, "{}", pieces.len());
            assert!(pieces.iter().all(|piece| piece.text.len() < 2 * bounds::PIECE_BYTES));
            let sum: u64 = pieces.iter().map(|piece| tokenizer.count_piece(piece).unwrap()).sum();
            assert_eq!(Some(sum), tokenizer.count(&whole));
        }
    }
}

#[test]
fn a_text_cut_at_every_place_that_may_be_cut_counts_the_same() {
    let mut random = fastrand::Rng::with_seed(8);
    let tokenizers = [of_bytes(), of_marks(), Tokenizer::encoding(O200K).unwrap()];
    for _ in 0..300 {
        let whole = text(&mut random, 12);
        for at in (0..whole.len()).filter(|&at| whole.is_char_boundary(at)) {
            let Some((cut, after)) = levada_core::words::cut(&whole[..at]) else { continue };
            for tokenizer in &tokenizers {
                let rest = Piece { text: whole[cut..].to_owned(), after };
                let sum = tokenizer.count(&whole[..cut]).unwrap() + tokenizer.count_piece(&rest).unwrap();
                assert_eq!(Some(sum), tokenizer.count(&whole), "{whole:?} at {cut}");
            }
        }
    }
}

#[test]
fn a_vocabulary_with_tokens_of_several_words_is_not_cut() {
    assert_eq!(made(MARKS, &["?", "▁"], &["th", "the", "▁the", "▁▁", "of▁the"]).gather(), Gather::Whole);
    for (token, wanted) in [
        ("e\u{120}t", true),
        ("\u{120}the", false),
        ("\u{120}\u{120}", false),
        ("\u{10a}\u{109}", false),
        (";\u{10a}", false),
        ("\na", true),
        ("<0x0A>", false),
        (",▁the", false),
    ] {
        assert_eq!(reaches_over(token), wanted, "{token}");
    }
}

#[test]
fn a_prompt_is_its_texts_and_a_little_for_each_message() {
    let tokenizer = of_bytes();
    let body = br#"{"messages":[{"role":"user","content":"the the"},{"role":"user","content":[{"type":"text","text":"the"}]}]}"#;
    assert_eq!(tokenizer.count_request(body), Some(3 + 2 * 4 + 3));
    assert_eq!(tokenizer.count_messages(br#"[{"content":"the"}]"#), Some(1 + 4 + 3));
    assert_eq!(tokenizer.count_request(br#"{"prompt":["the",[1,2,3]]}"#), Some(4));
    assert_eq!(tokenizer.count_request(b"{"), None);
    assert_eq!(tokenizer.count_answer(br#"{"choices":[{"message":{"content":"the the"}}]}"#), Some(2));
}

#[test]
fn a_file_is_loaded_once_and_anew_when_it_has_changed() {
    let folder = std::env::temp_dir().join(format!("levada-tokens-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("tokenizer.json");
    let name = path.to_str().unwrap();
    assert!(load(name).unwrap_err().starts_with("cannot read '"));
    fs::write(&path, "{}").unwrap();
    assert!(load(name).unwrap_err().contains("is not a tokenizer.json: "));
    assert!(load(folder.to_str().unwrap()).unwrap_err().ends_with("is not a file"));
    let json =
        BYTES.replace("VOCAB", r#"{"a":0,"Ċ":1,"t":2,"h":3,"e":4,"Ġ":5,"th":6,"the":7,"Ġthe":8,"ĊĊ":9}"#);
    fs::write(&path, &json).unwrap();
    let (first, second) = (load(name).unwrap(), load(name).unwrap());
    assert!(Arc::ptr_eq(&first, &second));
    fs::write(&path, json + "\n").unwrap();
    assert!(!Arc::ptr_eq(&first, &load(name).unwrap()));
    fs::remove_dir_all(&folder).unwrap();
    assert!(load(name).is_err());
    assert!(Arc::ptr_eq(&load(O200K).unwrap(), &load(O200K).unwrap()));
}
