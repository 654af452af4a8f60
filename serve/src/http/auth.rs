//! Who is asking.
//!
//! A key comes as `Authorization: Bearer KEY`, as `Token KEY` or the password of
//! `Basic` (Influx clients), or as the parameter `p` (Influx 1). An empty one is none. The ledger knows
//! only its hash.

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{StatusCode, header, request::Parts},
};
use base64::{Engine as _, prelude::BASE64_STANDARD as STANDARD};
use data::ledger::{ApiKey, Ledger, Role};
use ingest::receive::otlp::grpc::{Authorize, Denied};
use sha2::{Digest, Sha256};
use std::sync::Arc;

use super::error::Problem;
use crate::clock;

/// A caller who may read.
#[derive(Debug)]
pub struct Viewer(pub ApiKey);

/// A caller who may send samples, events and spans, and perhaps nothing else.
#[derive(Debug)]
pub struct Sender(pub ApiKey);

/// A caller who may write.
#[derive(Debug)]
pub struct Writer(pub ApiKey);

/// A caller who may act: take on, resolve, approve, redrive, pause.
#[derive(Debug)]
pub struct Operator(pub ApiKey);

/// A caller who may do everything.
#[derive(Debug)]
pub struct Admin(pub ApiKey);

macro_rules! caller {
    ($name:ident, $role:expr) => {
        impl<S> FromRequestParts<S> for $name
        where
            Arc<Ledger>: FromRef<S>,
            S: Send + Sync,
        {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
                let ledger = Arc::<Ledger>::from_ref(state);
                authorize(&ledger, key_of(parts).as_deref(), $role).await.map(Self)
            }
        }
    };
}

caller!(Viewer, Role::Viewer);
caller!(Sender, Role::Ingest);
caller!(Writer, Role::Writer);
caller!(Operator, Role::Operator);
caller!(Admin, Role::Admin);

/// The hash under which the ledger keeps a key. Keys are long and random, so one round is enough.
pub fn hash(key: &str) -> String {
    hex::encode(Sha256::digest(key.as_bytes()))
}

/// Checks keys for OTLP over gRPC.
pub(crate) fn for_grpc(ledger: Arc<Ledger>) -> Authorize {
    Arc::new(move |header| {
        let ledger = Arc::clone(&ledger);
        Box::pin(async move {
            let key = header.as_deref().and_then(from_header);
            let found = authorize(&ledger, key.as_deref(), Role::Ingest).await;
            found.map(|key| key.name).map_err(|problem| match problem.status() {
                StatusCode::UNAUTHORIZED => Denied::Unknown,
                StatusCode::FORBIDDEN => Denied::Forbidden,
                _ => Denied::Unavailable,
            })
        })
    })
}

async fn authorize(ledger: &Ledger, key: Option<&str>, needed: Role) -> Result<ApiKey, Problem> {
    const SEND: &str = "send a valid key as `Authorization: Bearer KEY`; \
                        `pipenotify key create` makes one";
    let unknown = || Problem::new(StatusCode::UNAUTHORIZED, SEND);
    let key = key.filter(|key| !key.is_empty()).ok_or_else(unknown)?;
    let now = clock::now();
    let found = ledger.find_key(&hash(key), now).await?;
    let key = found.filter(|key| key.is_valid(now)).ok_or_else(unknown)?;
    if !key.role.allows(needed) {
        let detail =
            format!("this needs the role {needed}; the key `{}` is {}", key.name, key.role);
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    if let Err(error) = ledger.touch_key(&key, now).await {
        tracing::warn!("the use of a key was not recorded: {error}");
    }
    Ok(key)
}

fn key_of(parts: &Parts) -> Option<String> {
    let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let query = parts.uri.query().unwrap_or_default();
    let parameter = || {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find(|(name, _)| name == "p").map(|(_, key)| key.into_owned())
    };
    header.and_then(from_header).or_else(parameter)
}

fn from_header(header: &str) -> Option<String> {
    let (scheme, rest) = header.split_once(' ')?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" | "token" => Some(rest.trim().to_owned()),
        "basic" => {
            let bytes = STANDARD.decode(rest.trim()).ok()?;
            let text = String::from_utf8(bytes).ok()?;
            text.split_once(':').map(|(_, password)| password.to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use data::ledger::NewKey;

    use super::*;

    #[track_caller]
    fn check(header: &str, key: Option<&str>) {
        assert_eq!(from_header(header).as_deref(), key);
    }

    #[tokio::test]
    async fn an_empty_key_is_none_even_if_the_ledger_has_its_hash() {
        let dir = tempfile::tempdir().unwrap();
        let url = dir.path().join("ledger.db").display().to_string();
        let ledger = Ledger::open(&url, clock::now()).await.unwrap();
        for (key, role) in [("", Role::Admin), ("good", Role::Ingest)] {
            let new = NewKey { name: role.to_string(), role, hash: hash(key), expires_at: None };
            ledger.create_key(&new, clock::now()).await.unwrap();
        }
        let check = async |key, needed, status: Option<StatusCode>| {
            let found = authorize(&ledger, key, needed).await;
            assert_eq!(found.err().map(|problem| problem.status()), status, "{key:?} {needed}");
        };
        check(Some(""), Role::Viewer, Some(StatusCode::UNAUTHORIZED)).await;
        check(None, Role::Viewer, Some(StatusCode::UNAUTHORIZED)).await;
        check(Some("good"), Role::Ingest, None).await;
        check(Some("good"), Role::Viewer, Some(StatusCode::FORBIDDEN)).await;
        check(Some("good"), Role::Writer, Some(StatusCode::FORBIDDEN)).await;
    }

    #[test]
    fn a_key_is_found_where_each_kind_of_client_puts_it() {
        check("Bearer abc", Some("abc"));
        check("Token abc", Some("abc"));
        check("Basic dXNlcjphYmM=", Some("abc"));
        check("Basic !!!", None);
        check("Digest abc", None);
    }
}
