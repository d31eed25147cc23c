//! Any bytes as a snapshot or a keys document: refused with problems, or whole and consistent.
#![no_main]

use levada_core::{auth, snapshot::Snapshot};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    match Snapshot::parse(bytes) {
        Ok(snapshot) => check(&snapshot),
        Err(problems) => assert!(!problems.is_empty()),
    }
    if let Err(problems) = auth::changes(bytes) {
        assert!(!problems.is_empty());
    }
});

fn check(snapshot: &Snapshot) {
    let usual = snapshot.hosts.at(Some("somewhere.example:443"));
    assert!(snapshot.body_limit(usual) > 0);
    for model in &snapshot.models {
        assert_eq!(snapshot.model(&model.name).map(|found| &found.name), Some(&model.name));
        let listed: Value = serde_json::from_slice(model.listed(usual)).expect("a model is JSON");
        assert_eq!(listed["id"].as_str(), Some(&*model.name));
        for member in &model.pool {
            assert!(member.backend < snapshot.backends.len());
            let upstream: Value = serde_json::from_str(&member.upstream_json).expect("a name is JSON");
            assert_eq!(upstream.as_str(), Some(&*member.upstream));
            assert_eq!(member.renamed, *member.upstream != *model.name);
        }
    }
    for backend in &snapshot.backends {
        let headers =
            [Some(&*backend.authority), backend.key.as_ref().map(|key| key.reveal()), Some(&*backend.path)];
        assert!(
            headers.into_iter().flatten().all(|text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
        );
        assert_ne!(backend.port, 0);
    }
}
