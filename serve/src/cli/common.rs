//! Flags that every word takes.

use std::path::PathBuf;

use serve::config::{Config, Flags};

use super::log;

#[derive(clap::Args, Debug)]
pub(crate) struct Common {
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
    /// Address for OTLP over gRPC, or off.
    #[arg(long, global = true)]
    otlp_grpc: Option<String>,
    /// How the log on standard error is written.
    #[arg(long, global = true, value_enum, default_value = "text", env = "PIPENOTIFY_LOG_FORMAT")]
    pub(crate) log: log::Format,
}

impl Common {
    /// The file, the environment over it, these flags over that.
    pub(crate) fn configuration(&self) -> anyhow::Result<Config> {
        let flags = Flags {
            lake: self.lake.clone(),
            ledger: self.ledger.clone(),
            listen: self.listen.clone(),
            otlp_grpc: self.otlp_grpc.clone(),
        };
        Ok(Config::load(self.config.as_deref(), std::env::vars(), &flags)?)
    }
}
