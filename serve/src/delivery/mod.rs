//! Guaranteed delivery, running: who there is to be told, one loop that keeps the outbox, and workers.
//!
//! ```text
//! request ──▶ keeper ──exchange──▶ ledger        many requests share one write to the disk
//!               │  ▲
//!         lanes │  │ ended
//!               ▼  │
//!             workers ──▶ destinations           a lane each: breaker, rate, concurrency
//! ```

mod attend;
mod keeper;
mod lane;
mod lanes;
mod metrics;
mod registry;
pub mod request;
mod worker;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use data::ledger::{Kept, Ledger, Promise};
use remediation::delivery::{Sender, Settings, guard::Guard, policy::Policy};
use tokio::sync::{Notify, mpsc, oneshot};

pub use metrics::Metrics;
pub use registry::{Known, Registry};
pub(crate) use registry::{check_name, make};

use crate::{
    config::{self, Config},
    tasks::Tasks,
};

/// Requests that wait for the keeper; more are told to come later.
const WAITING_MAX: usize = 4096;

/// Promises that somebody asks for, and where the answer goes.
struct Asked {
    promises: Vec<Promise>,
    reply: Reply,
}

/// What became of each promise; `None` if the ledger could not be written.
type Reply = oneshot::Sender<Option<Vec<Kept>>>;

/// The way out: what handlers and tasks hold of it.
#[derive(Clone, Debug)]
pub struct Outbox {
    asked: mpsc::Sender<Asked>,
    shared: Arc<Shared>,
}

/// What the keeper, the workers and the handlers share.
#[derive(Debug)]
struct Shared {
    ledger: Arc<Ledger>,
    registry: Registry,
    sender: Sender,
    policy: Policy,
    config: config::Delivery,
    /// Whom `[notify]` names, for incidents.
    told: Vec<String>,
    worker: String,
    metrics: Metrics,
    /// Something changed: look at every lane.
    hint: Notify,
    depths: Mutex<Vec<data::ledger::Depth>>,
}

/// Why a promise could not be made; it may be asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    /// Too many are waiting.
    Full,
    /// The ledger cannot be written, or the process is about to end.
    Unavailable,
}

impl Outbox {
    /// Promises, and answers when that is on disk: what became of each, in order.
    pub async fn promise(&self, promises: Vec<Promise>) -> Result<Vec<Kept>, Later> {
        if promises.is_empty() {
            return Ok(vec![]);
        }
        let (reply, answer) = oneshot::channel();
        self.asked.try_send(Asked { promises, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Later::Full,
            mpsc::error::TrySendError::Closed(_) => Later::Unavailable,
        })?;
        answer.await.ok().flatten().ok_or(Later::Unavailable)
    }

    /// Something was promised or changed elsewhere: look now and not at the next tick.
    pub fn wake(&self) {
        self.shared.hint.notify_one();
    }

    /// Who there is to be told.
    pub fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// What sends; for trying a destination out.
    pub fn sender(&self) -> &Sender {
        &self.shared.sender
    }

    /// What was counted.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// How much waits, as of a few seconds ago.
    pub fn depths(&self) -> Vec<data::ledger::Depth> {
        self.shared.depths.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Starts the keeper and what looks after the outbox.
///
/// # Errors
/// When the configuration names what cannot work, or the ledger cannot be reached.
pub(crate) async fn start(
    config: &Config,
    ledger: &Arc<Ledger>,
    tasks: &Tasks,
) -> anyhow::Result<Outbox> {
    let delivery = config.delivery.clone();
    let guard = guard(&delivery);
    let registry = Registry::new(guard.clone());
    registry.adopt(ledger, config).await?;
    let settings = Settings {
        guard,
        timeout: delivery.timeout.0,
        ca_file: delivery.ca_file.clone(),
        file_root: delivery.file_root.clone(),
    };
    let sender = Sender::new(settings).map_err(|why| anyhow::anyhow!(why))?;
    let worker = worker_name(&config.wal_dir());
    // One process per log, so whoever held leases under this name is gone.
    match ledger.release_leases(&worker).await {
        Ok(0) => (),
        Ok(n_freed) => {
            tracing::info!(n_freed, "deliveries that the last process held are free again")
        }
        Err(error) => tracing::error!("what the last process held waits for its lease: {error:?}"),
    }
    let shared = Arc::new(Shared {
        ledger: Arc::clone(ledger),
        registry,
        sender,
        policy: policy(&delivery),
        config: delivery,
        told: config.notify.named().into_iter().map(str::to_owned).collect(),
        worker,
        metrics: Metrics::default(),
        hint: Notify::new(),
        depths: Mutex::default(),
    });
    for name in shared.told.iter().filter(|name| shared.registry.get(name).is_none()) {
        tracing::error!(
            "{}: `[notify]` names `{name}`, which is no destination; what it is to be told waits until \
             there is one, or goes to `notify.fallback`",
            config.place("[notify]", 0)
        );
    }
    let (asked, waiting) = mpsc::channel(WAITING_MAX);
    tasks.spawn(keeper::run(Arc::clone(&shared), waiting, tasks.stopping()));
    let outbox = Outbox { asked, shared };
    attend::start(&outbox, tasks);
    Ok(outbox)
}

/// Where may be connected to.
pub(crate) fn guard(config: &config::Delivery) -> Guard {
    let allow = config.allow.iter().filter_map(|net| net.parse().ok()).collect();
    Guard { allow_private: config.allow_private, allow }
}

fn policy(config: &config::Delivery) -> Policy {
    Policy {
        retry_base: config.retry_base.0,
        retry_max: config.retry_max.0,
        attempts_max: config.attempts_max,
        give_up_after: config.give_up_after.0,
        fallback_failures: config.fallback_failures,
        fallback_after: config.fallback_after.0,
    }
}

/// The name under which this process holds leases: the same after a restart.
fn worker_name(wal_dir: &Path) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let folder = wal_dir.canonicalize().unwrap_or_else(|_| wal_dir.to_owned());
    format!("{}:{}", host.trim(), folder.display())
}
