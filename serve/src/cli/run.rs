//! `pipenotify run`.

use anyhow::Context;
use serve::config::Config;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// Runs until the system or a person at the terminal says stop.
pub(super) async fn run(config: Config) -> anyhow::Result<()> {
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
