//! The process: configuration, clock, tasks, HTTP. It introduces the other crates to each other.

pub mod clock;
mod collect;
pub mod config;
pub mod delivery;
pub mod faults;
pub mod forecast;
pub mod foresight;
mod forget;
pub mod healing;
pub mod health;
pub mod http;
pub mod offline;
pub mod range;
pub mod state;
pub mod tasks;

use std::{
    collections::HashMap,
    fs::File,
    future::{Future, IntoFuture},
    path::Path,
    sync::Arc,
    time::Duration,
};

use analytics::{Engine, Limits};
use anyhow::{Context, bail};
use axum::middleware::from_fn_with_state;
use chrono::TimeDelta;
use config::{Config, Listen};
use data::{
    Table,
    disk::{self, OsDisk},
    lake::{Damage, Fault, Lake},
    ledger::{Ledger, LedgerTable, NewKey, Role},
};
use ingest::{Ingest, Settings, receive::otlp::grpc::Receiver};
use state::{Asked, Clocked, Decoders, State};
use tasks::Tasks;
use tokio::net::TcpListener;
use tonic::{
    service::Routes,
    transport::{Server, server::TcpIncoming},
};
use url::Url;
use uuid::Uuid;

/// How long requests in hand may take once the process was asked to stop. A sender that went silent
/// in the middle of a body must not keep what is in memory from the lake.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// How long files stay that no query should need any more.
const VACUUM_AFTER: TimeDelta = TimeDelta::hours(24);

/// How often some of the lake is read through, whether or not anybody asks for it.
const SCRUB_EVERY: Duration = Duration::from_secs(600);

/// How much of it each time: 36 GB a day, at a cost that nobody notices.
const SCRUB_BYTES: u64 = 256 << 20;

/// Runs everything until `shutdown` resolves, then drains: collectors stop, requests in hand are
/// answered, what is in memory goes to the lake.
///
/// # Errors
/// When a part cannot start, with what to do about it.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let _lock = lock(&config.wal_dir())?;
    let tasks = Tasks::default();
    let state = open(config, &tasks).await?;
    let State { config, lake, ledger, ingest, outbox, .. } = state.clone();

    keep_the_lake(&tasks, &lake, &ingest, &config.ingest);
    healing::start(&state);
    watch_health(&tasks, &state);
    forget::start(&tasks, &state.config, &state.ledger);
    foresight::start(&tasks, &state);
    look_ahead(&tasks, &state);
    collect::start(&config.collect, &ingest, &outbox, &tasks)?;
    serve_grpc(&config, &state, &tasks).await?;
    announce(&listener, &ledger).await?;

    let app = http::app(state);
    let (asked, stop) = (tasks.stopping(), tasks.stopping());
    let asked_to_stop = async move {
        shutdown.await;
        stop.cancel();
    };
    let overdue = async {
        asked.cancelled().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        served = axum::serve(listener, app).with_graceful_shutdown(asked_to_stop).into_future() => {
            served.context("serving HTTP")?;
        }
        () = overdue => tracing::warn!("requests still unfinished after {DRAIN_MAX:?} are dropped"),
    }

    tracing::info!("stopping: the memory goes to the lake");
    if tokio::time::timeout(DRAIN_MAX, tasks.drain()).await.is_err() {
        tracing::warn!("tasks still running after {DRAIN_MAX:?} are left behind");
    }
    ingest.flush(clock::now(), true).await.context("flushing before the end")?;
    ledger.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Everything that requests and looks are answered with, opened and replayed; nothing of it looks at a
