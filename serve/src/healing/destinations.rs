//! Destinations that take nothing, as observations: a trouble like any other, with an incident, a
//! playbook if there is one, and an end.

use std::{collections::BTreeSet, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use data::{Series, ledger::Destination};
use remediation::{
    delivery::breaker::FAILURES_MAX,
    kind::{Kind, Severity},
    symptom::{Hysteresis, Observation, Verdict},
};

use super::delta;
use crate::{clock, config::Notify, state::State};

/// The rule of destinations.
const RULE: &str = "delivery";
/// How often they are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Why a destination is a trouble.
#[derive(Clone, Debug, PartialEq)]
enum Trouble {
    /// It takes nothing.
    Fails,
    /// It is paused for long, since then and for this reason.
    Paused(DateTime<Utc>, String),
    /// Its settings cannot work.
    Broken(String),
    /// `[notify]` names it and there is none.
    Missing,
}

/// Starts the look.
pub(super) fn start(state: &State) {
    let (looked, started) = (state.clone(), clock::now());
    state.tasks.every("destinations", EVERY, move |now| {
        let state = looked.clone();
        async move { look(&state, started, now).await }
    });
}

async fn look(state: &State, started: DateTime<Utc>, now: DateTime<Utc>) -> anyhow::Result<String> {
    let symptoms = state.ledger.open_symptoms().await?;
    let ours = symptoms.into_iter().filter(|it| it.rule == RULE && it.bad);
    let mut told: BTreeSet<String> = ours.map(|it| it.component).collect();
    let patience = delta(state.config.delivery.failing_after);
    let paused_max = delta(state.config.delivery.paused_max);
    let all = state.outbox.registry().all();
    let mut seen = vec![];
    for known in &all {
        let name = &known.row.name;
        let was_told = told.remove(name);
        let (trouble, verdict) = match (&known.row.paused, &known.destination) {
            (Some((since, why)), _) => {
                (Trouble::Paused(*since, why.clone()), judge_pause(*since, paused_max, now))
            }
            (None, Err(wrong)) => {
                (Trouble::Broken(wrong.to_string()), Verdict::Bad(Severity::Warning))
            }
            (None, Ok(_)) => (Trouble::Fails, judge(&known.row, patience, now)),
        };
        match verdict {
            // What was never told needs no end.
            Verdict::Good if !was_told => (),
            Verdict::Unknown => (),
            verdict => seen.push(observation(name, &trouble, known.row.confirmed_at, verdict)),
        }
    }
    // Whoever starts us may be about to make it.
    if now - started >= patience {
        let is_there = |name: &str| all.iter().any(|it| it.row.name == name);
        for name in missing(&state.config.notify, is_there) {
            told.remove(name);
            seen.push(observation(name, &Trouble::Missing, None, Verdict::Bad(Severity::Warning)));
        }
    }
    // What is left does not exist any more.
    let over = |name: &String| observation(name, &Trouble::Fails, None, Verdict::Good);
    seen.extend(told.iter().map(over));
    let n = seen.iter().filter(|it| it.verdict != Verdict::Good).count();
    super::tell(state, &seen, now).await?;
    Ok(format!("{n} destinations fail"))
}

/// Destinations that `[notify]` names and that there are none of, each once.
fn missing(notify: &Notify, is_there: impl Fn(&str) -> bool) -> BTreeSet<&str> {
    notify.named().into_iter().filter(|name| !is_there(name)).collect()
}

/// One that is paused is neither well nor ill: somebody said stop. But a pause may be forgotten.
fn judge_pause(since: DateTime<Utc>, paused_max: TimeDelta, now: DateTime<Utc>) -> Verdict {
    match now - since >= paused_max {
        true => Verdict::Bad(Severity::Warning),
        false => Verdict::Unknown,
    }
}

/// One that was tried often enough for long enough fails.
fn judge(row: &Destination, patience: TimeDelta, now: DateTime<Utc>) -> Verdict {
    let well_at = row.confirmed_at.unwrap_or(row.created_at);
    match row.failures {
        0 => Verdict::Good,
        n if n >= FAILURES_MAX && now - well_at >= patience => Verdict::Bad(Severity::Warning),
        _ => Verdict::Unknown,
    }
}

fn observation(
    name: &str,
    trouble: &Trouble,
    well_at: Option<DateTime<Utc>>,
    verdict: Verdict,
) -> Observation {
    let since = well_at.map_or("anything yet".to_owned(), |at| {
        format!("anything since {}", at.format("%Y-%m-%dT%H:%M:%SZ"))
    });
    let title = match trouble {
        Trouble::Fails => {
            format!("destination {name} has not taken {since}; what is meant for it waits")
        }
        Trouble::Paused(at, why) => format!(
            "destination {name} is paused since {} ({why}); resume it, or remove it: what is meant for it waits",
            at.format("%Y-%m-%dT%H:%M:%SZ")
        ),
        Trouble::Broken(why) => format!("destination {name} cannot work: {why}; mend its settings"),
        Trouble::Missing => format!(
            "`[notify]` names {name}, which is no destination; make it, or correct the name: what is meant \
             for it waits"
        ),
    };
    let labels = vec![("destination".to_owned(), name.to_owned())];
    Observation {
        rule: RULE.to_owned(),
        component: name.to_owned(),
        series: Series::new("delivery", None, None, labels).id(),
        kind: Kind::DestinationFailing,
        title,
        metric: None,
        labels: serde_json::json!({ "destination": name }).to_string(),
        verdict,
        observed: None,
        expected: None,
        score: None,
        // It was tried often enough.
        hysteresis: Hysteresis::NONE,
        expires_at: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_fails_once_it_was_tried_often_enough_for_long_enough() {
        let at = |s: i64| DateTime::from_timestamp(1_700_000_000 + s, 0).unwrap();
        let row = |failures| Destination {
            name: "chat".into(),
            kind: "webhook".into(),
            tenant: None,
            origin: "api".into(),
            settings: String::new(),
            signing: String::new(),
            created_at: at(0),
            paused: None,
            failures,
            open_until: None,
            confirmed_at: None,
            failed_at: None,
        };
        let check = |row: &Destination, s| judge(row, TimeDelta::minutes(1), at(s));
        assert_eq!(check(&row(0), 600), Verdict::Good);
        assert_eq!(check(&row(4), 600), Verdict::Unknown);
        assert_eq!(check(&row(5), 59), Verdict::Unknown);
        assert_eq!(check(&row(5), 60), Verdict::Bad(Severity::Warning));
        let lately = Destination { confirmed_at: Some(at(590)), ..row(5) };
        assert_eq!(check(&lately, 600), Verdict::Unknown);
        let paused = |s| judge_pause(at(0), TimeDelta::days(1), at(s));
        assert_eq!(paused(86_399), Verdict::Unknown, "somebody said stop");
        assert_eq!(paused(86_400), Verdict::Bad(Severity::Warning), "and forgot it");
    }

    #[test]
    fn a_destination_that_is_named_and_does_not_exist_is_told_once() {
        let notify = Notify {
            to: vec!["chat".into(), "chta".into()],
            fallback: vec!["chta".into(), "mail".into()],
            ..Notify::default()
        };
        let missing = |there: &[&str]| -> Vec<String> {
            let all = missing(&notify, |name| there.contains(&name));
            all.into_iter().map(str::to_owned).collect()
        };
        assert_eq!(missing(&["chat", "mail"]), ["chta"]);
        assert_eq!(missing(&["chat", "chta", "mail"]), Vec::<String>::new());
        let it = observation("chta", &Trouble::Missing, None, Verdict::Bad(Severity::Warning));
        assert!(it.title.contains("names chta, which is no destination; make it"), "{}", it.title);
        let same = observation("chta", &Trouble::Fails, None, Verdict::Good);
        assert_eq!(it.symptom_id(), same.symptom_id(), "it ends what it began");
    }
}
