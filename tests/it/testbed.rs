//! The testbed's scenarios are data that can be read; `make chaos` plays them.

use std::path::Path;

use tests::chaos::Scenario;

fn scenarios() -> Vec<Scenario> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testbed/scenarios");
    Scenario::read_all(&folder).unwrap()
}

#[test]
fn every_scenario_can_be_read_and_says_what_it_is_about() {
    let all = scenarios();
    assert!(all.len() >= 30, "{}", all.len());
    for it in &all {
        assert!(it.about.ends_with('.'), "{}: {}", it.name, it.about);
        assert!(!it.fault.is_empty(), "{} breaks nothing", it.name);
    }
}
