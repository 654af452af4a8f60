//! HTTP/1.1 to addresses that were checked: a name is resolved once per connection, every address it
//! gives is asked about, and the connection goes to exactly that address.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout_at,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use url::{Host, Url};

use super::{ANSWER_KEPT, guard::Guard};

/// Idle connections that are kept for one host.
const IDLE_MAX: usize = 64;
/// How long an idle connection is kept: its address was checked when it was made.
const IDLE_FOR: Duration = Duration::from_secs(15);
/// Bytes of an answer that are read so that the connection can be used again.
const ANSWER_READ: usize = 64 * 1024;
/// How long the text of an answer is waited for once its status is known.
const BODY_WAIT: Duration = Duration::from_secs(2);

type Connection = SendRequest<Full<Bytes>>;

/// What is sent.
#[derive(Clone, Debug)]
pub(super) struct Post {
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// Why nothing came back.
#[derive(Debug, PartialEq)]
pub(super) enum Error {
    /// It must not be asked.
    Forbidden(String),
    /// It could not be asked, or did not answer.
    Failed(String),
    /// It did not answer in time.
    Late,
}

/// Connects to checked addresses only.
pub(super) struct Connector {
    guard: Guard,
    tls: TlsConnector,
    idle: Mutex<HashMap<String, Vec<(Instant, Connection)>>>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl Connector {
    /// Trusts the machine's own roots, and `extra` ones.
    pub(super) fn new(guard: Guard, roots: RootCertStore) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { guard, tls: TlsConnector::from(Arc::new(config)), idle: Mutex::default() }
    }

    /// The addresses of a name, all of which are allowed.
    async fn resolve(&self, host: &Host<&str>, port: u16) -> Result<Vec<SocketAddr>, Error> {
        let found = match host {
            Host::Ipv4(address) => vec![SocketAddr::from((*address, port))],
            Host::Ipv6(address) => vec![SocketAddr::from((*address, port))],
            Host::Domain(name) => {
                let found = lookup_host((*name, port)).await;
                let found =
                    found.map_err(|e| Error::Failed(format!("`{name}` was not found: {e}")))?;
                found.collect()
            }
        };
        // One forbidden address is enough: which of them is used must not be a matter of luck.
        for address in &found {
            self.guard.check(address.ip()).map_err(Error::Forbidden)?;
        }
        if found.is_empty() {
            return Err(Error::Failed(format!("`{host}` has no address")));
        }
        Ok(found)
    }

    /// A connection to a name, at an address that is allowed.
    pub(super) async fn connect(&self, host: Host<&str>, port: u16) -> Result<TcpStream, Error> {
        let addresses = self.resolve(&host, port).await?;
        let stream = TcpStream::connect(&*addresses).await;
        let stream =
            stream.map_err(|e| Error::Failed(format!("no connection to {host}:{port}: {e}")))?;
        stream.set_nodelay(true).map_err(|e| Error::Failed(e.to_string()))?;
        Ok(stream)
    }

    /// TLS over a connection, to whom the name belongs.
    pub(super) async fn secure<S>(&self, stream: S, host: &str) -> Result<TlsStream<S>, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let bare = host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(bare)
            .map_err(|_| Error::Forbidden(format!("`{host}` is no name for TLS")))?;
        let secured = self.tls.connect(name, stream).await;
        secured.map_err(|e| Error::Failed(format!("TLS with {host} failed: {e}")))
    }

    /// Posts, until then: there must be a status by `until`. What else it says is read for [`BODY_WAIT`] at
    /// most, or until then if what it says counts.
    pub(super) async fn post(
        &self,
        post: &Post,
        says: bool,
        until: Instant,
    ) -> Result<Answer, Error> {
        let asked = timeout_at(until.into(), self.ask(post)).await;
        let (origin, connection, answer) = asked.map_err(|_| Error::Late)??;
        let until = if says { until } else { until.min(Instant::now() + BODY_WAIT) };
        Ok(self.read(origin, connection, answer, until).await)
    }

