//! Trends, baselines and changes of level are kept every hour, and everybody can read them.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use data::{Point, Series};
use ingest::Request;
use serde_json::{Value, json};
use serve::{
    foresight::{hourly, risk},
    state::State,
    tasks::Tasks,
};
use tests::{client::Client, opened};

const SETTINGS: &str = "
    [[health.component]]
    name = 'shop'
    [[health.component.check]]
    metric = 'shop.backlog'
    labels = { host = 'a' }
    warning = 80
    critical = 200
    [[health.component.check]]
    metric = 'shop.level'
    warning = 80
    critical = 100
    [[health.component.check]]
    metric = 'shop.missing'
    warning = 1
    critical = 2
    [[slo]]
    name = 'the level is kept'
    component = 'shop'
    objective = 0.99
    events = { metric = 'shop.level' }
    at_most = 30.0
";

const QUARTER: TimeDelta = TimeDelta::minutes(15);

/// Quarters of an hour of four weeks and a day.
const PAST: i64 = 29 * 96;

fn noise(n: i64) -> f64 {
    ((n as f64 * 12.9898).sin() * 43_758.547).fract()
}

/// Five, with some noise; in the last day one more every hour.
fn backlog(n: i64) -> f64 {
    5.0 + 0.1 * noise(n) + (n - PAST + 96).max(0) as f64 / 4.0
}

/// Another level since ten hours.
fn level(n: i64) -> f64 {
    noise(n) + if n >= PAST - 40 { 40.0 } else { 20.0 }
}

/// The quarters `steps`, in the middle of which is measured; quarter 0 begins at `start`.
async fn write(state: &State, steps: std::ops::Range<i64>, start: DateTime<Utc>) {
    let at = |n: i64| start + QUARTER * i32::try_from(n).unwrap() + QUARTER / 2;
    let series = |metric: &str| {
        Arc::new(Series::new(metric, Some("shop".to_owned()), Some("a".to_owned()), vec![]))
    };
    let (of_backlog, of_level) = (series("shop.backlog"), series("shop.level"));
    let points = steps.clone().flat_map(|n| {
        [(&of_backlog, backlog(n)), (&of_level, level(n))].map(|(series, value)| Point {
            series: Arc::clone(series),
            ts: at(n).timestamp_micros(),
            value,
        })
    });
    let request = Request { points: points.collect(), ..Request::default() };
    let receipt = state.ingest.write(request, "tenant", at(steps.end - 1)).await.unwrap();
    assert_eq!(receipt.refused.len(), 0);
}

async fn ask(client: &Client, path: &str) -> Vec<Value> {
    let answer: Value = client.get(path).await.unwrap().success().unwrap().json().unwrap();
    answer["items"].as_array().unwrap().clone()
}

