//! What the environment and the flags say, laid over the file.

use toml::{Table, Value};

use super::{Config, Error, error::unknown};

const PREFIX: &str = "PIPENOTIFY_";

const ADMIN_KEY: &str = "http.admin_key";

/// Short names for what people set most.
const SHORT: [(&str, &str); 7] = [
    ("LAKE", "lake.url"),
    ("LEDGER", "ledger.url"),
    ("LISTEN", "http.listen"),
    ("OTLP_GRPC", "http.otlp_grpc"),
    ("ADMIN_KEY", ADMIN_KEY),
    ("DELIVERY_ALLOW_PRIVATE", "delivery.allow_private"),
    ("DELIVERY_RETRY_BASE", "delivery.retry_base"),
];

/// Names that are ours but do not configure the process: the client's key and address, the path of
/// the file, level and format of the log.
const ELSEWHERE: [&str; 5] = ["KEY", "URL", "CONFIG", "LOG", "LOG_FORMAT"];

/// What the command line may say; each is the text of one value.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--lake`.
    pub lake: Option<String>,
    /// `--ledger`.
    pub ledger: Option<String>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--otlp-grpc`.
    pub otlp_grpc: Option<String>,
}

/// Lays the variables over the table.
pub(super) fn environment(
    table: &mut Table,
    env: impl Iterator<Item = (String, String)>,
) -> Result<(), Error> {
    let ours = env.filter_map(|(name, text)| Some((name.strip_prefix(PREFIX)?.to_owned(), text)));
    for (name, text) in ours.filter(|(name, _)| !ELSEWHERE.contains(&name.as_str())) {
        let short = SHORT.iter().find(|(short, _)| *short == name);
        let path = match short {
            Some((_, path)) => (*path).to_owned(),
            None if name.contains("__") => name.replace("__", ".").to_lowercase(),
            None => return Err(Error::Invalid(unknown_variable(&name))),
        };
        // Whoever passes a variable on that was never set means no key, and not one that all can guess.
        if path != ADMIN_KEY || !text.trim().is_empty() {
            set(table, &format!("{PREFIX}{name}"), &path, &text)?;
        }
    }
    Ok(())
}

/// Lays the flags over the table.
pub(super) fn flags(table: &mut Table, flags: &Flags) -> Result<(), Error> {
    let given = [
        ("--lake", "lake.url", &flags.lake),
        ("--ledger", "ledger.url", &flags.ledger),
        ("--listen", "http.listen", &flags.listen),
        ("--otlp-grpc", "http.otlp_grpc", &flags.otlp_grpc),
    ];
    for (flag, path, text) in given {
        if let Some(text) = text {
            set(table, flag, path, text)?;
        }
    }
    Ok(())
}

fn unknown_variable(name: &str) -> String {
    let known = SHORT.map(|(short, _)| format!("{PREFIX}{short}"));
    let known: Vec<_> = known.iter().map(String::as_str).collect();
    let sentence = unknown(&format!("{PREFIX}{name}"), &known);
    format!("{sentence} Other keys are written {PREFIX}SECTION__KEY")
}

/// Sets one value, after making sure that it alone is a configuration: only here is it known who said
/// it. The text is taken as text if that fits, else as TOML, so that `5`, `true` and `[]` can be said.
fn set(table: &mut Table, place: &str, path: &str, text: &str) -> Result<(), Error> {
    let mut said = Value::String(text.to_owned());
    if let Err(error) = alone(path, said.clone()) {
        let parsed = toml::from_str::<Table>(&format!("value = {text}"));
        said = parsed.ok().and_then(|mut parsed| parsed.remove("value")).unwrap_or(said);
        alone(path, said.clone()).map_err(|second| {
            let error = if said.is_str() { &error } else { &second };
            Error::other(place, error)
        })?;
    }
    merge(table, nest(path, said));
    Ok(())
}

fn alone(path: &str, value: Value) -> Result<Config, toml::de::Error> {
    nest(path, value).try_into()
}

/// `a.b`, v  →  { a = { b = v } }
fn nest(path: &str, value: Value) -> Table {
    let wrap = |value, key: &str| Value::Table(Table::from_iter([(key.to_owned(), value)]));
    match path.rsplit('.').fold(value, wrap) {
        Value::Table(table) => table,
        _ => unreachable!("a path has at least one part"),
    }
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}
