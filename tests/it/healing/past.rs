//! What is replayed is what would have been seen: the short trouble of long ago, and each check as a look at
//! that time had found it.

use std::sync::Arc;

use analytics::{Engine, Limits};
use chrono::{DateTime, TimeDelta};
use data::recent::Nothing;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use serve::{
    config::{Config, Flags},
    health::{self, Past},
    offline::Offline,
};

use super::{replay::pipenotify, *};

/// Samples of one request.
const BATCH: usize = 5_000;

/// A home whose lake has these samples, and in which nothing runs any more.
async fn written(settings: &str, samples: &[Value]) -> Home {
    let home = Home::new().unwrap().with_settings(settings);
    let process = home.start().await.unwrap();
    for part in samples.chunks(BATCH) {
        home.client().write_json(&json!({"samples": part})).await.unwrap().success().unwrap();
    }
    assert!(process.stop().await.unwrap().success());
    home
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trouble_of_a_minute_is_found_days_later() {
    let settings = r#"
[collect]
host = []
[health]
every = "10s"
[[health.component]]
name = "shop"
kind = "service"
[[health.component.check]]
metric = "shop.up"
aggregation = "last"
warning = 0.9
critical = 0.5
"#;
    let now = Utc::now();
    let down = 17_280..17_286;
    let sample = |ago: i32| {
        let ts = now - TimeDelta::seconds(10) * ago;
        json!({"metric": "shop.up", "ts": ts, "value": u8::from(!down.contains(&ago))})
    };
    let samples: Vec<_> = (0..25_920).map(sample).collect();
    let home = written(settings, &samples).await;
    let (fine, said) = pipenotify(&home, &["playbook", "test", "--past", "70h"]);
    assert!(fine && said.contains("1 incidents, "), "{said}");
    assert!(said.contains("over 70 h in steps of 10 s"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_once_is_what_every_look_would_have_found() {
    let check = |aggregation: &str, critical: f64| {
        format!(
            "[[health.component.check]]\nmetric = 'm'\nlabels = {{ zone = 'a' }}\nwindow = '10m'\n\
             aggregation = '{aggregation}'\nwarning = 5\ncritical = {critical}\n"
        )
    };
    let checks = ["mean", "min", "max", "last", "sum", "rate", "increase"];
    let checks = checks.map(|it| check(it, 9.0) + &check(it, 1.0));
    let settings =
        format!("[collect]\nhost = []\n[[health.component]]\nname = 'c'\n{}", checks.concat());
    // Three counters that are reset now and then, at uneven times, one of which nobody asks about; then a
    // pause that is longer than the window.
    let mut dice = StdRng::seed_from_u64(14);
    let end = Utc::now() - TimeDelta::minutes(1);
    let mut samples = vec![];
    for (host, zone) in [("one", "a"), ("two", "a"), ("three", "b")] {
        let (mut at, mut value) = (end - TimeDelta::hours(13), 0.0);
        while at < end {
            value = if dice.random_bool(0.05) { 0.0 } else { value + dice.random_range(0.0..3.0) };
            let sample = json!({"metric": "m", "ts": at, "value": value, "host": host, "labels": {"zone": zone}});
            samples.push(sample);
            let pause = if dice.random_bool(0.01) { 1_800_000 } else { 60_000 };
            at += TimeDelta::milliseconds(dice.random_range(pause / 2..pause));
        }
    }
    let home = written(&settings, &samples).await;
    let flags = Flags { lake: Some(home.lake().to_owned()), ..Flags::default() };
    let file = home.path().join("pipenotify.toml");
    let config = Config::load(Some(&file), std::iter::empty(), &flags).unwrap();
    let offline = Offline::open(&config).await.unwrap();
    let components = &config.health.component;
    let mut past = Past::new(&offline.engine, components);
    // Of too many samples, each look asks by itself.
    let limits = Limits { max_rows: 100, ..Limits::default() };
    let narrow = Engine::new(Arc::clone(&offline.lake), Arc::new(Nothing), limits).unwrap();
    let mut asked = Past::new(&narrow, components);
    let numbers = |all: &[health::Examined]| -> Vec<Option<f64>> {
        all.iter().flat_map(|it| &it.checks).map(|it| it.value).collect()
    };
    let (mut at, mut n_known) = (end - TimeDelta::hours(14), 0);
    while at <= end {
        let looked = numbers(&health::examine(&offline.engine, components, at).await.unwrap());
        let read = numbers(&past.examine(at, end).await.unwrap());
        same(&looked, &read, at);
        if n_known % 7 == 0 {
            same(&looked, &numbers(&asked.examine(at, end).await.unwrap()), at);
        }
        n_known += looked.iter().flatten().count();
        at += TimeDelta::milliseconds(301_234);
    }
    assert!(n_known > 1_000, "{n_known}");
}

/// Sums are equal but for the order in which they were added.
fn same(one: &[Option<f64>], other: &[Option<f64>], at: DateTime<Utc>) {
    let is_same = |it: (&Option<f64>, &Option<f64>)| match it {
        (Some(one), Some(other)) => (one - other).abs() <= 1e-9 * one.abs().max(1.0),
        (one, other) => one == other,
    };
    assert!(one.iter().zip(other).all(is_same), "{at}: {one:?} {other:?}");
    assert_eq!(one.len(), other.len());
}
