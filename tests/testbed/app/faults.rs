//! Ways to break, switched on at run time (`POST /fault` with a JSON object) or, so that a restart does
//! not end them, by a file that is read at the start (`--faults FILE`).

use std::{
    fs,
    hint::black_box,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{Json, Router, extract::State, routing::post};
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use crate::{Settings, database, logbook::Logbook, metrics::Metrics};

/// Memory is not taken beyond this, whatever is asked for.
const LEAK_MB_MAX: usize = 1_024;
/// Log files do not grow beyond this by a flood.
const FLOOD_MB_MAX: u64 = 256;
/// How often the slow faults take a step.
const STEP: Duration = Duration::from_millis(100);

/// What is broken.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Switches {
    /// Memory that is taken and never given back, in MB/s.
    pub(crate) leak_mb_s: usize,
    /// Threads that compute nothing of use.
    pub(crate) hog_threads: usize,
    /// Lines for nobody, in kB/s.
    pub(crate) flood_kb_s: u64,
    /// The flood ends after this, in kB; 0 for never.
    pub(crate) flood_kb: u64,
    /// Takes no more work, and says nothing.
    pub(crate) hang: bool,
    /// Share of requests that fail.
    pub(crate) errors: f64,
    /// Every request, or every piece of work, takes so long in addition.
    pub(crate) slow_ms: u64,
    /// Ends itself so long after its start; 0 for not.
    pub(crate) crash_after_ms: u64,
    /// A session that changes the tenants and goes for lunch.
    pub(crate) hold_lock: bool,
    /// A session with a statement that never ends.
    pub(crate) runaway: bool,
    /// Sessions that are opened and forgotten.
    pub(crate) connections: usize,
    /// The health page is not served.
    pub(crate) unwell: bool,
}

/// The switches of this process, and what they hold.
#[derive(Debug)]
pub(crate) struct Faults {
    switches: RwLock<Switches>,
    sessions: tokio::sync::Mutex<Vec<Client>>,
    leaked: Mutex<Vec<Vec<u8>>>,
    database: Option<String>,
    log: Logbook,
}

impl Faults {
    pub(crate) fn start(
        settings: &Settings,
        metrics: &Arc<Metrics>,
        log: &Logbook,
    ) -> Result<Arc<Self>> {
        // Without the file nothing is broken from the start.
        let text = settings.0.get("faults").and_then(|path| fs::read_to_string(path).ok());
        let switches = text.map(|text| serde_json::from_str(&text)).transpose();
        let switches: Switches = switches.context("the file of faults")?.unwrap_or_default();
        let faults = Arc::new(Self {
            switches: RwLock::default(),
            sessions: tokio::sync::Mutex::default(),
            leaked: Mutex::default(),
            database: settings.0.get("database").cloned(),
            log: log.clone(),
        });
        if switches.crash_after_ms > 0 {
            let (wait, log) = (Duration::from_millis(switches.crash_after_ms), log.clone());
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                log.line("ERROR", "it ends itself, as its file of faults says");
                std::process::exit(101);
            });
        }
        metrics.set("testbed_started", 1.0);
        tokio::spawn(Arc::clone(&faults).work());
        let first = Arc::clone(&faults);
        tokio::spawn(async move { first.set(switches).await });
        Ok(faults)
    }

    /// What is broken now.
    pub(crate) fn now(&self) -> Switches {
        self.switches.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this request is one that fails.
    pub(crate) fn fails(&self) -> bool {
        rand::random_bool(self.now().errors.clamp(0.0, 1.0))
    }

    /// Takes the time that it takes in addition, and hangs while that is asked for.
    pub(crate) async fn delay(&self) {
        tokio::time::sleep(Duration::from_millis(self.now().slow_ms)).await;
        while self.now().hang {
            tokio::time::sleep(STEP).await;
        }
    }

    async fn set(&self, switches: Switches) {
        let before = self.now();
        *self.switches.write().unwrap_or_else(PoisonError::into_inner) = switches.clone();
        for _ in before.hog_threads..switches.hog_threads {
            std::thread::spawn(hog);
        }
        if let Err(error) = self.sessions(&before, &switches).await {
            self.log.line("ERROR", &format!("a fault could not begin: {error:#}"));
        }
    }

    async fn sessions(&self, before: &Switches, after: &Switches) -> Result<()> {
        let url = || self.database.as_deref().context("this role has no database");
        let mut kept = self.sessions.lock().await;
        if after.hold_lock && !before.hold_lock {
            let client = database::connect(url()?).await?;
            client.batch_execute("begin; update tenant set plan = plan").await?;
            kept.push(client);
        }
        if after.runaway && !before.runaway {
            let client = database::connect(url()?).await?;
            tokio::spawn(async move { drop(client.batch_execute("select pg_sleep(3600)").await) });
        }
        for _ in before.connections..after.connections {
            kept.push(database::connect(url()?).await?);
        }
        Ok(())
    }

    fn leak(&self, mb_s: usize) {
        let mut leaked = self.leaked.lock().unwrap_or_else(PoisonError::into_inner);
        let taken: usize = leaked.iter().map(Vec::len).sum();
        if mb_s > 0 && taken < LEAK_MB_MAX << 20 {
            // Written, so that it is resident.
            leaked.push(vec![1; (mb_s << 20) / 10]);
        }
    }

    /// Leaks and floods, step by step.
    async fn work(self: Arc<Self>) {
        let mut flooded = 0;
        loop {
            tokio::time::sleep(STEP).await;
            let now = self.now();
            self.leak(now.leak_mb_s);
            let limit = if now.flood_kb > 0 { now.flood_kb } else { FLOOD_MB_MAX << 10 };
            if now.flood_kb_s == 0 {
                flooded = 0;
            }
            for _ in 0..now.flood_kb_s / 10 {
                if flooded < limit {
                    self.log.line("DEBUG", &"nothing to see here ".repeat(50));
                    flooded += 1;
                }
            }
        }
    }
}

fn hog() {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

pub(crate) fn routes(faults: Arc<Faults>) -> Router {
    Router::new().route("/fault", post(set_fault)).with_state(faults)
}

async fn set_fault(State(faults): State<Arc<Faults>>, Json(switches): Json<Switches>) {
    faults.set(switches).await;
}
