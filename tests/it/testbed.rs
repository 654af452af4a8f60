//! The scenarios of the testbed can be played; `tests/telling` plays a few, `make chaos` all.

use std::path::Path;

use tests::chaos::Scenario;

#[test]
fn every_scenario_can_be_read_and_says_what_it_is_about() {
    let all = Scenario::read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testbed/scenarios"))
        .unwrap();
    assert!(all.len() >= 30, "{}", all.len());
    for it in &all {
        assert!(it.about.ends_with('.'), "{}: {}", it.name, it.about);
        assert!(!it.fault.is_empty(), "{} breaks nothing", it.name);
    }
}
