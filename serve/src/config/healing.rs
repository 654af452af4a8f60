//! `[incident]`, `[healing]`: when trouble is believed, and what may be done about it.
//!
//! A test or a demonstration shortens all of it: `health.every = "1s"`, checks with a window of a few
//! seconds, `healing.every = "200ms"`, `healing.cool_down = "5s"`, and `verify` of a few seconds in its
//! playbooks.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Believe, Period};

/// When trouble becomes an incident, and when it is over.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Incident {
    /// How many looks of a check it takes to believe.
    pub believe: Believe,
    /// What comes back within this is the same incident.
    pub reopen_within: Period,
    /// So many times back is coming and going.
    pub flap_max: u32,
    /// How long it must then be quiet to be over.
    pub flap_quiet: Period,
    /// A received alert without an end counts as over when nobody has repeated it for so long.
    pub resolve_timeout: Period,
    /// Good symptoms that nobody has looked at for so long are forgotten.
    pub forget_after: Period,
}

impl Default for Incident {
    fn default() -> Self {
        Self {
            believe: Believe { bad: 2, of: 3, good: 2 },
            reopen_within: Period::seconds(600),
            flap_max: 4,
            flap_quiet: Period::seconds(1800),
            resolve_timeout: Period::seconds(300),
            forget_after: Period::days(7),
        }
    }
}

impl Incident {
    pub(super) fn check(&self) -> Result<(), String> {
        self.believe.check("incident")
    }
}

/// What may be done about incidents.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Healing {
    /// Whether anything is done at all.
    pub enabled: bool,
    /// Whether it is only said what would be done.
    pub dry_run: bool,
    /// How often incidents and running actions are looked at.
    pub every: Period,
    /// How long one process keeps the right to act without renewing it.
    pub lease: Period,
    /// A folder with further playbooks, one or more in each `*.toml`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub playbooks: Option<PathBuf>,
    /// Whether the playbooks that come with the program are used.
    pub built_in: bool,
    /// Programs that `run_command` may run, as whole paths.
    pub allow_commands: Vec<PathBuf>,
    /// Folders under which files may be rotated, compressed and removed.
    pub allow_folders: Vec<PathBuf>,
    /// The user and the group, as numbers, that commands run as when this process may choose; nobody
    /// (65534) when absent and this process is root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_user: Option<(u32, u32)>,
    /// Actions on one target …
    pub attempts: u32,
    /// … within this.
    pub attempts_window: Period,
    /// Actions within an hour.
    pub per_hour: u32,
    /// Actions within a day.
    pub per_day: u32,
    /// Between two actions for one type of trouble on one target.
    pub cool_down: Period,
    /// Components that are touched …
    pub blast_radius: u32,
    /// … also as a share of all; one is always allowed …
    pub blast_share: f64,
    /// … within this.
    pub blast_window: Period,
    /// So many actions in a row without effect …
    pub breaker_failures: u32,
    /// … hold everything back for so long.
    pub breaker_open: Period,
    /// So many incidents …
    pub storm_incidents: u32,
    /// … within this are a storm, in which nothing is touched.
    pub storm_window: Period,
    /// An action that helps in a smaller share of cases suspends itself …
    pub floor: f64,
    /// … once it was tried so often.
    pub floor_attempts: u32,
    /// A forecast must be so probable to be acted on.
    pub probability: f64,
    /// How long an approval may be given.
    pub approval: Period,
    /// What an hour of an incident costs, for reports; no default would be true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_per_hour: Option<f64>,
}

impl Default for Healing {
    fn default() -> Self {
        Self {
            enabled: true,
            dry_run: false,
            every: Period::seconds(1),
            lease: Period::seconds(15),
            playbooks: None,
            built_in: true,
            allow_commands: vec![],
            allow_folders: vec![],
            command_user: None,
            attempts: 3,
            attempts_window: Period::seconds(3600),
            per_hour: 20,
            per_day: 100,
            cool_down: Period::seconds(120),
            blast_radius: 3,
            blast_share: 0.5,
            blast_window: Period::seconds(600),
            breaker_failures: 5,
            breaker_open: Period::seconds(1800),
            storm_incidents: 50,
            storm_window: Period::seconds(300),
            floor: 0.2,
            floor_attempts: 5,
            probability: 0.9,
            approval: Period::seconds(3600),
            cost_per_hour: None,
        }
    }
}

impl Healing {
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, share) in [
            ("blast_share", self.blast_share),
            ("floor", self.floor),
            ("probability", self.probability),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("healing.{name} must lie between 0 and 1"));
            }
        }
        if let Some(path) = self.allow_commands.iter().find(|path| !path.is_absolute()) {
            return Err(format!("healing.allow_commands: `{}` is no whole path", path.display()));
        }
        if let Some(path) = self.allow_folders.iter().find(|path| !path.is_absolute()) {
            return Err(format!("healing.allow_folders: `{}` is no whole path", path.display()));
        }
        if self.allow_folders.iter().any(|path| path.parent().is_none()) {
            let sentence =
                "healing.allow_folders: `/` is everything; name the folders that are meant";
            return Err(sentence.to_owned());
        }
        if self.lease.0 < self.every.0 * 3 {
            return Err("healing.lease must be at least three times healing.every".to_owned());
        }
        Ok(())
    }
}
