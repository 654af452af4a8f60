//! Rate, errors and duration from spans: in SQL, and as bottlenecks with the call that is to blame.

use chrono::{DateTime, TimeDelta, Utc};
use data::Span;
use ingest::Request;
use serde_json::{Value, json};
use serve::{foresight::bottleneck, state::State, tasks::Tasks};
use tests::{client::Client, opened};

const MINUTE: TimeDelta = TimeDelta::minutes(1);

/// How often `checkout` is asked for in a minute; each time it calls `pay`.
const PER_MINUTE: i32 = 4;

/// The spans of the minutes `of`: every other call of `pay` fails, and takes two seconds more, where
/// `is_bad`.
async fn write(state: &State, of: std::ops::Range<i32>, start: DateTime<Utc>, is_bad: bool) {
    let requests = of.clone().flat_map(|minute| (0..PER_MINUTE).map(move |n| (minute, n)));
    let spans = requests.flat_map(|(minute, n)| {
        let fails = is_bad && n % 2 == 0;
        ["server", "client"].map(|kind| {
            let is_call = kind == "client";
            let ms = if is_call { 50 } else { 80 } + if fails { 2_000 } else { 0 };
            let id = format!("{minute:08x}{n:07x}{}", u8::from(is_call));
            Span {
                ts: (start + MINUTE * minute).timestamp_micros() + i64::from(n) * 10_000_000,
                duration_ns: ms * 1_000_000,
                trace_id: format!("{id}{id}"),
                span_id: id,
                name: if is_call { "pay" } else { "checkout" }.to_owned(),
                kind: kind.to_owned(),
                status: if fails { "error" } else { "ok" }.to_owned(),
                service: Some("shop".to_owned()),
                ..Span::default()
            }
        })
    });
    let request = Request { spans: spans.collect(), ..Request::default() };
    let receipt = state.ingest.write(request, "tenant", start + MINUTE * of.end).await.unwrap();
    assert_eq!(receipt.refused.len(), 0);
}

async fn items(client: &Client, path: &str) -> Vec<Value> {
    let path = format!("/api/v1/performance/{path}");
    let answer: Value = client.get(&path).await.unwrap().success().unwrap().json().unwrap();
    answer["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_and_is_slow_is_found_in_the_spans() {
    let (home, tasks) = (tempfile::tempdir().unwrap(), Tasks::default());
    let state = opened::open(home.path(), "", &tasks).await;
    let client = opened::serve(&state).await;
    let start = DateTime::from_timestamp(Utc::now().timestamp() / 60 * 60, 0).unwrap();
    let start = start - TimeDelta::hours(12);
    let at = |minute: i32| start + MINUTE * minute;
    write(&state, 0..100, start, false).await;
    bottleneck::look(&state, at(100)).await.unwrap();
    assert_eq!(items(&client, "bottlenecks").await, Vec::<Value>::new());
    write(&state, 100..120, start, true).await;

    let minutes = "select operation, kind, count(*), sum(requests), sum(errors), \
                   max(error_ratio), round(max(p95_s), 2), round(min(p50_s), 2) \
                   from red where service = 'shop' group by operation, kind order by operation";
    let rows = client.rows(minutes).await.unwrap();
    assert_eq!(rows[0], ["checkout", "server", "120", "480", "40", "0.5", "2.08", "0.08"]);
    assert_eq!(rows[1], ["pay", "client", "120", "480", "40", "0.5", "2.05", "0.05"]);

    bottleneck::look(&state, at(120)).await.unwrap();
    let found = items(&client, "bottlenecks").await;
    let of = |kind: &str, resource: &str| {
        let is = |it: &&Value| it["kind"] == kind && it["resource"] == resource;
        found.iter().find(is).unwrap_or_else(|| panic!("no {kind} of {resource} in {found:#?}"))
    };
    let failing = of("request errors", "checkout");
    assert_eq!((&failing["signal"], &failing["severity"]), (&json!("errors"), &json!("critical")));
    let title = "50 % of the requests of `checkout` of shop fail; so do 50 % of its calls of `pay`";
    assert_eq!((&failing["title"], &failing["component"]), (&json!(title), &json!("shop")));
    assert_eq!(failing["evidence"].as_array().unwrap().len(), 3, "{failing:#}");
    let slow = of("request latency", "checkout");
    assert!(
        slow["title"].as_str().unwrap().contains("most of it in its calls of `pay`"),
        "{slow:#}"
    );
    of("request errors", "pay");
    of("request latency", "pay");

    // The effect of what is done about it is measured on the same spans.
    let advice = state.ledger.recommendations(Some("open"), 100).await.unwrap();
    let it = advice.iter().find(|it| it.bottleneck_id == failing["id"].as_str().unwrap()).unwrap();
    assert!(it.action.starts_with("Look at `pay`, which shop calls"), "{it:?}");
    let decided =
        state.ledger.decide_recommendation(&it.id, "done", "ann", None, it.before, at(121));
    decided.await.unwrap();
    write(&state, 121..155, start, false).await;
    let said = bottleneck::look(&state, at(152)).await.unwrap();
    assert!(said.ends_with("; 1 effects measured"), "{said}");
    let done = items(&client, "recommendations?state=done").await;
    let effect = &done[0]["effect"];
    assert_eq!(
        (&effect["verdict"], &effect["after"]),
        (&json!("better"), &json!(0.0)),
        "{effect:#}"
    );
    let open = items(&client, "bottlenecks?state=open").await;
    assert_eq!(open, Vec::<Value>::new(), "it is over");
    tasks.drain().await;
}
