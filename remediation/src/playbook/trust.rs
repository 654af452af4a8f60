//! What may be filled in where.
//!
//! Labels and metrics are the words of whoever sends samples or alerts, and so is a component that nobody has
//! configured. They may say what a restart is about, not which program runs, which process ends, or whom we
//! call; and in an address or in JSON they are a value and never more.

use std::fmt::Write;

use toml::{Table, Value};

use super::names::{Piece, pieces};

/// Settings that choose a program or a process.
const CHOOSING: [&str; 4] = ["program", "pid_file", "command_line", "unit"];
/// Settings in which braces can be nothing but a name.
const WITHOUT_BRACES: [&str; 7] =
    ["url", "program", "pid_file", "unit", "path", "folder", "archive"];

/// What a text decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    /// What is run, or ended.
    Choice,
    /// Whom we call, and what for.
    Address,
    /// What is said, as JSON.
    Json,
    /// Anything else.
    Text,
}

impl Place {
    /// Of a setting of an action.
    pub(super) fn of(setting: &str, value: &Value) -> Self {
        let begins_json = |text: &str| match pieces(text).first() {
            Some(Piece::Plain(plain)) => plain.trim_start().starts_with(['{', '[']),
            _ => false,
        };
        match (setting, value) {
            ("start", Value::String(_)) => Self::Choice,
            ("url", _) => Self::Address,
            ("body", Value::String(text)) if begins_json(text) => Self::Json,
            _ if CHOOSING.contains(&setting) => Self::Choice,
            _ => Self::Text,
        }
    }

    /// Of a word in a list: the program itself, and what a shell is given to run.
    pub(super) fn of_word(setting: &str, words: &[Value], n: usize) -> Self {
        let follows = n.checked_sub(1).and_then(|n| words[n].as_str());
        match (setting, n, follows) {
            ("start", 0, _) | ("start" | "arguments", _, Some("-c")) => Self::Choice,
            _ => Self::Text,
        }
    }

    /// Whether `name` may stand here, behind what stands `before` it.
    ///
    /// # Errors
    /// A sentence if what stands for it is not to be trusted that far.
    pub(super) fn allow(self, name: &str, before: &str, is_configured: bool) -> Result<(), String> {
        let chooses = match self {
            Self::Choice => true,
            Self::Address => is_in_host(before),
            Self::Json | Self::Text => false,
        };
        let is_known = name == "component" && is_configured;
        match chooses && !is_known && !is_ours(name) {
            true => Err(format!(
                "`{{{name}}}` is what somebody has sent; it must not choose a program, a process or a host"
            )),
            false => Ok(()),
        }
    }

    /// What stands for `name`, so that it is one value here.
    ///
    /// # Errors
    /// A sentence if there is no way to write it.
    pub(super) fn escape(self, name: &str, value: String) -> Result<String, String> {
        match self {
            _ if is_ours(name) => Ok(value),
            Self::Address if !value.is_empty() && value.chars().all(|it| it == '.') => {
                Err(format!("`{{{name}}}` is `{value}`, which leads elsewhere in an address"))
            }
            Self::Address => Ok(percent(&value)),
            Self::Json => {
                let quoted = Value::String(value);
                let quoted = serde_json::to_string(&quoted).map_err(|error| error.to_string())?;
                Ok(quoted[1..quoted.len() - 1].to_owned())
            }
            Self::Choice | Self::Text => Ok(value),
        }
    }
}

/// Whether all of the settings may stay as they are written.
///
/// # Errors
/// The first name that must not stand where it does, or braces that hold no name.
pub(super) fn check(settings: &Table) -> Result<(), String> {
    for (setting, value) in settings {
        match value {
            Value::String(text) => check_text(setting, text, Place::of(setting, value))?,
            Value::Array(words) => {
                for (n, word) in words.iter().enumerate() {
                    let text = word.as_str().unwrap_or_default();
                    check_text(setting, text, Place::of_word(setting, words, n))?;
                }
            }
            _ => (),
        }
    }
    Ok(())
}

fn check_text(setting: &str, text: &str, place: Place) -> Result<(), String> {
    let mut before = String::new();
    for piece in pieces(text) {
        match piece {
            Piece::Plain(plain) => {
                if WITHOUT_BRACES.contains(&setting) && plain.contains(['{', '}']) {
                    return Err(format!("`{setting}` has braces without a name in them: `{text}`"));
                }
                before.push_str(plain);
            }
            Piece::Name(name) => {
                let name = name.split('|').next().unwrap_or_default();
                // That of a component is looked at when it is known which.
                place.allow(name, &before, true)?;
                before.push('x');
            }
        }
    }
    Ok(())
}

