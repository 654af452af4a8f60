//! What a program asks for, read field by field.

use std::{collections::BTreeMap, fmt};

use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Promise, new_id};
use remediation::delivery::fields::{Fields, Wrong};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};
use sha2::{Digest, Sha256};

use super::Registry;
use crate::config;

/// Entries of one bulk request.
pub const BULK_MAX: usize = 1000;
/// Destinations of one route.
const ROUTE_MAX: usize = 10;
/// Characters of a key or a tenant.
const KEY_MAX: usize = 256;

/// How far ahead a delivery may be put off: what is meant for later than a year is more often a mistake, such as
/// milliseconds for seconds, and would lie here unseen.
const AHEAD_MAX: TimeDelta = TimeDelta::days(366);

/// One entry: its fields, as they were sent, each once.
#[derive(Debug, Default)]
pub struct Entry<'a>(BTreeMap<String, &'a RawValue>);

impl<'de> Deserialize<'de> for Entry<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Once)
    }
}

/// Reads an object; of two fields with one name nobody knows which is meant.
struct Once;

impl<'de> Visitor<'de> for Once {
    type Value = Entry<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Entry<'de>, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, value)) = from.next_entry::<String, &RawValue>()? {
            if fields.contains_key(&name) {
                return Err(A::Error::custom(format!("the field `{name}` is there twice")));
            }
            fields.insert(name, value);
        }
        Ok(Entry(fields))
    }
}

impl Entry<'_> {
    /// The fields as values.
    ///
    /// # Errors
    /// When one is no JSON that can be kept, such as a number beyond all bounds.
    pub fn values(&self) -> Result<Map<String, Value>, Wrong> {
        let value = |(name, raw): (&String, &&RawValue)| {
            let value = serde_json::from_str(raw.get());
            let value = value.map_err(|e| Wrong::new(name, format!("is no JSON: {e}")))?;
            Ok((name.clone(), value))
        };
        self.0.iter().map(value).collect()
    }
}

/// Reads an entry. An unknown tenant is not refused but set apart: whoever sent it may be unable to send
/// it again, and nobody guesses whose it is.
pub fn read(
    entry: Entry<'_>,
    registry: &Registry,
    config: &config::Delivery,
    now: DateTime<Utc>,
) -> Result<Promise, Wrong> {
    let mut entry = entry;
    // As it was sent, to the last blank.
    let payload = entry.0.remove("payload").map(RawValue::get);
    let mut fields = Fields::new(entry.values()?);
    let tenant = key(&mut fields, "tenant")?.unwrap_or_default();
    let id = new_id(now);
    let promise = Promise {
        idempotency_key: key(&mut fields, "idempotency_key")?.unwrap_or_else(|| id.clone()),
        quarantine: quarantine(&tenant, registry, config),
        ordering_key: key(&mut fields, "ordering_key")?,
        due_at: due_at(fields.time("not_before")?, now)?,
        expires_at: fields.time("expires_at")?,
        route: route(&mut fields, &tenant, registry)?,
        payload: checked(payload, config.payload_bytes_max)?.to_owned(),
        fingerprint: String::new(),
        destination: String::new(),
        secret: None,
        created_at: now,
        id,
        tenant,
    };
    // It is known, and was taken already.
    fields.value("payload");
    fields.done()?;
    match promise.expires_at {
        Some(end) if end <= promise.due_at => {
            Err(Wrong::new("expires_at", "must be after now and after `not_before`"))
        }
        _ => Ok(sealed(promise)),
    }
}

