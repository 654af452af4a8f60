//! A page behind TLS, whose certificate is read anew for every connection.

use std::{fs, sync::Arc};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig, crypto,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::{Service, Settings};

pub(crate) async fn run(service: Service, settings: &Settings) -> Result<()> {
    let pem = settings.get("pem")?.to_owned();
    let listener = TcpListener::bind(settings.get("listen")?).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (pem, log) = (pem.clone(), service.log.clone());
        tokio::spawn(async move {
            if let Err(error) = answer(stream, &pem).await {
                log.line("WARN", &format!("a connection ended early: {error:#}"));
            }
        });
    }
}

async fn answer(stream: TcpStream, pem: &str) -> Result<()> {
    let text = fs::read(pem).with_context(|| format!("read {pem}"))?;
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&text)?;
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await?;
    let mut request = [0; 4096];
    // One read holds a request without a body.
    if stream.read(&mut request).await? > 0 {
        let page = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nwell";
        stream.write_all(page.as_bytes()).await?;
    }
    Ok(stream.shutdown().await?)
}
