//! Hosts of which one does something else than the others, though it used to do the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use analytics::outlier::{self, MEMBERS_MIN};
use chrono::{DateTime, TimeDelta, Utc};

use super::follow::{Event, Followed, RECENT, Steps, What, Who};

/// Steps that must have been compared before anything is told.
const LEARNING: u32 = 128;

/// Of the latest steps, so many must be outside, and the last ones in a row.
const OUTSIDE: (usize, usize) = (9, 3);

/// Who was outside for more than this share of the time is always so.
const USUAL: f32 = 0.05;

/// About how many steps are remembered of that: a day of five minutes.
const MEMORY: f32 = 288.0;

/// What members of a group have in common: all but the host.
fn key(who: &Who) -> Option<(String, Option<String>, BTreeMap<String, String>)> {
    who.host.as_ref()?;
    Some((who.metric.clone(), who.service.clone(), who.labels.clone()))
}

fn groups<'a>(all: impl Iterator<Item = &'a Followed>) -> Vec<Vec<i64>> {
    let mut groups: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    for it in all {
        if let Some(key) = key(&it.who) {
            groups.entry(key).or_default().push(it.who.series);
        }
    }
    groups.into_values().filter(|it| it.len() >= MEMBERS_MIN).collect()
}

fn remember(it: &mut Followed, outside: bool) {
    let (share, n) = &mut it.odd;
    *n = n.saturating_add(1);
    *share += (f32::from(u8::from(outside)) - *share) / (*n as f32).min(MEMORY);
}

/// How series that were just learnt stood to each other in the past. Counters are compared by their
/// growth, of which the history knows nothing; they are compared from now on.
pub(super) fn learn(all: &mut HashMap<i64, Followed>, ids: &[i64], steps: &[Steps]) {
    let fresh = ids.iter().filter_map(|id| all.get(id)).filter(|it| !it.is_counter);
    for group in groups(fresh) {
        let members = group.iter().map(|id| steps.iter().find(|it| it.series == *id));
        let points: Vec<BTreeMap<i64, f64>> = members
            .map(|it| it.map_or_else(BTreeMap::new, |it| it.points.iter().copied().collect()))
            .collect();
        let times: BTreeSet<i64> = points.iter().flat_map(|it| it.keys().copied()).collect();
        let rows: Vec<Vec<f64>> = points
            .iter()
            .map(|it| times.iter().map(|at| it.get(at).copied().unwrap_or(f64::NAN)).collect())
            .collect();
        let rows: Vec<_> = rows.iter().map(Vec::as_slice).collect();
        let Some(found) = outlier::of(&rows) else { continue };
        for (id, outside) in group.iter().zip(&found.outside) {
            if let Some(it) = all.get_mut(id) {
                outside.iter().for_each(|outside| remember(it, *outside));
            }
        }
    }
}

/// Who has begun to do something else, over the latest steps up to `to`.
pub(super) fn odd(
    all: &mut HashMap<i64, Followed>,
    to: DateTime<Utc>,
    step: TimeDelta,
) -> Vec<Event> {
    let width = step.num_microseconds().unwrap_or(i64::MAX).max(1);
    let last = to.timestamp_micros().saturating_sub(width);
    let times: Vec<i64> =
        (0..RECENT as i64).rev().map(|n| last.saturating_sub(n.saturating_mul(width))).collect();
    let mut events = vec![];
    for group in groups(all.values()) {
        let row = |id: &i64| -> Vec<f64> {
            let recent = all.get(id).map(|it| &it.recent);
            let at = |at: &i64| recent?.iter().find(|it| it.0 == *at).map(|it| it.1);
            times.iter().map(|it| at(it).unwrap_or(f64::NAN)).collect()
        };
        let rows: Vec<_> = group.iter().map(row).collect();
        let rows: Vec<_> = rows.iter().map(Vec::as_slice).collect();
        let Some(found) = outlier::of(&rows) else { continue };
        for (n, id) in group.iter().enumerate() {
            let Some(it) = all.get_mut(id) else { continue };
            let outside = &found.outside[n];
            let was_usual = it.odd.0 < USUAL && it.odd.1 >= LEARNING;
            let n_outside = outside.iter().filter(|it| **it).count();
            let is_now = outside.iter().rev().take(OUTSIDE.1).all(|it| *it);
            remember(it, outside.last().copied().unwrap_or(false));
            if it.is_odd {
                it.is_odd = n_outside > OUTSIDE.1;
                continue;
            }
            // Its share rises while it is outside, so it is held against what it was when it began.
            let share = USUAL + OUTSIDE.0 as f32 / MEMORY;
            let is_told = n_outside >= OUTSIDE.0 && is_now && (was_usual || it.odd.0 < share);
            let (Some(usual), Some(value)) =
                (found.usual.last().copied().flatten(), rows[n].last())
            else {
                continue;
            };
            if is_told && it.odd.1 >= LEARNING {
                it.is_odd = true;
                let (who, value) = (it.who.clone(), *value);
                let what = What::Outlier { who, value, usual, n_members: group.len() };
                events.push(Event { at: last, what });
            }
        }
    }
    events
}