/// What the configuration says, or we.
fn is_ours(name: &str) -> bool {
    name.starts_with("control.") || name == "kind"
}

fn is_in_host(before: &str) -> bool {
    before.split_once("://").is_none_or(|(_, rest)| !rest.contains(['/', '?', '#']))
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                all.push(char::from(byte));
            }
            _ => drop(write!(all, "%{byte:02X}")),
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::super::Names;

    fn names() -> Names {
        let mut names = Names { component: "worker".into(), ..Names::default() };
        for (name, value) in
            [("cmd", "sshd"), ("t", "\",\"evil\":\"1"), ("path", "a/../b?c"), ("up", "..")]
        {
            names.labels.insert(name.into(), value.into());
        }
        names.control = toml::from_str("host = 'h:1/x'").unwrap();
        names
    }

    #[test]
    fn what_somebody_sent_chooses_no_program_process_or_host() {
        for (text, is_fine) in [
            ("command_line = '{label.cmd}'", false),
            ("command_line = 'worker {label.cmd|x}'", false),
            ("pid_file = '/run/{label.cmd}.pid'", false),
            ("unit = '{metric}'", false),
            ("start = '{label.cmd}'", false),
            ("start = ['/bin/{label.cmd}']", false),
            ("start = ['/bin/worker', '--queue', '{label.cmd}']", true),
            ("start = ['/bin/sh', '-c', 'restart {label.cmd}']", false),
            ("arguments = ['-c', '{label.cmd}']", false),
            ("arguments = ['{label.cmd}']", true),
            ("url = '{label.cmd}'", false),
            ("url = 'http://{label.cmd}/restart'", false),
            ("url = 'http://h:{label.cmd}'", false),
            ("url = 'http://u:{label.cmd}@h/'", false),
            ("url = 'http://h/{label.cmd}?x={label.cmd}'", true),
            ("url = '{control.host}'", true),
            ("unit = '{component}'", true),
            ("queue = '{label.cmd}'", true),
        ] {
            let settings = toml::from_str(text).unwrap();
            let checked = super::check(&settings);
            assert_eq!(checked.is_ok(), is_fine, "{text}: {checked:?}");
            // What was not seen when it was read is seen when it is filled in.
            let names = Names { is_configured: true, ..names() };
            let filled = names.fill(&settings);
            assert!(is_fine || filled.is_err(), "{text}: {filled:?}");
        }
    }

    #[test]
    fn a_component_chooses_only_if_it_is_configured() {
        let settings = toml::from_str("unit = '{component}'").unwrap();
        let error = names().fill(&settings).unwrap_err();
        assert!(error.contains("`{component}` is what somebody has sent"), "{error}");
        let known = Names { is_configured: true, ..names() };
        assert_eq!(known.fill(&settings).unwrap()["unit"].as_str(), Some("worker"));
    }

    #[test]
    fn what_somebody_sent_is_one_value_in_json_and_in_an_address() {
        let fill =
            |text: &str| names().fill(&toml::from_str(text).unwrap()).map(|it| it.to_string());
        let filled = fill(r#"body = '{"t":"{label.t}","c":"{component}"}'"#).unwrap();
        let table: toml::Table = toml::from_str(&filled).unwrap();
        let said: serde_json::Value =
            serde_json::from_str(table["body"].as_str().unwrap()).unwrap();
        assert_eq!(said, serde_json::json!({"t": "\",\"evil\":\"1", "c": "worker"}));
        for (text, expected) in [
            ("body = 'about {label.t}'", "about \",\"evil\":\"1"),
            ("url = 'http://h/{label.path}/x'", "http://h/a%2F..%2Fb%3Fc/x"),
            ("url = 'http://{control.host}/x'", "http://h:1/x/x"),
        ] {
            let table: toml::Table = toml::from_str(&fill(text).unwrap()).unwrap();
            assert_eq!(table.values().next().unwrap().as_str(), Some(expected));
        }
        let error = fill("url = 'http://h/restart/{label.up}/x'").unwrap_err();
        assert!(error.contains("leads elsewhere"), "{error}");
    }
}
