//! Names in the texts of a playbook: `{component}`, `{label.queue}`, `{control.pid_file}`; and with what
//! stands there if nothing is known: `{control.idle_after|60s}`.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// What the names of a playbook stand for in one case.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// `{component}`.
    pub component: String,
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
        settings.iter().map(|(key, value)| Ok((key.clone(), self.value(value)?))).collect()
    }

    fn value(&self, value: &Value) -> Result<Value, String> {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(all) => {
                all.iter().map(|it| self.value(it)).collect::<Result<_, _>>().map(Value::Array)
            }
            Value::Table(table) => self.fill(table).map(Value::Table),
            other => Ok(other.clone()),
        }
    }

    fn text(&self, text: &str) -> Result<Value, String> {
        if let Some(name) = whole(text) {
            return self.find(name);
        }
        let (mut filled, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let Some((name, after)) = after.split_once('}').filter(|(name, _)| is_name(name))
            else {
                filled.push('{');
                rest = after;
                continue;
            };
            match self.find(name)? {
                Value::String(value) => filled.push_str(&value),
                other => filled.push_str(&other.to_string()),
            }
            rest = after;
        }
        filled.push_str(rest);
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
fn names_of(text: &str) -> Vec<String> {
    let (mut found, mut rest) = (vec![], text);
    while let Some((_, after)) = rest.split_once('{') {
        rest = after;
        if let Some((name, after)) = after.split_once('}').filter(|(name, _)| is_name(name)) {
            found.push(name.split('|').next().unwrap_or_default().to_owned());
            rest = after;
        }
    }
    found
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

/// A number if it looks like one, else a text.
fn value(text: &str) -> Value {
    text.parse().map_or_else(|_| Value::String(text.to_owned()), Value::Integer)
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
