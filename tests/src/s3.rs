//! An S3 server with one bucket, in the process of the test: s3s-fs over a temporary folder.
//!
//! It checks signatures, and conditions as S3 does. It looks whether an object exists and then writes
//! it, so two writers could both win `If-None-Match: *`, which S3 rules out; conditional writes
//! therefore come one after another here, and everything else at the same time.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, anyhow};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode, header::IF_NONE_MATCH},
    response::{IntoResponse, Response},
};
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::Mutex};

/// The key that it accepts, and its secret.
pub const KEY: (&str, &str) = ("tests", "a secret of the tests");

/// A running server. Its objects go when this is dropped.
#[derive(Debug)]
pub struct Server {
    folder: TempDir,
    address: SocketAddr,
    accepting: tokio::task::JoinHandle<()>,
}

struct Shared {
    service: S3Service,
    turn: Mutex<()>,
}

impl Server {
    /// Starts a server with the bucket `lake` on a free port of the loopback address.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("lake"))?;
        let files = s3s_fs::FileSystem::new(folder.path());
        let files =
            files.map_err(|error| anyhow!("the S3 server cannot use its folder: {error:?}"))?;
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(KEY.0, KEY.1));
        let shared = Arc::new(Shared { service: service.build(), turn: Mutex::new(()) });
        let router = Router::new().fallback(answer).with_state(shared);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            axum::serve(listener, router).await.context("the S3 server ended").unwrap();
        });
        Ok(Self { folder, address, accepting })
    }

    /// What tells a process to keep its lake here, as environment variables.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY.0.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", KEY.1.to_owned()),
        ]
    }

    /// How many objects there are.
    pub fn n_objects(&self) -> usize {
        let mut folders = vec![self.folder.path().join("lake")];
        let mut n_objects = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() { folders.push(path) } else { n_objects += 1 }
            }
        }
        n_objects
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let is_conditional =
        request.method() == Method::PUT && request.headers().contains_key(IF_NONE_MATCH);
    let _turn = if is_conditional { Some(shared.turn.lock().await) } else { None };
    match shared.service.call(request.map(s3s::Body::http_body_unsync)).await {
        Ok(response) => response.map(Body::new),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}")).into_response(),
    }
}
