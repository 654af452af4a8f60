//! What of the configuration cannot work, found as `run` would find it, without opening or changing anything.

use serde_json::Value;

use crate::{
    collect,
    config::{Config, Destination},
    delivery,
};

/// What is wrong with collectors and destinations of the configuration, a sentence each.
pub fn faults(config: &Config) -> Vec<String> {
    let mut wrong = collect::faults(&config.collect);
    let guard = delivery::guard(&config.delivery);
    let fault = |(n, wanted): (usize, &Destination)| {
        let Ok(Value::Object(settings)) = serde_json::to_value(&wanted.settings) else {
            return None;
        };
        let made = delivery::check_name(&wanted.name).and_then(|()| {
            let tenant = wanted.tenant.clone();
            delivery::make(&wanted.name, &wanted.kind, tenant, settings, "configuration", &guard)
        });
        let line = config.place("[[delivery.destination]]", n);
        made.err().map(|why| format!("{line}: delivery.destination `{}`: {why}", wanted.name))
    };
    wrong.extend(config.delivery.destination.iter().enumerate().filter_map(fault));
    wrong
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
