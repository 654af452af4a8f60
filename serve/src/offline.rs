//! Lake, log and engine without the rest of the process, for words of the command line that write
//! while none is running.

use std::{fs::File, sync::Arc};

use analytics::Engine;
use data::lake::Lake;
use ingest::Ingest;

use crate::{clock, config::Config, limits, lock, open_ingest, open_lake};

/// What a running process would have open.
#[derive(Debug)]
pub struct Offline {
    /// The lake.
    pub lake: Arc<Lake>,
    /// The way in.
    pub ingest: Arc<Ingest>,
    /// The way out.
    pub engine: Engine,
    _lock: File,
}

impl Offline {
    /// Opens them.
    ///
    /// # Errors
    /// When another process has them open, or they cannot be reached.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let lock = lock(&config.wal_dir())?;
        let lake = Arc::new(open_lake(config).await?);
        let ingest = open_ingest(config, &lake).await?;
        let engine = Engine::new(Arc::clone(&lake), ingest.recent(), limits(config))?;
        Ok(Self { lake, ingest, engine, _lock: lock })
    }

    /// Whether another process has them open.
    pub fn is_taken(config: &Config) -> bool {
        lock(&config.wal_dir()).is_err()
    }

    /// Carries what is in memory to the lake.
    ///
    /// # Errors
    /// When the lake cannot be written.
    pub async fn flush(&self) -> anyhow::Result<()> {
        self.ingest.flush(clock::now(), true).await?;
        Ok(())
    }
}
