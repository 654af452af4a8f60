//! A short one of `make soak`: everything goes on at once, and all of it is there afterwards.

use std::time::Duration;

use anyhow::Result;
use tests::soak::Soak;

#[tokio::test(flavor = "multi_thread")]
async fn a_steady_load_is_compacted_rolled_up_retained_and_answered() -> Result<()> {
    let soak = Soak {
        seed: 20_261_125,
        windows: 4,
        window: Duration::from_secs(4),
        rate: 2_000,
        hosts: 20,
        samples_per_request: 500,
        settings: "flush_age = \"1s\"\ncompact_every = \"2s\"\n".to_owned(), // continues [ingest]
    };
    // The verdict on memory and times is for a machine that does nothing else: `make soak`.
    let report = soak.run(|_, _| ()).await?;
    assert!(report.windows.iter().all(|window| !window.answered.is_empty()), "{report:?}");
    assert_eq!(report.retained, 4);
    Ok(())
}
