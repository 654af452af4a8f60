//! One HTTP/1.1 request on a connection of its own, with the time that each phase took.
//!
//! A pooled client would hide what a probe is after: name lookup, connection, handshake.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
};
use tokio_rustls::TlsConnector;
use url::Url;

use super::chain;

/// What to send, and how much to accept.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Where; `http` or `https`.
    pub url: Url,
    /// How.
    pub method: Method,
    /// Sent in addition to `host` and `user-agent`.
    pub headers: HeaderMap,
    /// Sent with it.
    pub body: Bytes,
    /// Bytes of the answer's body that are kept; the rest is not read.
    pub limit: usize,
    /// Ask even if the certificate is not trusted.
    pub allow_untrusted: bool,
}

impl Ask {
    /// A `GET` of `url`.
    pub fn get(url: Url, limit: usize) -> Self {
        let (method, headers) = (Method::GET, HeaderMap::new());
        Self { url, method, headers, body: Bytes::new(), limit, allow_untrusted: false }
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// The start of its body.
    pub body: Bytes,
    /// The body is longer than what was kept.
    pub is_truncated: bool,
}

/// How long each phase took; absent when it was not reached, or not needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Looking up the name.
    pub dns: Option<Duration>,
    /// Connecting.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From sending the request to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// All of it, body included.
    pub total: Option<Duration>,
}

/// The certificate that the other side showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// When it expires, in seconds since the epoch; absent when it cannot be read.
    pub not_after: Option<i64>,
    /// Whether it leads to a root that we trust, for this name, now; else why not.
    pub trust: Result<(), String>,
}

/// What is known after a request, whether it succeeded or not.
#[derive(Debug)]
pub struct Outcome {
    /// The answer, or a reason for people.
    pub answer: Result<Answer, String>,
    /// How far it came, and how fast.
    pub phases: Phases,
    /// What was shown, on `https`.
    pub certificate: Option<Certificate>,
}

/// Sends requests; holds the roots that are trusted.
#[derive(Clone, Debug)]
pub struct Client {
    provider: Arc<CryptoProvider>,
    roots: Option<Arc<WebPkiServerVerifier>>,
}

impl Client {
    /// Trusts the machine's own roots, and those in `ca_file` (PEM).
    ///
    /// # Errors
    /// When `ca_file` cannot be read.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = ca_file {
            let bad = |error: &dyn std::fmt::Display| format!("`{}`: {error}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad(&error))? {
                let certificate = certificate.map_err(|error| bad(&error))?;
                store.add(certificate).map_err(|error| bad(&error))?;
            }
        }
        // No roots at all: everything is untrusted, and plain HTTP works.
        let builder =
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider));
        Ok(Self { provider, roots: builder.build().ok() })
    }

    /// One request; the caller limits the time.
    pub async fn send(&self, ask: &Ask) -> Outcome {
        let mut outcome =
            Outcome { answer: Err(String::new()), phases: Phases::default(), certificate: None };
        outcome.answer = self.exchange(ask, &mut outcome.phases, &mut outcome.certificate).await;
        outcome
    }

    /// As [`send`](Self::send), and what is known when `limit` has passed.
    pub async fn send_within(&self, ask: &Ask, limit: Duration) -> Outcome {
        let (mut phases, mut certificate) = (Phases::default(), None);
        let exchange = self.exchange(ask, &mut phases, &mut certificate);
        let answer = tokio::time::timeout(limit, exchange).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")));
        Outcome { answer, phases, certificate }
    }

    async fn exchange(
        &self,
        ask: &Ask,
        phases: &mut Phases,
        certificate: &mut Option<Certificate>,
    ) -> Result<Answer, String> {
        let started = Instant::now();
        let host = ask.url.host_str().ok_or("the address names no host")?;
        let port = ask.url.port_or_known_default().ok_or("the address names no port")?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let tcp = connect(host, port, phases).await?;
        let answer = if ask.url.scheme() == "https" {
            let before = Instant::now();
            let tls = self.handshake(tcp, host, certificate).await?;
            phases.tls = Some(before.elapsed());
            if let Some(Certificate { trust: Err(reason), .. }) = certificate
                && !ask.allow_untrusted
            {
                return Err(format!("the certificate is not trusted: {reason}"));
            }
            request(tls, ask, phases).await
        } else {
            request(tcp, ask, phases).await
        };
        phases.total = Some(started.elapsed());
        answer
    }

    /// Always completes the handshake, so that the certificate can be reported; nothing is sent
    /// before the caller has looked at the verdict.
    async fn handshake(
        &self,
        tcp: TcpStream,
        host: &str,
        certificate: &mut Option<Certificate>,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
        let (provider, roots) = (Arc::clone(&self.provider), self.roots.clone());
        let witness = Arc::new(Witness { provider, roots, seen: Mutex::default() });
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&witness) as _)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
        *certificate = witness.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
        tls.map_err(|error| format!("the handshake failed: {}", chain(&error)))
    }
}

