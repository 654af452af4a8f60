//! `pipenotify`: one executable, roles as words.

mod cli;

use std::time::Duration;

use clap::Parser;

// Many short-lived buffers of many sizes: the system's allocator keeps much of what was freed.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long the end waits for threads that read files: one that hangs must not keep the process.
const FILES_MAX: Duration = Duration::from_secs(1);

fn main() -> anyhow::Result<()> {
    let cli = cli::Cli::parse();
    cli::log::start(cli.common.log)?;
    let config = cli.common.configuration()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(cli.command.unwrap_or_default().run(config));
    runtime.shutdown_timeout(FILES_MAX);
    done
}
