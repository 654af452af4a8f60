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
use crate::state::State;

/// The rule of destinations.
const RULE: &str = "delivery";
/// How often they are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Starts the look.
pub(super) fn start(state: &State) {
    let looked = state.clone();
    state.tasks.every("destinations", EVERY, move |now| {
        let state = looked.clone();
        async move { look(&state, now).await }
    });
}

async fn look(state: &State, now: DateTime<Utc>) -> anyhow::Result<String> {
    let symptoms = state.ledger.open_symptoms().await?;
    let ours = symptoms.into_iter().filter(|it| it.rule == RULE && it.bad);
    let mut told: BTreeSet<String> = ours.map(|it| it.component).collect();
    let patience = delta(state.config.delivery.failing_after);
    let mut seen = vec![];
    for known in state.outbox.registry().all() {
        let was_told = told.remove(&known.row.name);
        match judge(&known.row, patience, now) {
            // What was never told needs no end.
            Verdict::Good if !was_told => (),
            Verdict::Unknown => (),
            verdict => seen.push(observation(&known.row.name, known.row.confirmed_at, verdict)),
        }
    }
    // What is left does not exist any more.
    seen.extend(told.iter().map(|name| observation(name, None, Verdict::Good)));
    let n = seen.iter().filter(|it| it.verdict != Verdict::Good).count();
    super::tell(state, &seen, now).await?;
    Ok(format!("{n} destinations fail"))
}

/// One that is paused is neither well nor ill: somebody said stop.
fn judge(row: &Destination, patience: TimeDelta, now: DateTime<Utc>) -> Verdict {
    let well_at = row.confirmed_at.unwrap_or(row.created_at);
    match row.failures {
        _ if row.paused.is_some() => Verdict::Unknown,
        0 => Verdict::Good,
        n if n >= FAILURES_MAX && now - well_at >= patience => Verdict::Bad(Severity::Warning),
        _ => Verdict::Unknown,
    }
}

fn observation(name: &str, well_at: Option<DateTime<Utc>>, verdict: Verdict) -> Observation {
    let since = well_at.map_or("anything yet".to_owned(), |at| {
        format!("anything since {}", at.format("%Y-%m-%dT%H:%M:%SZ"))
    });
    let labels = vec![("destination".to_owned(), name.to_owned())];
    Observation {
        rule: RULE.to_owned(),
        component: name.to_owned(),
        series: Series::new("delivery", None, None, labels).id(),
        kind: Kind::DestinationFailing,
        title: format!("destination {name} has not taken {since}; what is meant for it waits"),
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
        let paused = Destination { paused: Some((at(0), "moving".into())), ..row(9) };
        assert_eq!(check(&paused, 600), Verdict::Unknown);
    }
}