/// The first address of `host` that accepts, with the time of lookup and connection.
pub async fn connect(host: &str, port: u16, phases: &mut Phases) -> Result<TcpStream, String> {
    let before = Instant::now();
    let found = lookup_host((host, port)).await;
    let addresses: Vec<SocketAddr> =
        found.map_err(|error| format!("`{host}` cannot be looked up: {error}"))?.collect();
    phases.dns = Some(before.elapsed());
    let before = Instant::now();
    let mut reason = format!("`{host}` has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                phases.connect = Some(before.elapsed());
                // Best effort: without it only the latency differs.
                stream.set_nodelay(true).ok();
                return Ok(stream);
            }
            Err(error) => reason = format!("{address} refused the connection: {error}"),
        }
    }
    Err(reason)
}

/// One request on a fresh stream.
async fn request(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ask: &Ask,
    phases: &mut Phases,
) -> Result<Answer, String> {
    let failed = |error: hyper::Error| chain(&error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let request = build(ask)?;
    let before = Instant::now();
    let talk = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        phases.first_byte = Some(before.elapsed());
        let (parts, body) = response.into_parts();
        let (body, is_truncated) = read_body(body, ask.limit).await?;
        Ok(Answer { status: parts.status, headers: parts.headers, body, is_truncated })
    };
    // The connection is driven here and not in a task, so that dropping this future closes it.
    tokio::pin!(talk);
    tokio::pin!(connection);
    let mut is_open = true;
    loop {
        tokio::select! {
            answer = &mut talk => return answer,
            // Its error also reaches the request, which says it better.
            _ = &mut connection, if is_open => is_open = false,
        }
    }
}

fn build(ask: &Ask) -> Result<Request<Full<Bytes>>, String> {
    let url = &ask.url;
    let path = url.query().map_or(url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
    let mut request = Request::builder().method(&ask.method).uri(path).header(header::HOST, host);
    let mut headers = ask.headers.clone();
    let agent = concat!("pipenotify/", env!("CARGO_PKG_VERSION"));
    let agent = header::HeaderValue::from_static(agent);
    headers.entry(header::USER_AGENT).or_insert(agent);
    if let Some(all) = request.headers_mut() {
        all.extend(headers);
    }
    request.body(Full::new(ask.body.clone())).map_err(|error| error.to_string())
}

/// At most `limit` bytes, and whether there was more.
async fn read_body(mut body: Incoming, limit: usize) -> Result<(Bytes, bool), String> {
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("the body broke off: {}", chain(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        let room = limit - kept.len();
        if data.len() > room {
            kept.extend_from_slice(&data[..room]);
            return Ok((kept.into(), true));
        }
        kept.extend_from_slice(&data);
    }
    Ok((kept.into(), false))
}

/// Lets every certificate pass and writes down what it was and whether it should have.
#[derive(Debug)]
struct Witness {
    provider: Arc<CryptoProvider>,
    roots: Option<Arc<WebPkiServerVerifier>>,
    seen: Mutex<Option<Certificate>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let trust = self.roots.as_ref().map_or_else(
            || Err("this machine has no root certificates".to_owned()),
            |roots| {
                roots
                    .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                    .map(|_| ())
                    .map_err(|error| error.to_string())
            },
        );
        let parsed = x509_parser::parse_x509_certificate(end_entity).ok();
        let not_after = parsed.map(|(_, certificate)| certificate.validity().not_after.timestamp());
        let seen = Some(Certificate { not_after, trust });
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
