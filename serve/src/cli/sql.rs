//! `pipenotify sql`.

use std::sync::Arc;

use analytics::{Engine, Limits};
use arrow::{array::RecordBatch, ipc::reader::StreamReader, util::pretty::pretty_format_batches};
use clap::ValueEnum;
use data::{lake::Lake, ledger::LedgerTable, recent::Nothing};
use futures::TryStreamExt;
use serve::{
    config::Config,
    http::sql::{Format, Rows, ask},
};

use super::{print, remote::Remote};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The question. Without --url the lake answers, and what a running process has not flushed yet
    /// is not seen.
    query: String,
    /// How the answer is written.
    #[arg(long, value_enum, default_value = "table")]
    format: Shape,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shape {
    Table,
    Csv,
    Json,
    Parquet,
}

impl Shape {
    /// What a process is asked for; a table is made here.
    fn format(self) -> Format {
        match self {
            Self::Table => Format::Arrow,
            Self::Csv => Format::Csv,
            Self::Json => Format::Json,
            Self::Parquet => Format::Parquet,
        }
    }
}

pub(super) async fn run(config: &Config, args: Args) -> anyhow::Result<()> {
    if let Some(client) = args.remote.client()? {
        let answer = client.sql(&args.query, args.format.format().media_type()).await?;
        if let Shape::Table = args.format {
            let bytes = answer.bytes().await?;
            let rows = StreamReader::try_new(bytes.as_ref(), None)?;
            let schema = rows.schema();
            return table(Rows { schema, batches: rows.collect::<Result<_, _>>()? });
        }
        let mut parts = answer.bytes_stream();
        while let Some(part) = parts.try_next().await? {
            print(&part)?;
        }
        return Ok(());
    }
    let rows = from_lake(config, &args.query).await?;
    match args.format {
        Shape::Table => table(rows),
        other => print(&other.format().write(&rows)?),
    }
}

/// The answer of lake and ledger, without a running process.
async fn from_lake(config: &Config, query: &str) -> anyhow::Result<Rows> {
    serve::existing_lake(config)?;
    let lake: Lake = serve::open_lake(config).await?;
    let beside = LedgerTable::all(&config.ledger_url()).await.unwrap_or_else(|error| {
        tracing::warn!("only the lake answers, the ledger cannot be read: {error}");
        vec![]
    });
    let engine = Engine::new(Arc::new(lake), Arc::new(Nothing), Limits::default())?;
    let engine = engine.with_ledger(beside)?.with_metrics(&config.catalog())?;
    Ok(ask(&engine, query).await?)
}

fn table(mut rows: Rows) -> anyhow::Result<()> {
    if rows.batches.is_empty() {
        // Without rows there are still columns.
        rows.batches.push(RecordBatch::new_empty(rows.schema));
    }
    print(format!("{}\n", pretty_format_batches(&rows.batches)?).as_bytes())
}
