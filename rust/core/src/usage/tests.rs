//! Counts as backends tell them, believable and not.

use super::*;

const TEXT: &str = r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":2},
    "completion_tokens_details":{"reasoning_tokens":1},"prompt_tokens_x":null}"#;
const USAGE: Usage = Usage {
    prompt: 3,
    completion: 4,
    cached: 2,
    created: 0,
    reasoning: 1,
    audio_ms: 0,
    flat: false,
    suspect: false,
};

#[test]
fn reads_a_window() {
    let tail = format!(r#"0.25]}}],"text":"\"usage\": {{}}","usage" : {TEXT}}}"#);
    assert_eq!(of_window(tail.as_bytes()), Some(USAGE));
    assert_eq!(of_window(b"\"usage\""), None);
    assert_eq!(of_window(b"\"x\":\"usage\",\"y\":{}"), None);
    assert_eq!(of_window(b"\"usage\":{\"prompt_tokens\":5"), None);
}

#[test]
fn absurd_numbers_count_nothing_and_are_told() {
    for text in ["-1", "1.5", "\"7\"", "18446744073709551615", "9223372036854775808", "99999999999999999999"]
    {
        let body = format!(r#"{{"usage":{{"prompt_tokens":{text},"completion_tokens":2}}}}"#);
        let wanted = Usage { completion: 2, suspect: true, ..Usage::default() };
        assert_eq!(of_window(body.as_bytes()), Some(wanted), "{text}");
    }
}

#[test]
fn seconds_are_exact() {
    for (text, wanted) in
        [("12", Some(12_000)), ("0.5", Some(500)), ("8.470000267", Some(8470)), ("1e3", None)]
    {
        assert_eq!(millis(&mut Scanner::new(text.as_bytes())).unwrap(), wanted, "{text}");
    }
    let told = of_window(br#""usage":{"type":"duration","seconds":9}"#).unwrap();
    assert_eq!(told, Usage { audio_ms: 9000, ..Usage::default() });
}

#[test]
fn nothing_told_is_no_nought() {
    let read = |text: &str| of_window(format!("\"usage\":{text}").as_bytes());
    assert_eq!(read("{}"), None);
    assert_eq!(read(r#"{"prompt_tokens":null,"completion_tokens":null}"#), None);
    assert_eq!(read(r#"{"prompt_tokens":0,"completion_tokens":0}"#), Some(Usage::default()));
}

#[test]
fn counts_that_fall_are_suspect_and_not_believed() {
    let of = |completion| Usage { prompt: 3, completion, ..Usage::default() };
    let mut meter = Meter::default();
    meter.running(of(5));
    meter.running(of(4));
    assert_eq!(meter.read(), (Usage { suspect: true, ..of(5) }, Source::EngineRunning));
    let mut meter = Meter::default();
    meter.running(of(5));
    meter.total(of(2));
    assert_eq!(meter.read(), (Usage { suspect: true, ..of(5) }, Source::EngineFinal));
    let mut meter = Meter::default();
    meter.running(of(5));
    meter.total(Usage { suspect: true, ..of(0) });
    assert_eq!(meter.read(), (Usage { suspect: true, ..of(5) }, Source::EngineFinal));
    let mut meter = Meter::default();
    meter.event();
    meter.total(Usage { suspect: true, ..of(0) });
    assert_eq!(meter.read(), (Usage { suspect: true, ..of(1) }, Source::Estimated));
    let mut meter = Meter::default();
    meter.event();
    meter.total(of(0));
    assert_eq!(meter.read(), (of(0), Source::EngineFinal));
}

#[test]
fn what_it_writes_it_reads() {
    for (usage, flat) in [(USAGE, false), (Usage { flat: true, ..USAGE }, true), (Usage::default(), false)] {
        assert_eq!(of_window(format!("\"usage\":{}", usage.json(flat)).as_bytes()), Some(usage));
    }
    assert_eq!(Usage::default().json(false), r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#);
}

#[test]
fn the_meter_prefers_the_backend() {
    let mut meter = Meter::default();
    assert_eq!(meter.read().1, Source::None);
    meter.event();
    meter.event();
    assert_eq!(meter.read(), (Usage { completion: 2, ..Usage::default() }, Source::Estimated));
    meter.running(Usage { prompt: 3, completion: 1, ..Usage::default() });
    meter.running(Usage { prompt: 3, completion: 2, ..Usage::default() });
    assert_eq!(meter.read().0.completion, 2);
    meter.finished(USAGE);
    assert_eq!(meter.read().0, USAGE);
    meter.total(USAGE);
    meter.total(USAGE);
    assert_eq!(meter.read(), (Usage { completion: 8, reasoning: 2, ..USAGE }, Source::EngineFinal));
}

#[test]
fn a_sum_has_one_prompt_and_is_as_sure_as_its_least_sure_part() {
    let (mut told, mut counted) = (Meter::default(), Meter::default());
    told.total(USAGE);
    counted.event();
    let sum = |parts: &[Meter]| Meter::sum(parts.iter().copied()).read();
    let both = Usage { completion: 8, reasoning: 2, ..USAGE };
    assert_eq!(sum(&[told, told]), (both, Source::EngineFinal));
    let part = Usage { completion: 5, ..USAGE };
    assert_eq!(sum(&[told, counted]), (part, Source::Estimated));
    assert_eq!(sum(&[counted, told, Meter::default()]), (part, Source::Estimated));
    assert_eq!(sum(&[counted, counted]), (Usage { completion: 2, ..Usage::default() }, Source::Estimated));
    assert_eq!(sum(&[Meter::default(); 2]).1, Source::None);
}
