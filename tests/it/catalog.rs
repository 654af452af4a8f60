//! Lake and ledger in one catalog, seen from outside.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::json;
use tests::{
    client::Client,
    process::{Home, program},
};

const SETTINGS: &str = "[health]\nevery = \"300ms\"\n[[health.component]]\nname = \"shop\"\n\
                        [[health.component.check]]\nmetric = \"shop_load\"\nwarning = 80.0\n\
                        critical = 90.0\nwindow = \"1h\"\n[ingest]\nflush_age = \"1s\"\n";

async fn write(client: &Client, value: f64) {
    let ts = Utc::now().to_rfc3339();
    let sample = json!({ "metric": "shop_load", "host": "a", "ts": ts, "value": value });
    client.write_json(&json!({ "samples": [sample] })).await.unwrap().success().unwrap();
}

/// The rows of `question` as soon as there are any, with a sample written before each try.
async fn rows(home: &Home, question: &str) -> Vec<Vec<String>> {
    let client = home.client();
    for n in 0..240 {
        write(&client, 99.0 + f64::from(n) / 1e3).await;
        let rows = client.rows(question).await.unwrap();
        if !rows.is_empty() {
            return rows;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("no row for {question}\n{}", home.log_tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn incidents_and_samples_are_joined_in_one_question() {
    let home = Home::new().unwrap().with_settings(SETTINGS);
    let _process = home.start().await.unwrap();
    let joined = "select i.component, i.opened_at <= now() + interval '1 minute' as opened, s.metric, count(*) > 0 \
                  from incident i join symptom y on y.incident_id = i.incident_id \
                  join samples s on s.metric = y.metric and s.ts >= i.started_at - interval '1 hour' \
                  group by i.component, i.opened_at, s.metric";
    assert_eq!(rows(&home, joined).await, [["shop", "true", "shop_load", "true"]]);
    let findings = "select distinct i.component from incident i join findings f \
                    on f.component = i.component";
    assert_eq!(rows(&home, findings).await, [["shop"]]);

    let states = "select component, state, checked_at >= since from component";
    let states = home.client().rows(states).await.unwrap();
    assert_eq!(states, [["shop", "unhealthy", "true"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_but_secrets_is_shown_and_nothing_can_be_changed() {
    let home = Home::new().unwrap().with_settings(SETTINGS);
    let process = home.start().await.unwrap();
    let client = home.client();
    let tables = "select table_name from information_schema.tables where table_schema = 'public'";
    let tables = client.rows(tables).await.unwrap();
    let has = |name: &str| tables.iter().any(|row| row[0] == name);
    let some = ["samples", "incident", "delivery", "attempt", "component", "audit", "risk"];
    for shown in some.into_iter().chain(["effectiveness", "incident_time", "lake_files", "damage"])
    {
        assert!(has(shown), "{shown} is missing of {tables:?}");
    }
    assert!(!has("destination_secret"));
    for row in &tables {
        client.sql(&format!("select * from \"{}\" limit 5", row[0])).await.unwrap();
        client.sql(&format!("select count(*) from \"{}\"", row[0])).await.unwrap();
    }
    let columns = "select column_name from information_schema.columns where column_name like \
                   '%hash%' or column_name like '%secret%' or column_name like '%token%'";
    assert_eq!(client.rows(columns).await.unwrap(), Vec::<Vec<String>>::new());
    let keys = "select name, role from api_key";
    assert_eq!(client.rows(keys).await.unwrap(), [["PIPENOTIFY_ADMIN_KEY", "admin"]]);
    for change in ["delete from incident", "insert into lease values ('x')", "drop table audit"] {
        client.rows(change).await.unwrap_err();
    }

    let files = "select t.files, f.rows from lake_tables t join (select table_name, sum(rows) as \
                 rows from lake_files group by table_name) f on f.table_name = t.table_name \
                 where t.table_name = 'samples' and t.rows = f.rows and t.bytes > 0";
    rows(&home, files).await;
    assert!(process.stop().await.unwrap().success());

    let command = program()
        .unwrap()
        .current_dir(home.path())
        .args(["sql", "select count(*) as n from api_key", "--format", "csv"])
        .args(["--lake", home.lake(), "--ledger", "ledger.db"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&command.stdout), "n\n1\n", "{command:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_metrics_is_shown_and_says_when_a_capacity_is_reached() {
    let settings = "[collect]\nhost = []\n[[health.component]]\nname = \"shop\"\n\
                    [[health.component.check]]\nmetric = \"process.open_file_descriptor.count\"\n\
                    labels = { process = \"shop\", kind = \"socket\" }\nwarning = 90000\n\
                    critical = 99000\n[[metric]]\nname = \"orders.open\"\n\
                    polarity = \"lower_is_better\"\ncapacity = \"orders.open_max\"\n";
    let home = Home::new().unwrap().with_settings(settings);
    let process = home.start().await.unwrap();
    let client = home.client();
    let known = "select name, kind, unit, polarity, capacity from metrics \
                 where capacity is not null and name not like 'r%' and name not like 's%'";
    let expected = [
        ["process.open_file_descriptor.count", "gauge", "{file}", "lower_is_better"],
        ["postgresql.connection.count", "gauge", "{connection}", "lower_is_better"],
        ["orders.open", "gauge", "1", "lower_is_better"],
    ];
    let rows = client.rows(known).await.unwrap();
    assert_eq!(rows.iter().map(|row| &row[..4]).collect::<Vec<_>>(), expected);
    let limits = ["process.open_file_descriptor.limit", "postgresql.connection.limit"];
    assert_eq!(rows.iter().map(|row| &row[4]).take(2).collect::<Vec<_>>(), limits);
    let shown = client.get("/api/v1/metrics").await.unwrap().json().unwrap();
    let shown = shown["metrics"].as_array().unwrap();
    let orders = shown.iter().find(|it| it["name"] == "orders.open").unwrap();
    assert_eq!(orders["capacity"], "orders.open_max");

    // An hour in which open sockets grow by five a minute, of a limit for all files.
    let sample = |minute: i64, name: &str, kind: Option<&str>, value: i64| {
        let ts = (Utc::now() - TimeDelta::minutes(60 - minute)).to_rfc3339();
        let mut labels = json!({ "process": "shop" });
        if let Some(kind) = kind {
            labels["kind"] = kind.into();
        }
        json!({ "metric": format!("process.open_file_descriptor.{name}"), "ts": ts, "value": value, "labels": labels })
    };
    let samples = (0..60).flat_map(|minute| {
        [
            sample(minute, "count", Some("socket"), 100 + 5 * minute),
            sample(minute, "limit", None, 1_024),
        ]
    });
    let samples = json!({ "samples": samples.collect::<Vec<_>>() });
    client.write_json(&samples).await.unwrap().success().unwrap();
    let trends = client.get("/api/v1/health/trends?from=-70m").await.unwrap().json().unwrap();
    let check = &trends["components"][0]["checks"][0];
    let capacity = &check["limits"][2];
    assert_eq!(
        (&capacity["name"], capacity["limit"].as_f64()),
        (&json!("capacity"), Some(1_024.0))
    );
    assert!(capacity["reached_at"]["expected"].is_string(), "{check:#}");
    assert!(process.stop().await.unwrap().success());
}
