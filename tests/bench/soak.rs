//! Half an hour at 100,000 samples per second with a question each second: memory and answers stay flat.

use std::time::Duration;

use anyhow::Result;
use tests::soak::{HEADER, Soak};

use crate::setting;

/// Runs for `SOAK` minutes (default 30) at `SOAK_RATE` samples per second (default 100,000) from
/// `SOAK_HOSTS` hosts (default 1,000), and says whether it was flat.
pub(crate) async fn run() -> Result<()> {
    let (minutes, rate) = (setting("SOAK", 30), setting("SOAK_RATE", 100_000));
    let hosts = setting("SOAK_HOSTS", 1_000);
    println!(
        "# soak: {minutes} minutes at {rate} samples/s of {hosts} hosts; times in ms\n{HEADER}"
    );
    let soak = Soak {
        seed: 30,
        windows: minutes as u32,
        window: Duration::from_secs(60),
        rate,
        hosts: hosts as u16,
        samples_per_request: 5_000,
        settings: String::new(),
    };
    let report = soak.run(|number, window| println!("{}", window.line(number))).await?;
    println!("{}", report.verdict()?);
    Ok(())
}
