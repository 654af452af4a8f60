//! Hour by hour: where what is checked is heading, what was usual in the hour that is over, which levels
//! changed, how likely limits are reached and how objectives stand.
//!
//! What is said rests on what was known
//! then and is written once.

mod changes;
mod rows;

use std::{collections::BTreeSet, time::Instant};

use analytics::forecast::{self, Tz};
use arrow::array::RecordBatch;
use chrono::{DateTime, TimeDelta, Utc};
use data::Table;

use super::{
    baseline::{self, Hour},
    slo,
    trend::{self, Course, Heading, Window},
};
use crate::{
    config::{Check, Component},
    forecast::SCORE,
    state::State,
};

/// What the lake calls the positions of this work.
const TASK: &str = "hourly";

/// How far back a trend looks.
const WINDOW: TimeDelta = TimeDelta::hours(24);

const HOUR: TimeDelta = TimeDelta::hours(1);

/// Where one thing was heading.
#[derive(Clone, Debug)]
struct Said<'a> {
    component: &'a Component,
    /// None for the health score of the component.
    check: Option<&'a Check>,
    heading: Heading,
}

impl Said<'_> {
    fn course(&self) -> Course<'_> {
        self.check.map_or(Course::Score(self.component), Course::Check)
    }

    fn metric(&self) -> &str {
        self.check.map_or(SCORE, |check| &check.metric)
    }

    /// The labels that its series must have.
    fn labels(&self) -> Vec<(String, String)> {
        let labels = self.check.map(|check| &check.labels);
        labels.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

/// What is kept.
const TABLES: [Table; 4] = [Table::Trends, Table::Baselines, Table::Risks, Table::Objectives];

/// One look.
#[derive(Clone, Copy)]
struct Look<'a> {
    state: &'a State,
    now: DateTime<Utc>,
    /// When the hour of `now` began.
    hour: DateTime<Utc>,
    /// No further component is looked at after this.
    until: Instant,
}

/// Looks once in every hour, however many processes share the lake.
///
/// # Errors
/// When lake or ledger cannot be read or written; the next call tries again.
pub async fn look(state: &State, now: DateTime<Utc>) -> anyhow::Result<String> {
    let zone = state.config.forecast.zone();
    let hour = hour_of(now, forecast::ahead_us(zone, now.timestamp_micros()));
    let position = hour.timestamp_micros();
    let is_due = |table: &Table| state.lake.snapshot(*table).txn(TASK) < position;
    let due: Vec<_> = TABLES.into_iter().filter(is_due).collect();
    if due.is_empty() {
        return Ok("this hour is done".to_owned());
    }
    if !super::acts(state, now).await? {
        return Ok(super::ELSEWHERE.to_owned());
    }
    let until = Instant::now() + state.config.foresight.budget.0;
    let look = Look { state, now, hour, until };
    let mut said = vec![];
    for table in due {
        let kept = match table {
            Table::Trends => look.trends().await?,
            Table::Baselines => look.baselines(zone).await?,
            Table::Risks => look.risks().await?,
            _ => look.objectives().await?,
        };
        said.push(format!("{kept} {table}"));
    }
    Ok(said.join(", "))
}