/// clock by itself but deliveries, which begin.
///
/// # Errors
/// When a part cannot start, with what to do about it.
pub async fn open(config: Config, tasks: &Tasks) -> anyhow::Result<State> {
    config.http.check_admin_key().map_err(anyhow::Error::msg)?;
    let lake = Arc::new(open_lake(&config).await?);
    let ledger = Arc::new(open_ledger(&config).await?);
    if let Some(aside) = ledger.set_aside() {
        let (path, why) = (aside.path.display().to_string(), format!("ledger: {}", aside.reason));
        let n_rows = aside.salvaged.and_then(|salvaged| salvaged.lost());
        lake.report(Damage { path, why, n_rows, at: clock::now() }).await;
    }
    let worth = config.health.component.iter().map(|it| (it.name.clone(), it.criticality));
    if let Err(error) = ledger.keep_criticality(&worth.collect::<Vec<_>>()).await {
        // Who asks is answered also while the disk is full.
        tracing::error!("what components are worth stays as it was at the last start: {error:?}");
    }
    let ingest = open_ingest(&config, &lake).await?;
    let beside = LedgerTable::all(&config.ledger_url()).await.context("reading the ledger")?;
    let engine = Engine::new(Arc::clone(&lake), ingest.recent(), limits(&config))?;
    let catalog = Arc::new(config.catalog());
    let engine = engine.with_ledger(beside)?.with_metrics(&catalog)?;
    let decoders = Arc::new(Decoders::new(config.http.body_bytes_max));
    let outbox = delivery::start(&config, &ledger, tasks).await?;
    let gate = Arc::new(http::gate::Gate::new(&config.http));
    let config = Arc::new(config);
    Ok(State {
        healing: Arc::new(healing::Healing::new(&config, &ledger, &ingest)),
        catalog,
        config,
        lake,
        ledger,
        ingest,
        asked: Asked(engine.for_others()),
        engine,
        tasks: tasks.clone(),
        outlook: Arc::default(),
        outbox,
        decoders,
        gate,
        traffic: Arc::default(),
        answers: Arc::default(),
        watch: Arc::default(),
    })
}

/// One process per write-ahead log: a second one would give the same positions to other rows.
fn lock(wal_dir: &Path) -> anyhow::Result<File> {
    let parent = wal_dir.parent().unwrap_or(wal_dir);
    disk::create_private_dir(parent).with_context(|| format!("making {}", parent.display()))?;
    if let Err(error) = disk::make_private(wal_dir) {
        tracing::warn!(%error, "other users of this machine may read {}", wal_dir.display());
    }
    let path = wal_dir.with_extension("lock");
    let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    if file.try_lock().is_err() {
        bail!(
            "another pipenotify is using {}; stop it, or give this one its own `ingest.wal_dir` \
             and `lake.url`",
            wal_dir.display()
        );
    }
    Ok(file)
}

/// The lake that the configuration names.
///
/// # Errors
/// When it cannot be reached.
pub async fn open_lake(config: &Config) -> anyhow::Result<Lake> {
    let url = match config.lake.folder() {
        Some(folder) => {
            disk::create_private_dir(&folder)
                .with_context(|| format!("making {}", folder.display()))?;
            let folder = folder.canonicalize()?;
            Url::from_directory_path(&folder)
                .map_err(|()| anyhow::anyhow!("{} is no folder", folder.display()))?
        }
        None => config.lake.url.parse().context("`lake.url` is no URL")?,
    };
    let options = store_options();
    let lake = Lake::open(&url, &options, Arc::new(OsDisk)).await;
    let lake = lake.with_context(|| format!("opening the lake {url}"))?;
    let n_damaged = lake.damage().len();
    if n_damaged > 0 {
        tracing::warn!(n_damaged, "damage was set aside, now or earlier: `select * from damage`");
    }
    Ok(lake)
}

/// What is wrong with the lake that the configuration names, and how many rows were read. Changes
/// nothing.
///
/// # Errors
/// When the URL means nothing, there is no lake, or it cannot be reached.
pub async fn check_lake(config: &Config) -> anyhow::Result<(Vec<Fault>, u64)> {
    Lake::check(&existing_lake(config)?, &store_options()).await.context("reading the lake")
}

/// What was found damaged before and set aside, without opening the lake; the earliest first.
///
/// # Errors
/// When the URL means nothing, there is no lake, or it cannot be reached.
pub async fn set_aside(config: &Config) -> anyhow::Result<Vec<Damage>> {
    let url = existing_lake(config)?;
    Lake::damage_at(&url, &store_options()).await.context("reading what was set aside")
}

/// Where the lake is, for whoever only reads: a folder that is none must not become one by a slip.
///
/// # Errors
/// When the URL means nothing, or the folder is no lake.
pub fn existing_lake(config: &Config) -> anyhow::Result<Url> {
    let Some(folder) = config.lake.folder() else {
        return config.lake.url.parse().context("`lake.url` is no URL");
    };
    if !Table::ALL.iter().any(|table| folder.join(table.name()).is_dir()) {
        bail!(
            "there is no lake at {}; `--lake` (`lake.url`) says where it is, and `pipenotify run` or \
             `pipenotify import` makes one",
            folder.display()
        );
    }
    let folder = folder.canonicalize()?;
    let url = Url::from_directory_path(&folder);
    url.map_err(|()| anyhow::anyhow!("{} is no folder", folder.display()))
}

