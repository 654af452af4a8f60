//! `pipenotify`: one executable, roles as words.

mod cli;

use clap::Parser;

// Many short-lived buffers of many sizes: the system's allocator keeps much of what was freed.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = cli::Cli::parse();
    cli::log::start(cli.common.log)?;
    let config = cli.common.configuration()?;
    cli.command.unwrap_or_default().run(config).await
}
