use arrow::{array::AsArray, datatypes::Float64Type};
use datafusion::prelude::SessionContext;

use super::*;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_000_000 + second, 0).unwrap()
}

#[test]
fn a_window_takes_the_place_of_the_last_30_days() {
    let at = |hour: i64| DateTime::from_timestamp(hour * 3_600, 0).unwrap();
    for kpi in ALL {
        let question = kpi.over(at(1), at(2));
        assert!(!question.contains("now()") && !question.contains("30 days"), "{question}");
        assert!(question.contains("1970-01-01T01:00:00.000000Z"), "{question}");
    }
}

/// A critical time of an incident of a component, from one second to another, or still.
type Bad = (&'static str, &'static str, i64, Option<i64>);

/// How the component `web` looked from one second to another, every ten.
type Looks = (i64, i64, &'static str);

fn time(second: Option<i64>) -> String {
    let Some(second) = second else { return "cast(null as timestamp)".to_owned() };
    format!("timestamp '{}'", at(second).to_rfc3339_opts(SecondsFormat::Micros, true))
}

/// A table of rows, which has one that belongs to no window.
fn table(name: &str, columns: &str, nothing: &str, rows: &[String]) -> String {
    let rows: Vec<_> = [nothing.to_owned()].into_iter().chain(rows.iter().cloned()).collect();
    let rows: Vec<_> = rows.iter().map(|row| format!("({row})")).collect();
    let values = rows.join(", ");
    format!("create table {name} as select * from (values {values}) as it({columns})")
}

/// The first row's numbers of a metric over the first 900 seconds.
async fn numbers(name: &str, columns: &str, looks: &[Looks], bad: &[Bad]) -> Vec<Option<f64>> {
    let every_ten = |(from, to, state): &Looks| {
        let row = |n: i64| format!("{}, 'web', '{state}'", time(Some(n)));
        (*from..*to).step_by(10).map(row).collect::<Vec<_>>()
    };
    let looks: Vec<_> = looks.iter().flat_map(every_ten).collect();
    let spell = |(n, (id, component, from, to)): (usize, &Bad)| {
        let from = time(Some(*from));
        format!("'{id}', '{component}', {n}, '{id}', 'critical', {from}, {from}, {}", time(*to))
    };
    let spells: Vec<_> = bad.iter().enumerate().map(spell).collect();
    let long_ago = time(Some(-900_000));
    let nothing = format!("'', '', 0, '', 'info', {long_ago}, {long_ago}, {long_ago}");
    let columns_of_spells =
        "incident_id, component, number, kind, severity, started_at, opened_at, ended_at";
    let context = SessionContext::new();
    for statement in [
        table("health", "ts, component, state", &format!("{long_ago}, '', 'healthy'"), &looks),
        table("spell", columns_of_spells, &nothing, &spells),
        "create view incident_spell as select * from spell".to_owned(),
        "create view incident as select distinct incident_id, component, \
         cast(null as varchar) as merged_into, cast(null as timestamp) as acknowledged_at from spell"
            .to_owned(),
        "create table component_criticality as select 'web' as component, 0.5 as criticality"
            .to_owned(),
    ] {
        context.sql(&statement).await.unwrap().collect().await.unwrap();
    }
    let kpi = ALL.iter().find(|it| it.name == name).unwrap();
    let columns: Vec<_> =
        columns.split(' ').map(|it| format!("cast({it} as double) as {it}")).collect();
    let question = format!("select {} from ({})", columns.join(", "), kpi.over(at(0), at(900)));
    let batches = context.sql(&question).await.unwrap().collect().await.unwrap();
    let row = batches.iter().find(|batch| batch.num_rows() > 0).unwrap();
    row.columns().iter().map(|it| it.as_primitive::<Float64Type>().iter().next().unwrap()).collect()
}

/// Uptime, seconds down, and watched.
#[track_caller]
fn uptime(looks: &[Looks], bad: &[Bad], expected: (Option<f64>, f64, f64)) {
    let found = numbers("uptime", "uptime down_s watched_s", looks, bad);
    let found = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(found);
    assert_eq!(found, [expected.0, Some(expected.1), Some(expected.2)]);
}

#[test]
fn what_was_never_measured_was_not_up() {
    uptime(&[(0, 900, "unknown")], &[], (None, 0.0, 0.0));
    uptime(&[], &[], (None, 0.0, 0.0));
    uptime(&[(0, 450, "unknown"), (450, 900, "healthy")], &[], (Some(1.0), 0.0, 450.0));
    // What an incident says is known.
    uptime(&[(0, 900, "unknown")], &[("a", "web", 100, Some(190))], (Some(0.0), 90.0, 90.0));
}

#[test]
fn an_incident_that_came_back_was_not_bad_in_between() {
    let twice = [("a", "web", 100, Some(116)), ("a", "web", 400, Some(416))];
    uptime(&[(0, 900, "healthy")], &twice, (Some(1.0 - 32.0 / 900.0), 32.0, 900.0));
}

#[test]
fn incidents_at_the_same_time_count_once() {
    let both = [("a", "web", 100, Some(250)), ("b", "db", 200, Some(325))];
    uptime(&[(0, 900, "healthy")], &both, (Some(0.75), 225.0, 900.0));
}

#[test]
fn only_watched_time_counts() {
    // It stopped for a quarter of an hour with an open incident: each look stands for twice as long as
    // is usual at most.
    let stopped = [(0, 50, "unhealthy"), (800, 900, "unhealthy")];
    uptime(&stopped, &[("a", "web", 10, None)], (Some(1.0 - 150.0 / 160.0), 150.0, 160.0));
}

#[test]
fn a_clock_that_was_set_back_makes_no_time() {
    let back = [("a", "web", 500, Some(-300)), ("b", "web", 600, Some(600))];
    uptime(&[(0, 900, "healthy")], &back, (Some(1.0), 0.0, 900.0));
}

#[tokio::test]
async fn only_watched_time_hurts_anybody() {
    let stopped = [(0, 50, "unhealthy"), (800, 900, "unhealthy")];
    let both = [("a", "web", 10, None), ("b", "web", 20, Some(40))];
    let hurt = |looks: Vec<Looks>, bad: Vec<Bad>| async move {
        numbers("impact", "incidents minutes user_minutes", &looks, &bad).await
    };
    assert_eq!(hurt(stopped.to_vec(), both.to_vec()).await, [Some(2.0), Some(2.5), Some(1.25)]);
    assert_eq!(hurt(vec![], both.to_vec()).await, [Some(2.0), None, None]);
    let unwatched = vec![("a", "web", 200, Some(300))];
    assert_eq!(hurt(stopped.to_vec(), unwatched).await, [Some(1.0), None, None]);
}

#[tokio::test]
async fn each_time_that_an_incident_lasted_counts_by_itself() {
    let looks = [(0, 900, "healthy")];
    let twice = [("a", "web", 100, Some(116)), ("a", "web", 400, Some(416))];
    let found = numbers("response", "incidents times resolved resolve_s", &looks, &twice).await;
    assert_eq!(found, [Some(1.0), Some(2.0), Some(2.0), Some(16.0)]);
}
