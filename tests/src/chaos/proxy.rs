//! The wire between two services, which can be slow or cut.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// How the wire is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// As if it were not there.
    Whole,
    /// Every chunk takes so long, in each direction.
    Slow(Duration),
    /// Nothing passes, and nobody is told: packets get lost, connections stay.
    Cut,
}

/// A running proxy; it goes when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    wire: watch::Sender<Wire>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Passes on to `to`.
    pub async fn start(to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (wire, state) = watch::channel(Wire::Whole);
        let links = Arc::new(Mutex::new(tokio::task::JoinSet::new()));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = state.clone();
                // A link that ends is the affair of its two ends.
                let link = async move { drop(link(stream, to, state).await) };
                links.lock().unwrap().spawn(link);
            }
        });
        Ok(Self { address, wire, task })
    }

    /// From now on it is like this.
    pub fn set(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn link(near: TcpStream, to: SocketAddr, mut state: watch::Receiver<Wire>) -> Result<()> {
    state.wait_for(|wire| *wire != Wire::Cut).await?;
    let far = TcpStream::connect(to).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((near_out, near_in), (far_out, far_in)) = (near.into_split(), far.into_split());
    let there = pass(near_out, far_in, state.clone());
    let back = pass(far_out, near_in, state);
    tokio::select! { it = there => it, it = back => it }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<Wire>,
) -> Result<()> {
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let n = from.read(&mut chunk).await?;
        if n == 0 {
            return Ok(());
        }
        let wire = *state.wait_for(|wire| *wire != Wire::Cut).await?;
        if let Wire::Slow(wait) = wire {
            tokio::time::sleep(wait).await;
        }
        to.write_all(&chunk[..n]).await?;
    }
}
