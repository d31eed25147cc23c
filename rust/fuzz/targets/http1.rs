//! Any bytes as an answer: any split reads the same, and what we accept hyper accepts with the same status and body.
#![no_main]

#[path = "hyper_client.rs"]
mod hyper_client;
#[path = "../../core/tests/reading/mod.rs"]
mod reading;

use levada_core::http1::Fault;
use libfuzzer_sys::fuzz_target;
use reading::{Read, read};

/// Where we refuse on purpose what hyper takes.
const STRICTER: [&str; 9] = [
    "transfer-encoding",
    "transfer-encoding and content-length",
    "transfer-encoding in HTTP/1.0",
    "content-length",
    "content-length differs",
    "chunk size",
    "chunk line too long",
    "trailers too large",
    "trailer line ends without CR",
];

fuzz_target!(|bytes: &[u8]| {
    let whole = read([bytes]);
    same(&whole, read(bytes.chunks(1)));
    same(&whole, read(bytes.chunks(2 + bytes.len() % 61)));
    compare(&whole, hyper_client::read(bytes));
});

fn same(whole: &Read, split: Read) {
    // How much a fault leaves unread depends on how much had come.
    let left = if whole.fault.is_some() { whole.left } else { split.left };
    assert_eq!(*whole, Read { left, ..split });
}

fn compare(ours: &Read, hypers: Option<(u16, Vec<u8>)>) {
    let status = ours.head.as_ref().map(|head| head.status);
    match (ours.fault, hypers) {
        (None, hypers) => assert_eq!(Some((status.unwrap_or(0), ours.body.clone())), hypers),
        (Some(Fault::Truncated), hypers) => assert_eq!(hypers, None),
        (Some(Fault::Malformed(reason)), Some(_)) => assert!(STRICTER.contains(&reason), "{reason}"),
        (Some(Fault::Malformed(_)), None) | (Some(Fault::HeadTooLarge | Fault::Upgrade), _) => {}
    }
}
