//! Names in the texts of a playbook: `{component}`, `{label.queue}`, `{control.pid_file}`; and with what
//! stands there if nothing is known: `{control.idle_after|60s}`.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::trust::Place;

/// What the names of a playbook stand for in one case.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// `{component}`.
    pub component: String,
    /// Whether that is one of the configuration, and not just what an alert says.
    pub is_configured: bool,
    /// `{kind}`.
    pub kind: String,
    /// `{metric}`.
    pub metric: String,
    /// `{label.NAME}`.
    pub labels: BTreeMap<String, String>,
    /// `{control.NAME}`.
    pub control: Table,
}

impl Names {
    /// The settings with every name filled in. A text that is nothing but a name becomes its value,
    /// which may be a list.
    ///
    /// # Errors
    /// The first name that is not known.
    pub fn fill(&self, settings: &Table) -> Result<Table, String> {
        let filled = |(key, value): (&String, &Value)| {
            let value = match value {
                Value::Array(words) => self.words(key, words)?,
                _ => self.value(value, Place::of(key, value))?,
            };
            Ok((key.clone(), value))
        };
        settings.iter().map(filled).collect()
    }

    fn words(&self, key: &str, words: &[Value]) -> Result<Value, String> {
        let place = |n: usize| Place::of_word(key, words, n);
        let filled = words.iter().enumerate().map(|(n, word)| self.value(word, place(n)));
        filled.collect::<Result<_, _>>().map(Value::Array)
    }

    fn value(&self, value: &Value, place: Place) -> Result<Value, String> {
        let inner = |it: &Value| self.value(it, Place::Text);
        match value {
            Value::String(text) => self.text(text, place),
            Value::Array(all) => all.iter().map(inner).collect::<Result<_, _>>().map(Value::Array),
            Value::Table(table) => {
                let filled = table.iter().map(|(key, it)| Ok((key.clone(), inner(it)?)));
                filled.collect::<Result<_, _>>().map(Value::Table)
            }
            other => Ok(other.clone()),
        }
    }

    fn text(&self, text: &str, place: Place) -> Result<Value, String> {
        let allow = |name: &str, before: &str| {
            let name = name.split('|').next().unwrap_or_default();
            place.allow(name, before, self.is_configured)
        };
        if let Some(name) = whole(text) {
            allow(name, "")?;
            return self.find(name);
        }
        let mut filled = String::new();
        for piece in pieces(text) {
            match piece {
                Piece::Plain(plain) => filled.push_str(plain),
                Piece::Name(name) => {
                    allow(name, &filled)?;
                    let value = match self.find(name)? {
                        Value::String(value) => value,
                        other => other.to_string(),
                    };
                    filled.push_str(&place.escape(name, value)?);
                }
            }
        }
        Ok(Value::String(filled))
    }

    fn find(&self, name: &str) -> Result<Value, String> {
        match name.split_once('|') {
            Some((name, otherwise)) => Ok(self.known(name).unwrap_or_else(|_| value(otherwise))),
            None => self.known(name),
        }
    }

    fn known(&self, name: &str) -> Result<Value, String> {
        let text = |text: &String| Value::String(text.clone());
        let found = match name.split_once('.') {
            None if name == "component" => Some(text(&self.component)),
            None if name == "kind" => Some(text(&self.kind)),
            None if name == "metric" => Some(text(&self.metric)),
            Some(("label", label)) => self.labels.get(label).map(text),
            Some(("control", key)) => self.control.get(key).cloned(),
            _ => None,
        };
        found.ok_or_else(|| match name.split_once('.') {
            Some(("control", key)) => {
                format!("component `{}` has no `control.{key}`", self.component)
            }
            _ => format!("`{{{name}}}` is not known here"),
        })
    }
}

/// The first name in settings for which nothing can ever stand, such as one with a typo.
pub(super) fn unknown(settings: &Table) -> Option<String> {
    settings.values().find_map(unknown_in)
}

fn unknown_in(of: &Value) -> Option<String> {
    match of {
        Value::String(text) => names_of(text).into_iter().find(|name| !is_known(name)),
        Value::Array(all) => all.iter().find_map(unknown_in),
        Value::Table(table) => unknown(table),
        _ => None,
    }
}

