//! What a process answers with, opened in this one: the test says what time it is.

use std::path::Path;

use serve::{
    config::{Config, Flags},
    state::State,
    tasks::Tasks,
};

use crate::{client::Client, process::ADMIN_KEY};

/// Opens lake, log and ledger in `home`, with `settings` and nothing that collects. Nothing looks by
/// itself.
pub async fn open(home: &Path, settings: &str, tasks: &Tasks) -> State {
    let file = home.join("pipenotify.toml");
    let lake = home.join("lake").display().to_string();
    let ours = format!(
        "[collect]\nhost = []\n[http]\nadmin_key = {ADMIN_KEY:?}\n[lake]\nurl = {lake:?}\n"
    );
    std::fs::write(&file, format!("{settings}\n{ours}")).unwrap();
    let config = Config::load(Some(&file), std::iter::empty(), &Flags::default()).unwrap();
    serve::open(config, tasks).await.unwrap()
}

/// The same state behind HTTP.
pub async fn serve(state: &State) -> Client {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = serve::http::app(state.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    Client::new(address, ADMIN_KEY)
}
