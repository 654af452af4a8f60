//! Accuracy is published: forecasts are issued, time passes, what came is held against them, and all
//! can see how good they were. A model that loses gives way, and that can be seen, too.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use data::{Point, Series};
use ingest::Request;
use serde_json::Value;
use serve::{
    forecast::{self, score},
    state::State,
    tasks::Tasks,
};
use tests::opened;

const SETTINGS: &str = "
    [[health.component]]
    name = 'shop'
    [[health.component.check]]
    metric = 'shop.load'
    warning = 5
    critical = 9
";

const STEP: TimeDelta = TimeDelta::minutes(5);

/// Steps of an hour, and of a day.
const HOUR: i64 = 12;
const DAY: i64 = 24 * HOUR;

/// A number from 0 to 1 that looks like chance.
fn chance(n: i64) -> f64 {
    let mixed = (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

/// Two days of chance; after that each day is exactly as the one before, which nobody but the
/// seasonal naive method would bet on.
fn load(n: i64) -> f64 {
    chance(if n < 2 * DAY { n } else { DAY + n % DAY })
}

async fn write(state: &State, steps: std::ops::Range<i64>, start: DateTime<Utc>) {
    let at = |n: i64| start + STEP * i32::try_from(n).unwrap();
    let series = Arc::new(Series::new("shop.load", Some("shop".to_owned()), None, vec![]));
    let point = |n: i64| Point {
        series: Arc::clone(&series),
        ts: at(n).timestamp_micros(),
        value: load(n),
    };
    let request = Request { points: steps.clone().map(point).collect(), ..Request::default() };
    let receipt = state.ingest.write(request, "tenant", at(steps.end - 1)).await.unwrap();
    assert_eq!(receipt.refused.len(), 0);
}

fn of<'a>(all: &'a Value, model: &str) -> &'a Value {
    let found = all.as_array().unwrap().iter().find(|it| it["model"] == model);
    found.unwrap_or_else(|| panic!("no {model} in {all:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn forecasts_are_scored_when_the_truth_is_known_and_what_loses_gives_way() {
    let home = tempfile::tempdir().unwrap();
    let tasks = Tasks::default();
    let state = opened::open(home.path(), SETTINGS, &tasks).await;

    // Hours of the test end now: demotion looks at the last two weeks.
    let now = DateTime::from_timestamp(Utc::now().timestamp() / 3_600 * 3_600, 0).unwrap();
    let (first, rounds, last) = (2 * 24, 13, 2 * 24 + 21);
    let start = now - TimeDelta::hours(last + 1);
    let at = |hour: i64| start + TimeDelta::hours(hour);
    write(&state, 0..first * HOUR, start).await;
    for hour in first..last {
        if hour < first + rounds {
            let said = forecast::issue(&state, at(hour)).await.unwrap();
            assert!(said.contains(" forecasts, "), "{said}");
        }
        write(&state, hour * HOUR..(hour + 1) * HOUR, start).await;
        score::score(&state, at(hour + 1)).await.unwrap();
    }

    let client = opened::serve(&state).await;
    let view = "select model, forecasts, mase, crps, coverage_80, coverage_95 from \
                forecast_accuracy where metric = 'shop.load' and horizon = '6h' order by model";
    let rows = client.rows(view).await.unwrap();
    let names: Vec<_> = rows.iter().map(|row| (&*row[0], &*row[1])).collect();
    assert_eq!(names, [("ensemble", "13"), (score::REFERENCE, "13")], "{rows:?}");
    assert!(rows[0][2..].iter().all(|it| it.parse::<f64>().is_ok_and(f64::is_finite)), "{rows:?}");
    assert_eq!(rows[1][2].parse(), Ok(0.0), "each day was as the one before: {rows:?}");

    let ask = async |path: &str| -> Value {
        client.get(path).await.unwrap().success().unwrap().json().unwrap()
    };
    let path = "/api/v1/forecasts/accuracy?metric=shop.load&horizon=6h";
    for by in ["", "&by=series"] {
        let published = ask(&format!("{path}{by}")).await;
        let own = of(&published["accuracy"], "ensemble");
        assert_eq!(own["forecasts"], 13, "{own:#}");
        assert!(own["mase"].as_f64().unwrap() > 0.0 && own["crps"].is_number(), "{own:#}");
        assert_eq!(own["series"].is_null(), by.is_empty());
        let demoted = of(&published["demoted"], "ensemble");
        assert_eq!(demoted["reference_mase"], 0.0, "{demoted:#}");
    }

    // What is foreseen next is what the seasonal naive method says; the other is tried on.
    forecast::issue(&state, at(last)).await.unwrap();
    let path = "/api/v1/predictions/health?component=shop&horizon=6h";
    let predicted = ask(path).await;
    let all = &predicted["components"][0]["predictions"];
    assert_eq!(of(all, "seasonal naive")["metric"], "shop.load", "{all:#}");
    let tried = "select count(distinct issued_at) from forecasts where horizon = '6h' and \
                 model = 'ensemble (demoted)'";
    assert_eq!(client.numbers(tried).await.unwrap(), [1.0]);
    tasks.drain().await;
}
