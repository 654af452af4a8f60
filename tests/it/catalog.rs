//! Lake and ledger in one catalog, seen from outside.

use std::time::Duration;

use chrono::Utc;
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