/// The functions of SQL over the same points have the same answers.
async fn sql_says_what_the_loop_and_rest_say(client: &Client, now: DateTime<Utc>) {
    let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let (to, month) = (text(now), text(now - TimeDelta::days(28)));
    let objective = format!(
        "select s['state'], s['burn_6h'] = o.burn_6h, s['achieved'] = o.achieved from \
         (select slo(ts, case when value <= 30 then 1 else 0 end, 1, 0.99, timestamp '{to}') as s \
          from samples where metric = 'shop.level'), objectives as o"
    );
    assert_eq!(client.rows(&objective).await.unwrap(), [["critical", "true", "true"]]);
    let risk = format!(
        "select abs(r['probability'] - x.probability) < 1e-9 from \
         (select risk(ts, value, 200, '24 hours') as r from samples where metric = 'shop.backlog' \
          and ts > timestamp '{month}' and ts <= timestamp '{to}'), \
         risks as x where x.metric = 'shop.backlog' and x.horizon = '24h'"
    );
    assert_eq!(client.rows(&risk).await.unwrap(), [["true"]]);

    let from = text(now - TimeDelta::hours(12));
    let path = format!("/api/v1/explain?from={from}&to={to}");
    let said: Value = client.get(&path).await.unwrap().success().unwrap().json().unwrap();
    let causes = format!(
        "select c['member'], c['after'] from (select unnest(causes(ts, value, metric)) as c \
         from samples where ts > timestamp '{from}' and ts <= timestamp '{to}') order by 1"
    );
    let rows = client.rows(&causes).await.unwrap();
    let mut expected: Vec<_> = said["causes"].as_array().unwrap().iter().collect();
    expected.sort_by_key(|it| it["metric"].to_string());
    assert!(!expected.is_empty() && rows.len() == expected.len(), "{said:#} {rows:?}");
    for (row, it) in rows.iter().zip(expected) {
        assert_eq!(
            (&*row[0], row[1].parse().ok()),
            (it["metric"].as_str().unwrap(), it["after"].as_f64())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_every_hour_is_kept_once_and_can_be_read() {
    let (home, tasks) = (tempfile::tempdir().unwrap(), Tasks::default());
    let state = opened::open(home.path(), SETTINGS, &tasks).await;
    let client = opened::serve(&state).await;
    let hour = DateTime::from_timestamp(Utc::now().timestamp() / 3_600 * 3_600, 0).unwrap();
    let start = hour - QUARTER * i32::try_from(PAST).unwrap();
    write(&state, 0..PAST, start).await;

    let now = hour;
    risk::look(&state, now).await.unwrap();
    let said = hourly::look(&state, now).await.unwrap();
    assert_eq!(said, "4 trends, 2 baselines, 9 risks, 1 objectives");
    let again = hourly::look(&state, now + TimeDelta::minutes(20)).await.unwrap();
    assert_eq!(again, "this hour is done");

    let trends = "select metric, trend, reason, round(slope_per_hour, 1), \
                  critical_at > ts, critical_earliest_at <= critical_at from trends order by 1";
    let rows = client.rows(trends).await.unwrap();
    let names: Vec<_> = rows.iter().map(|row| (&*row[0], &*row[1])).collect();
    let expected = [
        ("health.score", "unknown"),
        ("shop.backlog", "degrading"),
        ("shop.level", "stable"),
        ("shop.missing", "unknown"),
    ];
    assert_eq!(names, expected);
    assert!(rows[0][2].contains("needs 10 points, found 0") && rows[1][2].is_empty(), "{rows:?}");
    assert_eq!(rows[1][3..], ["1.0", "true", "true"], "{rows:?}");
    // The hour that is over is usual by the four weeks before, whatever it was itself.
    let hours = "select metric, points, median between 4.9 and 5.1, observed > 25, \
                 hour_of_week, ts from baselines order by metric";
    let rows = client.rows(hours).await.unwrap();
    assert_eq!(rows[0][..4], ["shop.backlog", "16", "true", "true"], "{rows:?}");
    assert_eq!((rows.len(), &*rows[1][0]), (2, "shop.level"));

    // What REST says of risks and objectives now has a history, too.
    let risks = "select metric, count(*), count(probability), min(reason) from risks \
                 where component = 'shop' group by metric order by metric";
    let rows = client.rows(risks).await.unwrap();
    assert_eq!(rows[0][..3], ["shop.backlog", "3", "3"], "{rows:?}");
    assert_eq!(rows[2][..3], ["shop.missing", "3", "0"], "{rows:?}");
    assert!(rows[2][3].contains("no series of `shop.missing`"), "{rows:?}");
    let objectives = "select name, state, alert, burn_6h > 99, burn_30d > 1 from objectives";
    let rows = client.rows(objectives).await.unwrap();
    assert_eq!(rows, [["the level is kept", "critical", "critical", "true", "true"]]);
    sql_says_what_the_loop_and_rest_say(&client, now).await;

    // A list of each, over HTTP.
    let kept = ask(&client, "/api/v1/health/trends/history?metric=shop.backlog&trend=degrading");
    let kept = kept.await;
    assert_eq!((kept.len(), &kept[0]["labels"]), (1, &json!({"host": "a"})), "{kept:#?}");
    assert!(kept[0]["critical_at"].is_string() && kept[0]["p_value"].is_number(), "{kept:#?}");
    let kept = ask(&client, "/api/v1/baselines/history?metric=shop.level&host=a").await;
    assert_eq!((kept.len(), &kept[0]["points"]), (1, &json!(16)), "{kept:#?}");
    let kept = ask(&client, "/api/v1/predictions/risks/history?component=shop&horizon=6h").await;
    assert_eq!((kept.len(), &kept[2]["metric"]), (3, &json!("shop.missing")), "{kept:#?}");
    let kept = ask(&client, "/api/v1/slos/history?state=critical").await;
    assert_eq!((kept.len(), &kept[0]["alert"]), (1, &json!("critical")), "{kept:#?}");
    for (path, says) in [
        ("health/trends/history?trend=bad", "improving, stable"),
        ("baselines/history?component=shop", "it takes metric, host, service, from, to"),
        ("slos/history?limit=many", "no number of rows"),
    ] {
        let wrong = client.get(&format!("/api/v1/{path}")).await.unwrap();
        assert!(wrong.status == 400 && wrong.text.contains(says), "{path}: {}", wrong.text);
    }

    // An hour later there is one more of each; the change is known.
    write(&state, PAST..PAST + 4, start).await;
    let said = hourly::look(&state, now + TimeDelta::hours(1)).await.unwrap();
    assert_eq!(said, "4 trends, 2 baselines, 9 risks, 1 objectives");
    let counts = "select (select count(*) from trends) as a, (select count(*) from baselines) as b, \
                  (select count(distinct hour_of_week) from baselines) as c";
    assert_eq!(client.numbers(counts).await.unwrap(), [8.0, 4.0, 2.0]);
    let changes = ask(&client, "/api/v1/findings?kind=changepoint&metric=shop.level").await;
    let change = &changes[0];
    assert_eq!((changes.len(), &change["metric"]), (1, &json!("shop.level")), "{changes:#?}");
    let at: DateTime<Utc> = change["evidence"]["at"].as_str().unwrap().parse().unwrap();
    assert!((at - (hour - TimeDelta::hours(10))).num_minutes().abs() <= 30, "{change:#}");
    tasks.drain().await;
}
