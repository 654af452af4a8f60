//! What of the configuration cannot work, found as `run` would find it, without opening or changing anything.

use remediation::delivery::guard::Guard;
use serde_json::Value;

use crate::{
    collect,
    config::{Config, Destination},
    delivery,
};

/// What is wrong with the key, collectors and destinations of the configuration, a sentence each.
pub fn faults(config: &Config) -> Vec<String> {
    let mut wrong = collect::faults(&config.collect);
    wrong.extend(config.http.check_admin_key().err());
    let guard = delivery::guard(&config.delivery);
    for (n, entry) in config.delivery.destination.iter().enumerate() {
        let line = config.place("[[delivery.destination]]", n);
        let name = entry.get("name").and_then(toml::Value::as_str).unwrap_or_default();
        if let Err(why) = fault(entry, &guard) {
            wrong.push(format!("{line}: delivery.destination `{name}`: {why}"));
        }
    }
    wrong
}

fn fault(entry: &toml::Table, guard: &Guard) -> Result<(), String> {
    let wanted = Destination::read(entry)?;
    delivery::check_name(&wanted.name).map_err(|wrong| wrong.to_string())?;
    let settings = serde_json::to_value(&wanted.settings).map_err(|error| error.to_string())?;
    let Value::Object(settings) = settings else { return Err("it is no table".to_owned()) };
    let (name, kind, tenant) = (&wanted.name, &wanted.kind, wanted.tenant);
    let made = delivery::make(name, kind, tenant, settings, "configuration", guard);
    made.map(drop).map_err(|wrong| wrong.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_that_cannot_work_is_named() {
        let text = "[collect]\nhost = []\n[[delivery.destination]]\nname = 'a b'\nkind = 'file'\n\
                    [[delivery.destination]]\nname = 'pager'\nkind = 'pigeon'\n";
        let found = faults(&toml::from_str(text).unwrap());
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("`a b`") && found[1].contains("`pager`"), "{found:?}");
    }
}
