//! Pipenotify's settings for a bed: a part for each service that runs, and what the scenario adds.
//!
//! The parts are the files of `tests/testbed/config`. In them and in the scenario's own text
//! `${worker.pid_file}` and the like stand for what the bed has chosen.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

use super::scenario::Scenario;

/// The part of this name.
fn part(name: &str) -> Result<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testbed/config");
    let path = folder.join(format!("{name}.toml"));
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// The settings as a table.
///
/// # Errors
/// A name that nothing stands for, or text that is no TOML.
pub fn assemble(scenario: &Scenario, names: &BTreeMap<String, String>) -> Result<Table> {
    let mut text = part("base")?;
    for kind in &scenario.services {
        text.push_str(&part(kind.name())?);
    }
    text.push_str(&scenario.settings);
    let mut table: Table =
        toml::from_str(&fill(&text, names)?).context("the settings of the bed")?;
    let own: Table = toml::from_str(&fill(&scenario.replace.to_string(), names)?)?;
    merge(&mut table, own);
    let components = table.get_mut("health").and_then(|it| it.get_mut("component"));
    for component in components.and_then(Value::as_array_mut).into_iter().flatten() {
        let name = component.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let (true, Some(component)) =
            (scenario.without_control.contains(&name), component.as_table_mut())
        {
            component.remove("control");
        }
    }
    Ok(table)
}

/// `${name}` becomes what it stands for.
pub fn fill(text: &str, names: &BTreeMap<String, String>) -> Result<String> {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else { bail!("`${{` without an end") };
        filled.push_str(before);
        filled.push_str(names.get(name).with_context(|| format!("nothing is called `{name}`"))?);
        rest = after;
    }
    Ok(filled + rest)
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}
