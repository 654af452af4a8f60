//! A few scenarios of the testbed, the most telling ones; `make chaos` plays all of them.

use std::path::Path;

use futures::StreamExt;
use tests::chaos::{self, Report, Scenario, Verdict, table};

/// The transaction of a fix, whole and broken off; poison; a lock; a fix without effect; people who are
/// told once; and nothing at all being done about what only a neighbour suffers from.
const TELLING: [&str; 8] = [
    "worker-killed",
    "postgres-killed",
    "poison-message",
    "idle-transaction",
    "fix-without-effect",
    "kill-switch",
    "killed-between-act-and-record",
    "killed-while-verifying",
];

/// Scenarios that are played together: they wait most of the time.
const JOBS: usize = 2;

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

/// With `cargo test --workspace --test it -- --ignored the_most_telling`. Not part of `make test` until it
/// was seen to pass there time and again: where others compile, the debug build has too little time.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs most of a machine"]
async fn the_most_telling_scenarios_go_as_expected() {
    let all = scenarios();
    let telling: Vec<_> = all.iter().filter(|it| TELLING.contains(&it.name.as_str())).collect();
    assert_eq!(telling.len(), TELLING.len());
    let played = futures::stream::iter(telling.iter().map(|it| chaos::play(it, None)));
    let played: Vec<anyhow::Result<Report>> = played.buffered(JOBS).collect().await;
    let reports: Vec<_> = played.into_iter().collect::<anyhow::Result<_>>().unwrap();
    let is_fine = reports.iter().all(|it| it.verdict == Verdict::Passed);
    assert!(is_fine, "\n{}", table::text(&reports));
}
