//! `pipenotify`: one executable, roles as words.

use std::{path::PathBuf, sync::Arc};

use analytics::{Engine, Limits};
use anyhow::Context;
use arrow::util::pretty::pretty_format_batches;
use clap::{Args, Parser, Subcommand, ValueEnum};
use data::{
    lake::Lake,
    ledger::{Ledger, NewKey, Role},
    recent::Nothing,
};
use serve::{
    clock,
    config::{Config, Flags},
    http::{self, sql::Format},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

// Many short-lived buffers of many sizes: the system's allocator keeps much of what was freed.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Watches services, keeps what it saw in an open lake, and answers SQL about it.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args, Debug)]
struct Common {
    /// Configuration file, TOML.
    #[arg(long, global = true, env = "PIPENOTIFY_CONFIG")]
    config: Option<PathBuf>,
    /// Where history lies: a folder, s3://…, gs://… or az://…
    #[arg(long, global = true)]
    lake: Option<String>,
    /// Where mutable state lies: a path or postgres://…
    #[arg(long, global = true)]
    ledger: Option<String>,
    /// Address for HTTP; port 0 picks a free one.
    #[arg(long, global = true)]
    listen: Option<String>,
    /// Address for the Postgres wire protocol, or off.
    #[arg(long, global = true)]
    pgwire: Option<String>,
    /// Address for OTLP over gRPC, or off.
    #[arg(long, global = true)]
    otlp_grpc: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything, in one process; the default.
    Run,
    /// Asks the lake a question. What a running process has not flushed yet is not seen.
    Sql {
        /// The question.
        query: String,
        /// How the answer is written.
        #[arg(long, value_enum, default_value = "table")]
        format: Shape,
    },
    /// Prints the effective configuration, without secrets.
    Config,
    /// API keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Playbooks: what would be done about which trouble.
    #[command(subcommand)]
    Playbook(PlaybookCommand),
    /// Brings the ledger's schema up to date.
    Migrate,
}

#[derive(Debug, Subcommand)]
enum PlaybookCommand {
    /// Lists the playbooks that can work.
    List,
    /// Names those that cannot, with file, line and reason.
    Check,
    /// Replays stored history, and lists what would have been done and what would have stopped it.
    Test {
        /// How far back, such as 24h or 7d.
        #[arg(long, default_value = "24h")]
        past: serve::config::Period,
    },
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Makes a key and prints it, once.
    Create {
        /// What people call it.
        name: String,
        /// viewer, writer, operator or admin.
        #[arg(long, default_value = "viewer")]
        role: Role,
    },
    /// Lists keys.
    List,
    /// Revokes a key by its name or identifier.
    Revoke {
        /// Name or identifier.
        key: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shape {
    Table,
    Csv,
    Json,
    Parquet,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let level = EnvFilter::try_from_env("PIPENOTIFY_LOG");
    tracing_subscriber::fmt()
        .with_env_filter(level.unwrap_or_else(|_| EnvFilter::new("info,deltalake_core=warn")))
        .with_writer(std::io::stderr)
        .init();
    let config = configuration(&cli.common)?;
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => run(config).await,
        Command::Sql { query, format } => sql(&config, &query, format).await,
        Command::Config => print(config.redacted().as_bytes()),
        Command::Key(command) => key(&config, command).await,
        Command::Playbook(command) => playbook(&config, command).await,
        Command::Migrate => migrate(&config).await,
    }
}

fn configuration(common: &Common) -> anyhow::Result<Config> {
    let flags = Flags {
        lake: common.lake.clone(),
        ledger: common.ledger.clone(),
        listen: common.listen.clone(),
        pgwire: common.pgwire.clone(),
        otlp_grpc: common.otlp_grpc.clone(),
    };
    Ok(Config::load(common.config.as_deref(), std::env::vars(), &flags)?)
}

async fn run(config: Config) -> anyhow::Result<()> {
    let address = config.http.listen;
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("listening on {address}; `--listen 127.0.0.1:0` takes a free port")
    })?;
    let mut terminate = signal(SignalKind::terminate())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = tokio::signal::ctrl_c() => (),
        }
    };
    serve::run(config, listener, shutdown).await
}

async fn sql(config: &Config, query: &str, shape: Shape) -> anyhow::Result<()> {
    let lake: Lake = serve::open_lake(config).await?;
    let engine = Engine::new(Arc::new(lake), Arc::new(Nothing), Limits::default())?;
    let rows = http::sql::ask(&engine, query).await?;
    match shape {
        Shape::Table => {
            let table = pretty_format_batches(&rows.batches)?;
            print(format!("{table}\n").as_bytes())
        }
        Shape::Csv => print(&Format::Csv.write(&rows)?),
        Shape::Json => print(&Format::Json.write(&rows)?),
        Shape::Parquet => print(&Format::Parquet.write(&rows)?),
    }
}

async fn key(config: &Config, command: KeyCommand) -> anyhow::Result<()> {
    let now = clock::now();
    let ledger = Ledger::open(&config.ledger_url(), now).await?;
    match command {
        KeyCommand::Create { name, role } => {
            let key = http::secret("pn");
            let hash = http::auth::hash(&key);
            ledger.create_key(&NewKey { name, role, hash, expires_at: None }, now).await?;
            print(format!("{key}\n").as_bytes())
        }
        KeyCommand::List => {
            for key in ledger.keys().await? {
                let state = if key.is_valid(now) { "valid" } else { "not valid" };
                let line = format!("{}  {}  {}  {state}\n", key.id, key.role, key.name);
                print(line.as_bytes())?;
            }
            Ok(())
        }
        KeyCommand::Revoke { key } => match ledger.revoke_key(&key, now).await? {
            true => Ok(()),
            false => {
                anyhow::bail!("there is no valid key `{key}`; `pipenotify key list` lists them")
            }
        },
    }
}

async fn playbook(config: &Config, command: PlaybookCommand) -> anyhow::Result<()> {
    let (playbooks, refused) = serve::healing::playbooks::read(config);
    match command {
        PlaybookCommand::List => {
            for it in playbooks {
                let actions: Vec<_> = it.rungs.iter().map(|rung| rung.action.as_str()).collect();
                let line = format!("{}  {}  {}\n", it.name, it.risk, actions.join(", "));
                print(line.as_bytes())?;
            }
            Ok(())
        }
        PlaybookCommand::Check => {
            for it in &refused {
                print(format!("{}: {}\n", it.place, it.reason).as_bytes())?;
            }
            anyhow::ensure!(refused.is_empty(), "{} playbooks cannot work", refused.len());
            print(format!("{} playbooks can work\n", playbooks.len()).as_bytes())
        }
        PlaybookCommand::Test { past } => {
            let lake: Lake = serve::open_lake(config).await?;
            let engine = Engine::new(Arc::new(lake), Arc::new(Nothing), Limits::default())?;
            let report =
                serve::healing::backtest::run(config, &engine, &playbooks, past, clock::now());
            print(report.await?.as_bytes())
        }
    }
}

async fn migrate(config: &Config) -> anyhow::Result<()> {
    let ledger = Ledger::open(&config.ledger_url(), clock::now()).await?;
    for migration in ledger.applied() {
        print(format!("{migration:?}\n").as_bytes())?;
    }
    Ok(())
}

/// Standard output, where results go; everything else goes to the log.
fn print(bytes: &[u8]) -> anyhow::Result<()> {
    use std::io::Write;
    match std::io::stdout().write_all(bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