/// The names in a text, without what stands there otherwise.
pub(super) fn names_of(text: &str) -> Vec<String> {
    let name = |piece: Piece<'_>| match piece {
        Piece::Name(name) => Some(name.split('|').next().unwrap_or_default().to_owned()),
        Piece::Plain(_) => None,
    };
    pieces(text).into_iter().filter_map(name).collect()
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Piece<'a> {
    /// What stays as it is.
    Plain(&'a str),
    /// A name, without its braces.
    Name(&'a str),
}

/// A text taken apart into its names and what stands between them.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let (mut all, mut rest, mut from) = (vec![], text, 0);
    while let Some(at) = rest[from..].find('{').map(|n| n + from) {
        let name = rest[at + 1..].split_once('}').map(|(name, _)| name);
        match name.filter(|it| is_name(it)) {
            Some(name) => {
                all.extend([Piece::Plain(&rest[..at]), Piece::Name(name)]);
                (rest, from) = (&rest[at + name.len() + 2..], 0);
            }
            None => from = at + 1,
        }
    }
    all.push(Piece::Plain(rest));
    all
}

fn is_known(name: &str) -> bool {
    match name.split_once('.') {
        None => matches!(name, "component" | "kind" | "metric"),
        Some((of, rest)) => matches!(of, "label" | "control") && !rest.is_empty(),
    }
}

/// The settings with every name that says what stands there otherwise replaced by just that.
pub(crate) fn without_defaults(settings: &Table) -> Table {
    settings.iter().map(|(key, value)| (key.clone(), otherwise(value))).collect()
}

fn otherwise(of: &Value) -> Value {
    match of {
        Value::String(text) => match whole(text).and_then(|name| name.split_once('|')) {
            Some((_, otherwise)) => value(otherwise),
            None => of.clone(),
        },
        Value::Array(all) => Value::Array(all.iter().map(otherwise).collect()),
        Value::Table(table) => Value::Table(without_defaults(table)),
        other => other.clone(),
    }
}

/// A number or a truth value if it looks like one, else a text.
fn value(text: &str) -> Value {
    let truth = || text.parse().map(Value::Boolean);
    text.parse().map(Value::Integer).or_else(|_| truth()).unwrap_or_else(|_| text.into())
}

/// The name if the text is nothing else.
fn whole(text: &str) -> Option<&str> {
    text.strip_prefix('{')?.strip_suffix('}').filter(|name| is_name(name))
}

/// Letters, digits, `_`, `-` and dots; what else stands in braces, such as JSON, is left alone.
fn is_name(text: &str) -> bool {
    let name = text.split('|').next().unwrap_or_default();
    !text.contains(['{', '}'])
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in_and_unknown_ones_refused() {
        let mut names = Names { component: "worker".into(), ..Names::default() };
        names.labels.insert("queue".into(), "orders".into());
        names.control = toml::from_str("start = ['a', 'b']").unwrap();
        let fill = |text: &str| names.fill(&toml::from_str(text).unwrap()).map(|it| it.to_string());
        assert_eq!(fill("x = '{component}/{label.queue}'").unwrap(), "x = \"worker/orders\"\n");
        assert_eq!(fill("x = '{control.start}'").unwrap(), "x = [\"a\", \"b\"]\n");
        assert_eq!(fill("x = '{\"a\": 1}'").unwrap(), "x = '{\"a\": 1}'\n");
        assert_eq!(
            fill("x = '{control.unit}'").unwrap_err(),
            "component `worker` has no `control.unit`"
        );
        assert_eq!(fill("x = '{control.idle|60s}'").unwrap(), "x = \"60s\"\n");
        assert_eq!(fill("x = '{control.n|5}'").unwrap(), "x = 5\n");
        assert_eq!(fill("x = '{control.n|false}'").unwrap(), "x = false\n");
        assert_eq!(fill("x = '{label.queue|none}:{kind|k}'").unwrap(), "x = \"orders:\"\n");
        assert_eq!(fill("x = '{nonsense}'").unwrap_err(), "`{nonsense}` is not known here");
    }

    #[test]
    fn a_name_that_can_never_be_filled_in_is_found() {
        let check = |text: &str| unknown(&toml::from_str(text).unwrap());
        assert_eq!(check("x = '{component}/{label.queue|none} {control.a} {metric} {kind}'"), None);
        assert_eq!(check("x = '{\"a\": {\"b\": 1}}'"), None, "JSON is no name");
        assert_eq!(check("x = ['a', 'b {compnent} c']").as_deref(), Some("compnent"));
        assert_eq!(check("[x]\ny = '{lable.queue|none}'").as_deref(), Some("lable.queue"));
    }
}
