//! What was said of risks against what came, and what is learnt from that.

use std::collections::BTreeMap;

use analytics::{
    observed::{self, Window},
    risk::{Calibrator, Limit, Scored, Side},
};
use chrono::{DateTime, Utc};
use data::ledger::RiskOutcome;

use super::{Asked, BUCKET_S, HORIZONS, key};
use crate::{
    config::{Aggregation, Check, Component},
    foresight::matching,
    state::State,
};

/// Said probabilities that are scored in one look.
const SCORED_MAX: u32 = 200;

/// What earlier probabilities came to, per horizon.
pub async fn calibrators(state: &State) -> anyhow::Result<BTreeMap<&'static str, Calibrator>> {
    let mut all = BTreeMap::new();
    for (name, _) in HORIZONS {
        let scored = state.ledger.scored_outcomes(name).await?;
        let scored = scored.iter().filter_map(|it| {
            let (simulated, climatology) = (it.simulated, it.climatology);
            Some(Scored { simulated, climatology, happened: it.happened? })
        });
        if let Some(calibrator) = Calibrator::fit(&scored.collect::<Vec<_>>()) {
            all.insert(name, calibrator);
        }
    }
    Ok(all)
}

/// Scores what is due: was the limit reached between then and then?
pub(super) async fn due(state: &State, now: DateTime<Utc>) -> anyhow::Result<usize> {
    let due = state.ledger.due_outcomes(now, SCORED_MAX).await?;
    for it in &due {
        let happened = happened(state, it).await?;
        state.ledger.score_outcome(it, happened, now).await?;
    }
    Ok(due.len())
}

/// The check that a key names, the series and the limit.
fn check_of<'a>(components: &'a [Component], wanted: &str) -> Option<(&'a Check, i64, Limit)> {
    let series = wanted.rsplit('|').nth(1)?.parse().ok()?;
    for component in components {
        for check in &component.check {
            let is_it = |it: &Asked| key(&component.name, check, series, it.limit) == wanted;
            if let Some(asked) = Asked::of(check).find(is_it) {
                return Some((check, series, asked.limit));
            }
        }
    }
    None
}

/// None when the check is gone or there were no points.
async fn happened(state: &State, it: &RiskOutcome) -> anyhow::Result<Option<bool>> {
    let found = check_of(&state.config.health.component, &it.key);
    let Some((check, series, limit)) = found else { return Ok(None) };
    let condition =
        Some(format!("{} and series = {series}", matching(&check.metric, &check.labels)));
    let aggregate = match limit.side {
        _ if check.aggregation == Aggregation::Mean => "avg(value)",
        _ if check.aggregation == Aggregation::Sum => "sum(value)",
        Side::Above => "max(value)",
        Side::Below => "min(value)",
    };
    let window =
        Window { from: it.issued_at, to: it.due_at, bucket_s: BUCKET_S, condition, aggregate };
    let all = observed::read(&state.engine, &window, 1).await?;
    let Some(observed) = all.first() else { return Ok(None) };
    let rate = (check.aggregation == Aggregation::Rate).then(|| observed.rate());
    let points = rate.as_ref().map_or(&observed.points, |rate| &rate.points);
    Ok(Some(points.iter().any(|(_, value)| limit.is_reached(*value))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_back_to_its_check() {
        let component = |text: &str| -> Component { toml::from_str(text).unwrap() };
        let check =
            "[[check]]\nmetric = 'a|b'\nwarning = 1\ncritical = 2.5\nforesee_warning = true";
        let all = [component(&format!("name = 'x|y'\n{check}")), component("name = 'x'")];
        for limit in [2.5, 1.0].map(Limit::above) {
            let name = key("x|y", &all[0].check[0], -7, limit);
            let (found, series, of) = check_of(&all, &name).unwrap();
            assert_eq!((&*found.metric, series, of), ("a|b", -7, limit));
        }
        assert!(check_of(&all, "x|y|a|b|-7|3").is_none(), "another limit");
        assert!(check_of(&all, "nonsense").is_none());
    }
}
