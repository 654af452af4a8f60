//! Our own deliveries: dead letters are sent again, a destination is left alone for a while.

use async_trait::async_trait;
use data::ledger::{Ledger, Redrive};
use serde::Deserialize;

use super::{Act, Allowed, Context, Done};

/// Makes the dead letters of a destination due again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RedriveDeliveries {
    destination: String,
    /// So many at most.
    #[serde(default = "thousand")]
    deliveries: u32,
}

/// Sends nothing to a destination any more; what is meant for it waits.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PauseDestination {
    destination: String,
    #[serde(default = "a_playbook")]
    reason: String,
}

/// Lets a paused destination go on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResumeDestination {
    destination: String,
}

#[async_trait]
impl Act for RedriveDeliveries {
    fn target(&self) -> String {
        target(&self.destination)
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        if self.deliveries == 0 {
            return Err("`deliveries` must be at least 1".to_owned());
        }
        named(&self.destination)
    }

    async fn act(&self, context: &Context) -> Result<Done, String> {
        let destination = Some(self.destination.clone());
        let which = Redrive { destination, limit: self.deliveries, ..Redrive::default() };
        let n = ledger(context)?.redrive(&which, context.now).await.map_err(told)?;
        match n {
            0 => Err(format!("`{}` has no dead letters", self.destination)),
            n => Ok(Done::new(format!("{n} dead letters are due again"))),
        }
    }
}

#[async_trait]
impl Act for PauseDestination {
    fn target(&self) -> String {
        target(&self.destination)
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        named(&self.destination)
    }

    async fn act(&self, context: &Context) -> Result<Done, String> {
        pause(context, &self.destination, Some(&self.reason)).await?;
        Ok(Done::new("nothing is sent there; what is meant for it waits"))
    }
}

#[async_trait]
impl Act for ResumeDestination {
    fn target(&self) -> String {
        target(&self.destination)
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        named(&self.destination)
    }

    async fn act(&self, context: &Context) -> Result<Done, String> {
        pause(context, &self.destination, None).await?;
        Ok(Done::new("what waited is sent"))
    }
}

async fn pause(context: &Context, name: &str, why: Option<&str>) -> Result<(), String> {
    match ledger(context)?.pause_destination(name, why, context.now).await.map_err(told)? {
        true => Ok(()),
        false => Err(format!("there is no destination `{name}`")),
    }
}

fn ledger(context: &Context) -> Result<&Ledger, String> {
    context.ledger.as_deref().ok_or_else(|| "there is no ledger here".to_owned())
}

fn told(error: data::Error) -> String {
    error.to_string()
}

fn named(destination: &str) -> Result<(), String> {
    match destination.trim().is_empty() {
        true => Err("`destination` is empty".to_owned()),
        false => Ok(()),
    }
}

fn target(destination: &str) -> String {
    format!("destination:{destination}")
}

fn thousand() -> u32 {
    1_000
}

fn a_playbook() -> String {
    "a playbook paused it".to_owned()
}
