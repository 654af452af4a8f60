//! A few scenarios of the testbed, the most telling ones; `make chaos` plays all of them.
//!
//! A target of its own, because those are run one after the other: nothing else takes the processors.

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

#[tokio::test(flavor = "multi_thread")]
async fn the_most_telling_scenarios_go_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testbed/scenarios");
    let all = Scenario::read_all(&folder).unwrap();
    let telling: Vec<_> = all.iter().filter(|it| TELLING.contains(&it.name.as_str())).collect();
    assert_eq!(telling.len(), TELLING.len());
    let played = futures::stream::iter(telling.iter().map(|it| chaos::play(it, None)));
    let played: Vec<anyhow::Result<Report>> = played.buffered(JOBS).collect().await;
    let reports: Vec<_> = played.into_iter().collect::<anyhow::Result<_>>().unwrap();
    let is_fine = reports.iter().all(|it| it.verdict == Verdict::Passed);
    assert!(is_fine, "\n{}", table::text(&reports));
}