/// The ledger must be there already, for whoever only looks.
///
/// # Errors
/// When it is not.
pub fn require_ledger(config: &Config) -> anyhow::Result<()> {
    let url = config.ledger_url();
    if !Ledger::is_there(&url)? {
        bail!(
            "there is no ledger at {url}; `--ledger` or `--lake` says where it is, and `pipenotify run` \
             or `pipenotify key create` makes one"
        );
    }
    Ok(())
}

/// Credentials and endpoints of object stores, under the names that their own tools use.
fn store_options() -> HashMap<String, String> {
    let ours = |name: &str| ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|it| name.starts_with(it));
    std::env::vars()
        .filter(|(name, _)| ours(name))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect()
}

async fn open_ledger(config: &Config) -> anyhow::Result<Ledger> {
    let now = clock::now();
    let ledger = Ledger::open(&config.ledger_url(), now).await.context("opening the ledger")?;
    if let Some(aside) = ledger.set_aside() {
        let salvaged = aside.salvaged.unwrap_or_default();
        tracing::error!(
            n_kept = salvaged.n_kept,
            n_lost = salvaged.n_lost,
            is_partial = salvaged.is_partial,
            "the ledger was damaged and is set aside; what could be read goes on: {}",
            aside.reason
        );
    }
    // Once, a variable that was passed on without ever being set made a key of nothing.
    if let Some(none) = ledger.find_key(&http::auth::hash(""), now).await? {
        ledger.revoke_key(&none.id, now).await.context("revoking an empty key")?;
    }
    if let Some(key) = &config.http.admin_key {
        let new = NewKey {
            name: "PIPENOTIFY_ADMIN_KEY".into(),
            role: Role::Admin,
            hash: http::auth::hash(key),
            expires_at: None,
        };
        ledger.fix_key(&new, now).await.context("recording the administrator's key")?;
    }
    Ok(ledger)
}

async fn open_ingest(config: &Config, lake: &Arc<Lake>) -> anyhow::Result<Arc<Ingest>> {
    let mut settings = Settings::new(config.wal_dir(), Uuid::new_v4());
    settings.max_buffered_rows = config.ingest.buffer_rows;
    settings.flush_rows = config.ingest.flush_rows;
    settings.flush_age = TimeDelta::from_std(config.ingest.flush_age.0)?;
    let limits = &config.ingest.limits;
    settings.limits.past = TimeDelta::from_std(limits.past_max.0)?;
    settings.limits.max_series = limits.series_max;
    settings.limits.max_labels = limits.labels_max;
    settings.limits.max_key = limits.label_name_bytes_max;
    settings.limits.max_value = limits.label_value_bytes_max;
    for table in Table::ALL {
        if let Some(keep) = config.retention.of(table).duration() {
            let days = u32::try_from(keep.as_secs().div_ceil(86_400)).unwrap_or(u32::MAX);
            settings.retention_days.insert(table, days);
        }
    }
    let opened = Ingest::open(settings, Arc::clone(lake), Arc::new(OsDisk), clock::now()).await;
    let ingest =
        opened.with_context(|| format!("opening the log {}", config.wal_dir().display()))?;
    let stats = ingest.stats();
    tracing::info!(
        replayed_rows = stats.replayed_rows,
        quarantined = stats.quarantined,
        lost_rows = stats.lost_rows,
        "the write-ahead log is replayed"
    );
    Ok(ingest)
}

fn limits(config: &Config) -> Limits {
    Limits {
        memory_bytes: config.query.memory_bytes,
        timeout: config.query.timeout.0,
        max_rows: config.query.rows_max,
        concurrency: config.query.concurrency,
        threads: std::thread::available_parallelism().map_or(2, usize::from),
    }
}

