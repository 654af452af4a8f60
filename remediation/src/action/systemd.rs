//! systemd units.

use async_trait::async_trait;
use serde::Deserialize;

use super::{Act, Allowed, Context, Done, command, has_names};

/// `systemctl restart`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RestartUnit {
    /// The unit, such as `worker.service`.
    unit: String,
    /// Whether it is a unit of the user and not of the system.
    #[serde(default)]
    user: bool,
}

#[async_trait]
impl Act for RestartUnit {
    fn target(&self) -> String {
        format!("unit:{}", self.unit)
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        let known = |c: char| c.is_ascii_alphanumeric() || "@._:\\-".contains(c);
        if has_names(&self.unit) || (self.unit.chars().all(known) && !self.unit.starts_with('-')) {
            return Ok(());
        }
        Err(format!("`{}` is no name of a unit", self.unit))
    }

    async fn act(&self, _: &Context) -> Result<Done, String> {
        let mut arguments = vec!["--no-ask-password", "restart", &self.unit];
        if self.user {
            arguments.insert(0, "--user");
        }
        let output = command::run("systemctl", &arguments).await?;
        Ok(Done { summary: format!("unit {} restarted", self.unit), output })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_a_name_and_not_an_option() {
        let check = |unit: &str| {
            RestartUnit { unit: unit.into(), user: false }.check(&Allowed::default()).is_ok()
        };
        assert!(check("worker@1.service") && check("{control.unit}"));
        assert!(!check("--force") && !check("a b") && !check("a;b"));
    }
}