    /// Asks, and gives the beginning of the answer.
    async fn ask(
        &self,
        post: &Post,
    ) -> Result<(String, Connection, http::Response<Incoming>), Error> {
        let origin = post.url.origin().ascii_serialization();
        let mut request = request(post)?;
        // A connection that the other side has closed meanwhile took nothing; that is known for sure,
        // so another one may be tried.
        while let Some(mut connection) = self.idle(&origin) {
            match connection.try_send_request(request).await {
                Ok(answer) => return Ok((origin, connection, answer)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(broken(&error.into_error())),
                },
            }
        }
        let mut connection = self.open(&post.url).await?;
        let answer = connection.send_request(request).await.map_err(|e| broken(&e))?;
        Ok((origin, connection, answer))
    }

    async fn open(&self, url: &Url) -> Result<Connection, Error> {
        let host = url.host().ok_or_else(|| Error::Forbidden("the address has no host".into()))?;
        let port = url.port_or_known_default().unwrap_or(80);
        let stream = self.connect(host.clone(), port).await?;
        if url.scheme() == "https" {
            return handshake(self.secure(stream, &host.to_string()).await?).await;
        }
        handshake(stream).await
    }

    /// Reads the beginning of an answer, and keeps the connection if that was all.
    async fn read(
        &self,
        origin: String,
        connection: Connection,
        answer: http::Response<Incoming>,
        until: Instant,
    ) -> Answer {
        let (parts, mut body) = answer.into_parts();
        let (mut kept, mut n_read) = (Vec::new(), 0);
        let is_whole = loop {
            match timeout_at(until.into(), body.frame()).await {
                Ok(None) => break true,
                // The status is known, and it is what counts.
                Err(_) | Ok(Some(Err(_))) => break false,
                Ok(Some(Ok(frame))) => {
                    let data = frame.data_ref().map_or(&[][..], |data| data);
                    n_read += data.len();
                    kept.extend_from_slice(&data[..data.len().min(ANSWER_KEPT - kept.len())]);
                    if n_read > ANSWER_READ {
                        break false;
                    }
                }
            }
        };
        if is_whole && !connection.is_closed() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let of_host = idle.entry(origin).or_default();
            if of_host.len() < IDLE_MAX {
                of_host.push((Instant::now(), connection));
            }
        }
        Answer { status: parts.status, headers: parts.headers, body: kept }
    }

    fn idle(&self, origin: &str) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let of_host = idle.get_mut(origin)?;
        of_host.retain(|(since, connection)| since.elapsed() < IDLE_FOR && connection.is_ready());
        of_host.pop().map(|(_, connection)| connection)
    }
}

async fn handshake<S>(stream: S) -> Result<Connection, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (connection, driver) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
    // It ends when the connection is dropped or closed by the other side.
    tokio::spawn(async move { drop(driver.await) });
    Ok(connection)
}

fn request(post: &Post) -> Result<Request<Full<Bytes>>, Error> {
    let url = &post.url;
    let path = url.query().map_or(url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let host = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    };
    let mut request = Request::post(path).header(header::HOST, host);
    if !url.username().is_empty() || url.password().is_some() {
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        let pair = format!("{}:{}", url.username(), url.password().unwrap_or_default());
        let value = format!("Basic {}", BASE64_STANDARD.encode(pair));
        request = request.header(header::AUTHORIZATION, value);
    }
    let mut request = request
        .body(Full::new(post.body.clone()))
        .map_err(|e| Error::Forbidden(format!("the request cannot be built: {e}")))?;
    for (name, value) in &post.headers {
        let wrong = || Error::Forbidden(format!("the header `{name}` cannot be sent"));
        let name = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
        let value = HeaderValue::try_from(value.as_str()).map_err(|_| wrong())?;
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

fn broken(error: &hyper::Error) -> Error {
    let cause =
        std::error::Error::source(error).map_or(String::new(), |cause| format!(": {cause}"));
    Error::Failed(format!("the connection broke: {error}{cause}"))
}