/// Flush, merge, roll up, expire, and see what other processes have committed.
fn keep_the_lake(tasks: &Tasks, lake: &Arc<Lake>, ingest: &Arc<Ingest>, config: &config::Ingest) {
    let flushed = Arc::clone(ingest);
    tasks.every_or("flush", Duration::from_secs(1), ingest.flush_hint(), move |now| {
        let ingest = Arc::clone(&flushed);
        async move { Ok(ingest.flush(now, false).await?) }
    });
    let merged = Arc::clone(ingest);
    tasks.every("compact", config.compact_every.0, move |now| {
        let ingest = Arc::clone(&merged);
        async move { Ok(ingest.compact(now).await?) }
    });
    let rolled = Arc::clone(ingest);
    tasks.every("roll up", config.roll_up_every.0, move |now| {
        let ingest = Arc::clone(&rolled);
        async move { Ok(ingest.roll_up(now).await?) }
    });
    let (expired, kept) = (Arc::clone(ingest), Arc::clone(lake));
    tasks.every("retain", config.retain_every.0, move |now| {
        let (ingest, lake) = (Arc::clone(&expired), Arc::clone(&kept));
        async move {
            let said = ingest.retain(now).await?;
            let mut n_gone = 0;
            for table in Table::ALL {
                lake.checkpoint(table).await?;
                n_gone += lake.vacuum(table, VACUUM_AFTER, now).await?;
            }
            Ok(format!("{said}; {n_gone} files that no version needs are gone"))
        }
    });
    let scrubbed = Arc::clone(lake);
    tasks.every("scrub", SCRUB_EVERY, move |_| {
        let lake = Arc::clone(&scrubbed);
        async move { Ok(lake.scrub(SCRUB_BYTES).await?) }
    });
    let refreshed = Arc::clone(lake);
    tasks.every("refresh", Duration::from_secs(5), move |_| {
        let lake = Arc::clone(&refreshed);
        async move {
            for table in Table::ALL {
                lake.refresh(table).await?;
            }
            Ok("every table is at its latest version".into())
        }
    });
}

/// Checks, and now and then a snapshot for the history.
fn watch_health(tasks: &Tasks, state: &State) {
    let (every, snapshot_every) =
        (state.config.health.every.0, state.config.health.snapshot_every.0);
    let checked = state.clone();
    tasks.every("health", every, move |now| {
        let state = checked.clone();
        async move {
            let components = &state.config.health.component;
            let (said, all) = health::check(&state.engine, &state.ledger, components, now).await?;
            healing::observe(&state, &all, now).await?;
            Ok(said)
        }
    });
    let kept = state.clone();
    tasks.every("health snapshot", snapshot_every, move |now| {
        let state = kept.clone();
        async move {
            let components = &state.config.health.component;
            health::snapshot(&state.engine, &state.ingest, components, now).await
        }
    });
}

/// Forecasts, and how good those were that are over.
fn look_ahead(tasks: &Tasks, state: &State) {
    let every = state.config.forecast.every.0.min(forecast::LOOK_EVERY);
    let issued = state.clone();
    tasks.every("forecast", every, move |now| {
        let state = issued.clone();
        async move { forecast::issue(&state, now).await }
    });
    let scored = state.clone();
    tasks.every("forecast scores", every, move |now| {
        let state = scored.clone();
        async move { forecast::score::score(&state, now).await }
    });
}

async fn serve_grpc(config: &Config, state: &State, tasks: &Tasks) -> anyhow::Result<()> {
    let Listen::At(address) = config.http.otlp_grpc else { return Ok(()) };
    let incoming = TcpIncoming::bind(address).with_context(|| {
        format!("listening on {address} for OTLP; `--otlp-grpc off` goes without")
    })?;
    let authorize = http::auth::for_grpc(Arc::clone(&state.ledger));
    let sink = Arc::new(Clocked(Arc::clone(&state.ingest)));
    let receiver = Receiver::new(sink, authorize, config.http.body_bytes_max);
    let services =
        Routes::new(receiver.metrics()).add_service(receiver.logs()).add_service(receiver.traces());
    let gate = from_fn_with_state(Arc::clone(&state.gate), http::gate::grpc);
    let services = services.prepare().into_axum_router().layer(gate);
    let server = Server::builder().add_routes(services.into());
    let stopping = tasks.stopping();
    tasks.spawn(async move {
        let end = stopping.cancelled_owned();
        if let Err(error) = server.serve_with_incoming_shutdown(incoming, end).await {
            tracing::error!("OTLP over gRPC ended: {error}");
        }
    });
    tracing::info!("OTLP over gRPC on {address}");
    Ok(())
}

async fn announce(listener: &TcpListener, ledger: &Ledger) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!("listening on http://{address}");
    if let Some(token) = http::offer(ledger, clock::now()).await? {
        tracing::info!(
            "get an administrator's key, once: http://{address}/bootstrap?token={token}"
        );
    }
    Ok(())
}