impl Look<'_> {
    /// Keeps rows, unless another process has; whether it was us. Where there are none yet, they are
    /// waited for.
    async fn keep(self, table: Table, rows: RecordBatch) -> anyhow::Result<bool> {
        if rows.num_rows() == 0 {
            return Ok(false);
        }
        let position = (TASK, self.hour.timestamp_micros());
        Ok(self.state.ingest.append_once(table, rows, position, self.now).await?)
    }

    /// Where components and checks are heading, and which levels changed.
    async fn trends(self) -> anyhow::Result<usize> {
        let Self { state, now, .. } = self;
        let components = in_turn(&state.config.health.component, self.hour);
        let said = headings(state, &components, Window::new(now - WINDOW, now), self.until).await?;
        if self.keep(Table::Trends, rows::trends(&said, now, WINDOW)?).await? {
            changes::tell(state, &said, now).await?;
        }
        Ok(said.len())
    }

    /// The hour that is over.
    async fn baselines(self, zone: Tz) -> anyhow::Result<usize> {
        let (state, begun) = (self.state, self.hour - HOUR);
        let components = in_turn(&state.config.health.component, self.hour);
        let hours = hours(state, &components, begun, self.until).await?;
        self.keep(Table::Baselines, rows::baselines(&hours, begun, zone)?).await?;
        Ok(hours.len())
    }

    /// Risks as they were assessed last.
    async fn risks(self) -> anyhow::Result<usize> {
        let all = self.state.ledger.risks().await?;
        self.keep(Table::Risks, rows::risks(&all, self.now)?).await?;
        Ok(all.len())
    }

    /// How objectives stand.
    async fn objectives(self) -> anyhow::Result<usize> {
        let mut all = vec![];
        for it in &self.state.config.slo {
            all.push((it, slo::stand(self.state, it, self.now).await?));
        }
        self.keep(Table::Objectives, rows::objectives(&all, self.now)?).await?;
        Ok(all.len())
    }
}

/// The start of the hour that `now` is in, on a clock that is so far ahead of UTC.
fn hour_of(now: DateTime<Utc>, ahead_us: i64) -> DateTime<Utc> {
    let hour_us = 3_600_000_000;
    let wall = now.timestamp_micros() + ahead_us;
    DateTime::from_timestamp_micros(wall.div_euclid(hour_us) * hour_us - ahead_us).unwrap_or(now)
}

/// All components, each hour another one first, so that a small budget starves nobody.
fn in_turn(all: &[Component], hour: DateTime<Utc>) -> Vec<&Component> {
    let hours = hour.timestamp().div_euclid(3_600);
    let first = hours.rem_euclid(all.len().max(1) as i64) as usize;
    all[first.min(all.len())..].iter().chain(&all[..first.min(all.len())]).collect()
}

async fn headings<'a>(
    state: &State,
    components: &[&'a Component],
    window: Window,
    until: Instant,
) -> anyhow::Result<Vec<Said<'a>>> {
    let mut all = vec![];
    for component in components {
        if Instant::now() >= until {
            break;
        }
        let courses = component.check.iter().map(Some);
        for check in [None].into_iter().chain(courses) {
            let course = check.map_or(Course::Score(component), Course::Check);
            let heading = trend::of_course(state, course, window).await?;
            all.push(Said { component, check, heading });
        }
    }
    Ok(all)
}

/// The hour from `begun` on of every series that is checked, each once.
async fn hours(
    state: &State,
    components: &[&Component],
    begun: DateTime<Utc>,
    until: Instant,
) -> anyhow::Result<Vec<Hour>> {
    let (mut all, mut seen) = (vec![], BTreeSet::new());
    for check in components.iter().flat_map(|component| &component.check) {
        if Instant::now() >= until {
            break;
        }
        if seen.insert((&check.metric, &check.labels)) {
            all.extend(baseline::hour(state, check, begun, state.config.forecast.zone()).await?);
        }
    }
    all.sort_by(|a, b| (&a.of.metric, a.of.series).cmp(&(&b.of.metric, b.of.series)));
    all.dedup_by_key(|it| it.of.series);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_one_on_the_wall() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let now = at("2026-03-09T14:40:00Z");
        assert_eq!(hour_of(now, 0), at("2026-03-09T14:00:00Z"));
        let half_past = 5 * 3_600_000_000 + 1_800_000_000;
        assert_eq!(hour_of(now, half_past), at("2026-03-09T14:30:00Z"));
    }

    #[test]
    fn each_component_is_the_first_in_its_turn() {
        let component = |name: &str| toml::from_str(&format!("name = {name:?}")).unwrap();
        let all: Vec<Component> = ["a", "b", "c"].map(component).into();
        let names = |hour: i32| {
            in_turn(&all, DateTime::UNIX_EPOCH + HOUR * hour)
                .iter()
                .map(|it| &*it.name)
                .collect::<String>()
        };
        assert_eq!([names(0), names(1), names(2), names(3)], ["abc", "bca", "cab", "abc"]);
        assert_eq!(in_turn(&[], DateTime::UNIX_EPOCH).len(), 0);
    }
}
