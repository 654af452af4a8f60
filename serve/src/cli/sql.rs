//! `pipenotify sql`.

use std::sync::Arc;

use analytics::{Engine, Limits};
use arrow::util::pretty::pretty_format_batches;
use clap::ValueEnum;
use data::{lake::Lake, ledger::LedgerTable, recent::Nothing};
use serve::{
    config::Config,
    http::sql::{Format, ask},
};

use super::print;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The question. What a running process has not flushed yet is not seen.
    query: String,
    /// How the answer is written.
    #[arg(long, value_enum, default_value = "table")]
    format: Shape,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shape {
    Table,
    Csv,
    Json,
    Parquet,
}

pub(super) async fn run(config: &Config, args: Args) -> anyhow::Result<()> {
    let lake: Lake = serve::open_lake(config).await?;
    let beside = LedgerTable::all(&config.ledger_url()).await.unwrap_or_else(|error| {
        tracing::warn!("only the lake answers, the ledger cannot be read: {error}");
        vec![]
    });
    let engine = Engine::new(Arc::new(lake), Arc::new(Nothing), Limits::default())?;
    let engine = engine.with_ledger(beside)?;
    let rows = ask(&engine, &args.query).await?;
    match args.format {
        Shape::Table => {
            let table = pretty_format_batches(&rows.batches)?;
            print(format!("{table}\n").as_bytes())
        }
        Shape::Csv => print(&Format::Csv.write(&rows)?),
        Shape::Json => print(&Format::Json.write(&rows)?),
        Shape::Parquet => print(&Format::Parquet.write(&rows)?),
    }
}
