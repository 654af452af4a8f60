//! The log on standard error: text for people, JSON lines for machines. Its level is `PIPENOTIFY_LOG`.

use std::io::{IsTerminal, stderr};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

const LEVEL: &str = "info,deltalake_core=warn,buoyant_kernel=warn";

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Starts the log of this process.
pub(crate) fn start(format: Format) -> anyhow::Result<()> {
    let level = EnvFilter::try_from_env("PIPENOTIFY_LOG").unwrap_or_else(|_| LEVEL.into());
    let log = tracing_subscriber::fmt().with_env_filter(level).with_writer(stderr);
    // A file full of colours is hard to read; a person may not want any either (https://no-color.org).
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
    let log = log.with_ansi(stderr().is_terminal() && !is_plain);
    // A line that cannot be written, because the disk is full, must not end the thread that says it.
    let log = log.log_internal_errors(false);
    let started = match format {
        Format::Text => log.try_init(),
        Format::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))
}
