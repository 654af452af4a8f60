//! Docker, and what speaks its language (Podman): over its socket, or an address.
//!
//! <https://docs.docker.com/reference/api/engine/version/v1.47/#tag/Container/operation/ContainerRestart>

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use super::{Act, Allowed, Context, Done, has_names, output::OUTPUT_BYTES_MAX};
use crate::span::Span;

/// Restarts a container.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RestartContainer {
    /// Its name or identifier.
    container: String,
    /// `unix:///path` or `http://host:port`.
    #[serde(default = "socket")]
    url: String,
    /// How long it may take to end before it is made to.
    #[serde(default = "ten_seconds")]
    stop_timeout: Span,
}

#[async_trait]
impl Act for RestartContainer {
    fn target(&self) -> String {
        format!("container:{}", self.container)
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let is_name = !self.container.is_empty() && self.container.chars().all(plain);
        if !is_name && !has_names(&self.container) {
            return Err(format!("`{}` is no name of a container", self.container));
        }
        match has_names(&self.url) || address(&self.url).is_some() {
            true => Ok(()),
            false => Err("`url` is not `unix:///path` or `http://host:port`".to_owned()),
        }
    }

    async fn act(&self, _: &Context) -> Result<Done, String> {
        let seconds = self.stop_timeout.0.as_secs();
        let path = format!("/containers/{}/restart?t={seconds}", self.container);
        let failed = |error: std::io::Error| format!("{}: {error}", self.url);
        let (status, said) = match address(&self.url).ok_or("`url` is no address")? {
            Address::Socket(socket) => {
                post(UnixStream::connect(socket).await.map_err(failed)?, &path).await?
            }
            Address::Host(host) => {
                post(TcpStream::connect(host).await.map_err(failed)?, &path).await?
            }
        };
        match status {
            204 => Ok(Done::new(format!("container {} restarted", self.container))),
            404 => Err(format!("there is no container `{}`", self.container)),
            status => Err(format!("answered {status}: {said}")),
        }
    }
}

enum Address<'a> {
    Socket(&'a str),
    Host(&'a str),
}

fn address(url: &str) -> Option<Address<'_>> {
    match url.strip_prefix("unix://") {
        Some(path) => path.starts_with('/').then_some(Address::Socket(path)),
        None => {
            let host = url.strip_prefix("http://")?.trim_end_matches('/');
            host.rsplit_once(':').map(|_| Address::Host(host))
        }
    }
}

async fn post<S>(stream: S, path: &str) -> Result<(u16, String), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| format!("the connection broke: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends when the sender is dropped.
    tokio::spawn(async move { drop(connection.await) });
    let request = Request::post(path).header(header::HOST, "docker");
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let reply = sender.send_request(request).await.map_err(broken)?;
    let status = reply.status().as_u16();
    let said = Limited::new(reply.into_body(), OUTPUT_BYTES_MAX).collect().await;
    let said = said.map_or_else(|_| Bytes::new(), |it| it.to_bytes());
    Ok((status, String::from_utf8_lossy(&said).trim().to_owned()))
}

fn socket() -> String {
    "unix:///var/run/docker.sock".to_owned()
}

fn ten_seconds() -> Span {
    Span::seconds(10)
}