/// When it falls due. What should have begun before now stands in line like everything else that begins now.
fn due_at(not_before: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<DateTime<Utc>, Wrong> {
    match not_before {
        Some(at) if at - now > AHEAD_MAX => {
            let why = format!("may be {} days from now at most", AHEAD_MAX.num_days());
            Err(Wrong::new("not_before", why))
        }
        at => Ok(at.map_or(now, |at| at.max(now))),
    }
}

/// Fills in what follows from the rest.
fn sealed(mut promise: Promise) -> Promise {
    let mut hash = Sha256::new();
    let parts = [promise.ordering_key.as_deref().unwrap_or_default(), promise.payload.as_str()];
    for part in promise.route.iter().map(String::as_str).chain(parts) {
        // With its length, so that no two lists of parts look the same.
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    promise.fingerprint = hex::encode(&hash.finalize()[..16]);
    promise.destination = promise.route.first().cloned().unwrap_or_default();
    if promise.route.len() == 1 {
        promise.route.clear();
    }
    promise
}

fn quarantine(tenant: &str, registry: &Registry, config: &config::Delivery) -> Option<String> {
    let is_unknown = !tenant.is_empty() && !registry.knows_tenant(tenant, config);
    is_unknown.then(|| format!("the tenant `{tenant}` is unknown"))
}

fn key(fields: &mut Fields, field: &'static str) -> Result<Option<String>, Wrong> {
    let Some(text) = fields.text(field)? else { return Ok(None) };
    let is_fine =
        !text.is_empty() && text.chars().count() <= KEY_MAX && !text.chars().any(char::is_control);
    let wrong = || {
        Wrong::new(field, format!("must be 1 to {KEY_MAX} characters without control characters"))
    };
    is_fine.then_some(Some(text)).ok_or_else(wrong)
}

/// All destinations in order: `destination`, or `route`.
fn route(fields: &mut Fields, tenant: &str, registry: &Registry) -> Result<Vec<String>, Wrong> {
    let (single, route) = (fields.text("destination")?, fields.texts("route")?);
    let (field, names) = match (single, route.is_empty()) {
        (Some(name), true) => ("destination", vec![name]),
        (None, false) => ("route", route),
        (None, true) => return Err(Wrong::new("destination", "is missing")),
        (Some(_), false) => {
            return Err(Wrong::new("route", "and `destination` cannot both be given"));
        }
    };
    if names.len() > ROUTE_MAX {
        return Err(Wrong::new(field, format!("may name {ROUTE_MAX} destinations at most")));
    }
    for (at, name) in names.iter().enumerate() {
        let Some(known) = registry.get(name) else {
            let why = format!(
                "names `{name}`, which is no destination; `/api/v1/destinations` lists them"
            );
            return Err(Wrong::new(field, why));
        };
        if names[..at].contains(name) {
            return Err(Wrong::new(field, format!("names `{name}` twice")));
        }
        if known.row.tenant.as_deref().is_some_and(|owner| owner != tenant) {
            let why = format!("names `{name}`, which belongs to another tenant");
            return Err(Wrong::new(field, why));
        }
    }
    Ok(names)
}

fn checked(payload: Option<&str>, bytes_max: usize) -> Result<&str, Wrong> {
    let payload =
        payload.filter(|it| *it != "null").ok_or_else(|| Wrong::new("payload", "is missing"))?;
    if payload.len() > bytes_max {
        let why = format!("has {} bytes; at most {bytes_max} are taken", payload.len());
        return Err(Wrong::new("payload", why));
    }
    // What lies in a database as text must be text for every reader of it.
    serde_json::from_str::<Value>(payload)
        .map_err(|error| Wrong::new("payload", format!("is no JSON: {error}")))?;
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_may_be_put_off_for_a_year() {
        let now: DateTime<Utc> = "2026-03-09T14:00:00Z".parse().unwrap();
        let check = |not_before: &str, expected: Result<&str, &str>| {
            let due = due_at(not_before.parse().ok(), now).map_err(|wrong| wrong.to_string());
            let expected = expected.map(|at| at.parse().unwrap()).map_err(str::to_owned);
            assert_eq!(due, expected);
        };
        check("", Ok("2026-03-09T14:00:00Z"));
        check("2026-03-09T15:00:00Z", Ok("2026-03-09T15:00:00Z"));
        check("2027-03-10T14:00:00Z", Ok("2027-03-10T14:00:00Z"));
        let too_late = Err("`not_before` may be 366 days from now at most");
        check("2027-03-10T14:00:01Z", too_late);
        check("9999-12-31T23:59:59Z", too_late);
        // Nobody gets ahead of the others with a time that is long over.
        check("1970-01-01T00:00:00Z", Ok("2026-03-09T14:00:00Z"));
    }

    #[test]
    fn an_entry_has_each_field_once() {
        let check = |text: &str, expected: Result<usize, &str>| {
            let read = serde_json::from_str::<Entry<'_>>(text);
            match (read, expected) {
                (Ok(entry), Ok(n)) => assert_eq!(entry.values().unwrap().len(), n),
                (Err(error), Err(why)) => assert!(error.to_string().contains(why), "{error}"),
                (read, _) => panic!("{text}: {read:?}"),
            }
        };
        check("{}", Ok(0));
        check(r#"{"destination": "a", "payload": {"a": 1, "a": 2}}"#, Ok(2));
        check(r#"{"destination": "a", "destination": "b"}"#, Err("`destination` is there twice"));
        check("[]", Err("expected an object"));
    }
}
