//! The first key. A link with a one-time token is printed at the first start; whoever opens it gets
//! an administrator's key, once.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    routing::get,
};
use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Ledger, NewKey, Role};
use rand::{Rng, distr::Alphanumeric};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{auth::hash, error::Problem};
use crate::{clock, state};

/// How long the printed link works.
const TOKEN_VALID_FOR: TimeDelta = TimeDelta::hours(24);

/// Letters and digits of a key: about 238 bits.
const KEY_LENGTH: usize = 40;

pub(super) fn router() -> Router<state::State> {
    Router::new().route("/bootstrap", get(redeem))
}

/// A new secret, to be shown once.
pub fn secret(prefix: &str) -> String {
    let letters = rand::rng().sample_iter(Alphanumeric).take(KEY_LENGTH).map(char::from);
    format!("{prefix}_{}", letters.collect::<String>())
}

/// Offers a token if there is no key yet; returns it.
///
/// # Errors
/// When the ledger cannot be reached.
pub async fn offer(ledger: &Ledger, now: DateTime<Utc>) -> data::Result<Option<String>> {
    if ledger.keys().await?.iter().any(|key| key.is_valid(now) && key.role == Role::Admin) {
        return Ok(None);
    }
    let token = secret("once");
    ledger.offer_token(&hash(&token), now + TOKEN_VALID_FOR, now).await?;
    Ok(Some(token))
}

#[derive(Debug, Deserialize)]
struct Params {
    token: String,
}

async fn redeem(
    State(ledger): State<Arc<Ledger>>,
    Query(params): Query<Params>,
) -> Result<Json<Value>, Problem> {
    let (key, now) = (secret("pn"), clock::now());
    let new = NewKey {
        name: format!("admin-{}", now.format("%Y%m%d%H%M%S")),
        role: Role::Admin,
        hash: hash(&key),
        expires_at: None,
    };
    let made = ledger.redeem_token(&hash(&params.token), &new, now).await;
    let made = made.map_err(|error| match error {
        data::Error::Invalid(_) => Problem::new(
            StatusCode::UNAUTHORIZED,
            "this link was used or is too old; `pipenotify key create` makes a key",
        ),
        error => error.into(),
    })?;
    ledger.audit(&made.name, "create key", now, "with the link of the first start").await?;
    Ok(Json(json!({"name": made.name, "role": made.role, "key": key})))
}
