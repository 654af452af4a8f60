//! Takes secrets out of a configuration before people see it.

use toml::{Table, Value};
use url::Url;

/// What stands where a secret was.
const REDACTED: &str = "redacted";

/// Parts of a key's name that mean its value is a secret, or that all values below it may be.
const SECRET: [&str; 7] =
    ["password", "secret", "token", "headers", "credential", "admin_key", "routing_key"];

/// Words in a text after which a secret follows.
const ENDS: [&str; 8] =
    ["password", "passwd", "secret", "token", "api-key", "api_key", "apikey", "authorization"];

/// The table without secrets.
pub(super) fn table(mut table: Table) -> Table {
    hide_path(&mut table);
    let clean = |(key, value): (String, Value)| {
        let value = if key == "destination" { without_paths(value) } else { value };
        let is_secret = SECRET.iter().any(|part| key.to_lowercase().contains(part));
        let value = if is_secret { blank(value) } else { clean(value) };
        (key, value)
    };
    table.into_iter().map(clean).collect()
}

/// The address of a destination is a secret where a chat room asks for nothing else.
fn hide_path(table: &mut Table) {
    if table.contains_key("kind") {
        hide_url(table);
    }
}

/// One without a kind cannot work, and its address is as secret.
fn without_paths(mut value: Value) -> Value {
    if let Value::Array(all) = &mut value {
        all.iter_mut().filter_map(Value::as_table_mut).for_each(hide_url);
    }
    value
}

fn hide_url(table: &mut Table) {
    if let Some(Value::String(text)) = table.get_mut("url")
        && let Ok(mut url) = Url::parse(text)
        && url.path() != "/"
    {
        url.set_path(REDACTED);
        *text = url.to_string();
    }
}

fn clean(value: Value) -> Value {
    match value {
        Value::Table(inner) => Value::Table(table(inner)),
        Value::Array(values) => Value::Array(arguments(values)),
        Value::String(text) => Value::String(words(address(text))),
        other => other,
    }
}

/// A list; what follows `--password` is one.
fn arguments(values: Vec<Value>) -> Vec<Value> {
    let names = |value: &Value| {
        let text = value.as_str().unwrap_or_default().to_lowercase();
        text.starts_with('-') && ENDS.iter().any(|end| text.ends_with(end))
    };
    let mut is_secret = false;
    let clean = |value: Value| {
        let names_one = names(&value);
        let value = if is_secret && value.is_str() { blank(value) } else { clean(value) };
        is_secret = names_one;
        value
    };
    values.into_iter().map(clean).collect()
}

/// A text, such as an argument or a body, up to where a word says that a secret follows.
fn words(text: String) -> String {
    let lower = text.to_ascii_lowercase();
    let follows = |(at, word): (usize, &str)| {
        let from = at + word.len();
        let rest = &text[from..];
        let gap = rest.len() - rest.trim_start_matches(['"', '\'', ' ', ':', '=', '\\']).len();
        let says = rest[..gap].contains([':', '=']) && gap < rest.len();
        // What a playbook fills in is none, and what was taken out is gone.
        let is_one = !rest[gap..].starts_with('{') && !rest[gap..].starts_with(REDACTED);
        (says && is_one).then_some(from + gap)
    };
    let all = ENDS.iter().flat_map(|word| lower.match_indices(word)).filter_map(follows);
    match all.min() {
        Some(at) => format!("{}{REDACTED}", &text[..at]),
        None => text,
    }
}

fn blank(value: Value) -> Value {
    match value {
        Value::Table(inner) => {
            Value::Table(inner.into_iter().map(|(key, value)| (key, blank(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(blank).collect()),
        _ => Value::String(REDACTED.to_owned()),
    }
}

/// An address without its password and without the query, where some services want the secret; in
/// `host=… password=…`, the other way to name a database, the words that hold one.
fn address(text: String) -> String {
    if text.contains("password=") && !text.contains("://") {
        let blank = |word: &str| match word.split_once('=') {
            Some(("password", _)) => format!("password={REDACTED}"),
            _ => word.to_owned(),
        };
        return text.split(' ').map(blank).collect::<Vec<_>>().join(" ");
    }
    let Ok(mut url) = Url::parse(&text) else { return text };
    let has_password = url.password().is_some();
    if !has_password && url.query().is_none() {
        return text;
    }
    if has_password && url.set_password(Some(REDACTED)).is_err() {
        return REDACTED.to_owned();
    }
    if url.query().is_some() {
        url.set_query(Some(REDACTED));
    }
    url.to_string()
}
