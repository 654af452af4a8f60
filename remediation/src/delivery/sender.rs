//! Does what a destination composed, within limits of time and space.

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use http::header;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::{io::AsyncWriteExt, time::timeout};

use super::{
    Failure, Outcome, Sending, excerpt,
    failure::of_status,
    guard::Guard,
    http::{Connector, Error, Post},
    smtp,
};
use crate::action::bounded;

/// What a sender may do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it may connect to.
    pub guard: Guard,
    /// How long an attempt may take.
    pub timeout: Duration,
    /// Certificates, in PEM, that are trusted besides the machine's own.
    pub ca_file: Option<PathBuf>,
    /// The folder below which files may be written; `None` for nowhere.
    pub file_root: Option<PathBuf>,
}

/// Sends; holds connections and the roots that are trusted.
#[derive(Debug)]
pub struct Sender {
    connector: Connector,
    settings: Settings,
}

impl Sender {
    /// A sender.
    ///
    /// # Errors
    /// When `ca_file` cannot be read.
    pub fn new(settings: Settings) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = &settings.ca_file {
            let wrong = |e: &dyn std::fmt::Display| {
                format!("`delivery.ca_file`: `{}` holds no certificates: {e}", path.display())
            };
            for found in CertificateDer::pem_file_iter(path).map_err(|e| wrong(&e))? {
                roots.add(found.map_err(|e| wrong(&e))?).map_err(|e| wrong(&e))?;
            }
        }
        Ok(Self { connector: Connector::new(settings.guard.clone(), roots), settings })
    }

    /// The longest time until the outcome of an attempt is known; a farewell may take a second more.
    pub fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// One attempt. `now` is when it begins, for answers that name a date.
    ///
    /// What the receiver says is kept without secrets: it may repeat what it was sent.
    pub async fn send(&self, sending: &Sending, now: DateTime<Utc>) -> Outcome {
        let outcome = self.attempt(sending, now).await;
        let answer = outcome.answer.as_deref().map(bounded);
        Outcome { detail: bounded(&outcome.detail), answer, ..outcome }
    }

    async fn attempt(&self, sending: &Sending, now: DateTime<Utc>) -> Outcome {
        let limit = self.settings.timeout;
        match sending {
            Sending::Post { url, headers, body, expect } => {
                let (url, headers, body) = (url.clone(), headers.clone(), body.clone());
                self.post(&Post { url, headers, body }, expect.as_deref(), now).await
            }
            Sending::Mail { server, mail } => {
                let sent = smtp::send(&self.connector, server, mail, limit).await;
                sent.unwrap_or_else(|| self.late())
            }
            Sending::Append { path, line } => {
                timeout(limit, self.append(path, line)).await.unwrap_or_else(|_| self.late())
            }
        }
    }

    fn late(&self) -> Outcome {
        let why = format!("no answer in {:?}", self.settings.timeout);
        Outcome::failed(Failure::Transient, None, why)
    }

    async fn post(&self, post: &Post, expect: Option<&str>, now: DateTime<Utc>) -> Outcome {
        let until = Instant::now() + self.settings.timeout;
        let answer = match self.connector.post(post, expect.is_some(), until).await {
            Ok(answer) => answer,
            Err(Error::Forbidden(why)) => return Outcome::failed(Failure::Misdirected, None, why),
            Err(Error::Failed(why)) => return Outcome::failed(Failure::Transient, None, why),
            Err(Error::Late) => return self.late(),
        };
        let header = |name| answer.headers.get(name).and_then(|value| value.to_str().ok());
        let status = answer.status.as_u16();
        let mut failure = of_status(status, header(header::RETRY_AFTER), now);
        let mut detail = format!("answered {}", answer.status);
        if answer.status.is_redirection() {
            let to = header(header::LOCATION).unwrap_or("nowhere");
            detail = format!("{detail}, a redirect to `{to}`; redirects are not followed");
        }
        let body = excerpt(&answer.body);
        if let Some(expected) = expect.filter(|_| failure.is_none())
            && !body.as_deref().unwrap_or_default().contains(expected)
        {
            failure = Some(Failure::Transient);
            detail = format!("{detail}, but not with `{expected}`, which confirms it");
        }
        Outcome { failure, status: Some(status), detail, answer: body }
    }

    async fn append(&self, path: &std::path::Path, line: &str) -> Outcome {
        let Some(root) = &self.settings.file_root else {
            let why = "files are written only below `delivery.file_root`, which is not set";
            return Outcome::failed(Failure::Misdirected, None, why);
        };
        let written = async {
            let path = root.join(path);
            let folder = path.parent().unwrap_or(root);
            tokio::fs::create_dir_all(folder).await?;
            // A link may lead elsewhere.
            let (root, folder) = (root.canonicalize()?, folder.canonicalize()?);
            if !folder.starts_with(&root) || path.is_symlink() {
                return Err(io::Error::other("it is not below `delivery.file_root`"));
            }
            let mut options = tokio::fs::OpenOptions::new();
            let mut file = options.create(true).append(true).open(&path).await?;
            file.write_all(format!("{line}\n").as_bytes()).await?;
            file.sync_all().await
        };
        match written.await {
            Ok(()) => Outcome::delivered(None, "written"),
            Err(error) => {
                let why = format!("`{}` cannot be written: {error}", path.display());
                Outcome::failed(Failure::Transient, None, why)
            }
        }
    }
}

#[cfg(test)]
mod tests;
