//! What will go wrong, what holds things up and why: from samples to answers, through the binary.

use std::time::Duration;

use anyhow::{Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tests::{
    client::Client,
    process::{Home, Process},
};

/// Looks that come every second, at nothing but what the test sends.
const OFTEN: &str = "
    [collect]
    host = []
    [foresight]
    every = '1s'
    [health]
    every = '1s'
";

/// A component `queue` whose backlog must not reach 100.
const BACKLOG: &str = "
    [[health.component]]
    name = 'queue'
    criticality = 0.9
    [[health.component.check]]
    metric = 'queue.backlog'
    aggregation = 'last'
    window = '2h'
    warning = 80
    critical = 100
";

/// A service that must be up, and a promise about it.
const SHOP: &str = "
    [[health.component]]
    name = 'shop'
    [[health.component.check]]
    metric = 'shop.up'
    aggregation = 'mean'
    window = '10m'
    warning = 0.99
    critical = 0.95
    [[slo]]
    name = 'shop is up'
    component = 'shop'
    objective = 0.999
    events = { metric = 'shop.up' }
    at_least = 1.0
";

async fn start(settings: &str) -> (Home, Process) {
    let home = Home::new().unwrap().with_settings(format!("{OFTEN}{settings}"));
    let process = home.start().await.unwrap();
    (home, process)
}

/// One series: a value for so many steps back, the latest last.
async fn send(
    client: &Client,
    metric: &str,
    labels: &Value,
    step: TimeDelta,
    n: i32,
    value: impl Fn(i32) -> f64,
) {
    send_until(client, metric, labels, step, n, Utc::now(), value).await;
}

async fn send_until(
    client: &Client,
    metric: &str,
    labels: &Value,
    step: TimeDelta,
    n: i32,
    end: DateTime<Utc>,
    value: impl Fn(i32) -> f64,
) {
    let sample = |at: i32| {
        let ts = end - step * (n - 1 - at);
        let mut sample = json!({"metric": metric, "ts": ts.to_rfc3339(), "value": value(at)});
        for (key, value) in labels.as_object().unwrap() {
            sample[key] = value.clone();
        }
        sample
    };
    let samples: Vec<_> = (0..n).map(sample).collect();
    client.write_json(&json!({"samples": samples})).await.unwrap().success().unwrap();
}

async fn get(client: &Client, path: &str) -> Result<Value> {
    client.get(path).await?.success()?.json()
}

/// Asks until the answer is as wanted.
async fn until(client: &Client, path: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut last = Value::Null;
    for _ in 0..150 {
        last = get(client, path).await?;
        if wanted(&last) {
            return Ok(last);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ensure!(false, "{path} stayed at {last:#}");
    Ok(last)
}

fn items(answer: &Value) -> &Vec<Value> {
    answer["items"].as_array().unwrap()
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_growing_backlog_is_warned_of_once_with_the_hours_that_are_left() {
    let (home, _process) = start(&format!("{BACKLOG}[forecast]\nevery = '1s'")).await;
    let client = home.client();
    // +2 an hour, 72 now: 100 in 14 hours. A look that had begun before these came sees none of them.
    let end = Utc::now() - TimeDelta::seconds(5);
    let hour = TimeDelta::hours(1);
    send_until(&client, "queue.backlog", &json!({"service": "queue"}), hour, 37, end, |n| {
        2.0 * f64::from(n)
    })
    .await;

    let alerts = "/api/v1/predictions/alerts";
    let raised = until(&client, alerts, |it| !items(it).is_empty()).await.unwrap();
    let alert = &items(&raised)[0];
    assert_eq!(
        (&alert["state"], &alert["level"]),
        (&json!("raised"), &json!("critical")),
        "{alert:#}"
    );
    for quantile in ["p10", "p50", "p90"] {
        let hours = (time(&alert["breach_at"][quantile]) - end).num_minutes() as f64 / 60.0;
        assert!((13.0..=15.1).contains(&hours), "{quantile}: {hours} h in {alert:#}");
    }
    let apart = time(&alert["breach_at"]["p90"]) - time(&alert["breach_at"]["p10"]);
    assert!(apart >= hour, "steps of an hour know no better: {alert:#}");
    assert!(alert["title"].as_str().unwrap().contains("within 24h"), "{alert:#}");

    let risks = get(&client, "/api/v1/predictions/risks?component=queue").await.unwrap();
    let of =
        |horizon: &str| items(&risks).iter().find(|it| it["horizon"] == horizon).unwrap().clone();
    assert!(of("6h")["probability"].as_f64().unwrap() < 0.1, "{risks:#}");
    assert!(of("24h")["probability"].as_f64().unwrap() > 0.7, "{risks:#}");
    assert_eq!(of("7d")["state"], "unknown", "36 hours say nothing about a week: {risks:#}");
    assert_eq!(risks["matrix"]["levels"][3][3], "critical");

    // Several more looks: updated, and neither raised nor told again.
    let first = time(&alert["updated_at"]);
    let updated = |it: &Value| time(&items(it)[0]["updated_at"]) > first + TimeDelta::seconds(3);
    let again = until(&client, alerts, updated).await.unwrap();
    assert_eq!(items(&again).len(), 1, "{again:#}");
    let findings = get(&client, "/api/v1/findings?kind=risk").await.unwrap();
    assert_eq!(items(&findings).len(), 1, "{findings:#}");
    let finding = &findings["items"][0];
    assert_eq!(finding["evidence"]["state"], "raised");
    assert_eq!((&finding["observed"], &finding["expected"]), (&json!(72.0), &json!(100.0)));
    assert_eq!(finding["score"], finding["evidence"]["probability"]);
    assert_eq!(finding["series_id"], finding["series"].to_string());
    let twice = get(&client, "/api/v1/findings?rule=forecast").await.unwrap();
    assert_eq!(items(&twice).len(), 0, "one warning is one finding: {twice:#}");

    // People see one incident, of a kind that nothing is restarted for.
    let all = |it: &Value| it["incidents"].as_array().unwrap().clone();
    let incidents = until(&client, "/api/v1/incidents", |it| !all(it).is_empty()).await.unwrap();
    assert_eq!(all(&incidents).len(), 1, "{incidents:#}");
    assert_eq!(all(&incidents)[0]["kind"], "limit_foreseen", "{incidents:#}");

    // What comes every hour is foreseen for a day as well, stored and now, until the day is over.
    let stored = until(&client, "/api/v1/forecasts?metric=queue.backlog&horizon=24h", |it| {
        !items(it).is_empty()
    });
    assert!(items(&stored.await.unwrap()).len() >= 24);
    let path = "/api/v1/forecasts/now?metric=queue.backlog&horizon=24h";
    let now = get(&client, path).await.unwrap();
    let steps = now["items"][0]["steps"].as_array().unwrap();
    assert!(time(&steps[steps.len() - 1]["ts"]) >= time(&now["until"]), "{now:#}");

    // It comes: the warning is confirmed and its lead measured.
    let now = json!({"samples": [{"metric": "queue.backlog", "service": "queue", "value": 101.0}]});
    client.write_json(&now).await.unwrap().success().unwrap();
    let done = until(&client, alerts, |it| items(it)[0]["state"] == "confirmed").await.unwrap();
    assert!(items(&done)[0]["lead_seconds"].as_i64().unwrap() >= 3, "{done:#}");
}

/// Makes room before it is too late, if that is likely enough.
const MAKE_ROOM: &str = "
    [healing]
    every = '200ms'
    allow_commands = ['/usr/bin/touch']
    command_user = [USER, GROUP]
    [[playbook]]
    name = 'make room'
    match = { rule = ['forecast'], component = ['queue'], probability = PROBABILITY }
    verify = { wait = '100ms', within = '30s', metric = 'queue.backlog', aggregation = 'last', below = 50.0 }
    [[playbook.action]]
    do = 'run_command'
    program = '/usr/bin/touch'
    arguments = ['acted']
    folder = 'FOLDER'
";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_foreseen_is_acted_on_once_it_is_likely_enough() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let owner = folder.path().metadata().unwrap();
    let settings = |probability: &str| {
        let playbook = MAKE_ROOM
            .replace("FOLDER", &folder.path().display().to_string())
            .replace("USER", &owner.uid().to_string())
            .replace("GROUP", &owner.gid().to_string())
            .replace("PROBABILITY", probability);
        format!("{OFTEN}{BACKLOG}{playbook}")
    };
    // Nothing but what has come already is that certain.
    let home = Home::new().unwrap().with_settings(settings("1.0"));
    let process = home.start().await.unwrap();
    let client = home.client();
    let hour = TimeDelta::hours(1);
    send(&client, "queue.backlog", &json!({"service": "queue"}), hour, 37, |n| 2.0 * f64::from(n))
        .await;
    let incidents = "/api/v1/incidents";
    let foreseen = |it: &Value| it["incidents"][0]["component"] == "queue";
    until(&client, incidents, foreseen).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let actions = get(&client, "/api/v1/actions").await.unwrap();
    assert_eq!(actions["actions"], json!([]), "it is only probable: {actions:#}");
    assert!(!folder.path().join("acted").exists());
    process.stop().await.unwrap();

    let home = home.with_settings(settings("0.7"));
    let _process = home.start().await.unwrap();
    let verifying = |it: &Value| it["actions"][0]["state"] == "verifying";
    let begun = until(&client, "/api/v1/actions", verifying).await.unwrap();
    assert_eq!(begun["actions"].as_array().unwrap().len(), 1, "{begun:#}");
    assert!(folder.path().join("acted").exists());
    send(&client, "queue.backlog", &json!({"service": "queue"}), hour, 1, |_| 10.0).await;
    let effective = |it: &Value| it["actions"][0]["outcome"] == "effective";
    until(&client, "/api/v1/actions", effective).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_foreseen_is_verified_by_its_number_and_not_by_its_probability() {
    let playbook = "
    [healing]
    every = '200ms'
    allow_commands = ['/bin/true']
    command_user = [0, 0]
    [[playbook]]
    name = 'make room'
    match = { rule = ['forecast'], probability = 0.7 }
    verify = { wait = '100ms', within = '30s' }
    [[playbook.action]]
    do = 'run_command'
    program = '/bin/true'
    ";
    let (home, _process) = start(&format!("{BACKLOG}{playbook}")).await;
    let client = home.client();
    let (hour, labels) = (TimeDelta::hours(1), json!({"service": "queue"}));
    send(&client, "queue.backlog", &labels, hour, 37, |n| 2.0 * f64::from(n)).await;
    let verifying = |it: &Value| it["actions"][0]["state"] == "verifying";
    until(&client, "/api/v1/actions", verifying).await.unwrap();
    let now = json!({"samples": [{"metric": "queue.backlog", "service": "queue", "value": 10.0}]});
    client.write_json(&now).await.unwrap().success().unwrap();
    let effective = |it: &Value| it["actions"][0]["outcome"] == "effective";
    let done = until(&client, "/api/v1/actions", effective).await.unwrap();
    let done = &done["actions"][0];
    assert_eq!((&done["before"], &done["after"]), (&json!(72.0), &json!(10.0)), "{done:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_perfect_history_is_healthy_and_no_risk() {
    let (home, _process) = start(SHOP).await;
    let client = home.client();
    let labels = json!({"service": "shop"});
    send(&client, "shop.up", &labels, TimeDelta::minutes(5), 14 * 288, |_| 1.0).await;

    let known =
        |it: &Value| items(it).len() == 3 && items(it).iter().all(|it| it["state"] == "known");
    let risks = until(&client, "/api/v1/predictions/risks", known).await.unwrap();
    for risk in items(&risks) {
        assert!(risk["probability"].as_f64().unwrap() < 0.01, "{risk:#}");
        assert_eq!(risk["level"], "low");
    }
    let usual = get(&client, "/api/v1/baselines?metric=shop.up").await.unwrap();
    let hours = usual["items"][0]["hours"].as_array().unwrap();
    assert_eq!(
        (hours.len(), &hours[9]["median"], &hours[9]["spread"]),
        (168, &json!(1.0), &json!(0.0))
    );
    let health = get(&client, "/api/v1/health").await.unwrap();
    assert_eq!(
        (&health["state"], &health["components"][0]["score"]),
        (&json!("healthy"), &json!(100.0))
    );
    let slos = get(&client, "/api/v1/slos").await.unwrap();
    assert_eq!(
        (&slos["items"][0]["state"], &slos["items"][0]["budget_left"]),
        (&json!("ok"), &json!(1.0))
    );
    for path in
        ["predictions/alerts", "findings", "performance/bottlenecks", "performance/recommendations"]
    {
        let answer = get(&client, &format!("/api/v1/{path}")).await.unwrap();
        assert_eq!(items(&answer), &Vec::<Value>::new(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_critical_and_silence_after_it_unknown() {
    let (home, process) = start(SHOP).await;
    let client = home.client();
    let labels = json!({"service": "shop"});
    let minutes = |n| TimeDelta::minutes(n);
    // A day of health, then twenty minutes of none.
    let up = |n: i32| if n >= 268 { 0.0 } else { 1.0 };
    send(&client, "shop.up", &labels, minutes(5), 272, up).await;
    send(&client, "shop.up", &labels, TimeDelta::seconds(10), 30, |_| 0.0).await;
    let down = until(&client, "/api/v1/health", |it| it["state"] == "unhealthy").await.unwrap();
    assert_eq!(down["components"][0]["score"], 0.0, "{down:#}");
    let slos = until(&client, "/api/v1/slos", |it| it["items"][0]["state"] == "critical").await;
    assert!(slos.unwrap()["items"][0]["budget_left"].as_f64().unwrap() < 0.0);
    let burning =
        until(&client, "/api/v1/findings?rule=slo.burn", |it| !items(it).is_empty()).await.unwrap();
    assert_eq!(burning["items"][0]["severity"], "critical");
    let risks = until(&client, "/api/v1/predictions/risks?horizon=6h", |it| {
        !items(it).is_empty() && items(it)[0]["probability"] == 1.0
    });
    risks.await.unwrap();
    drop(process);

    // The same, but the last word was three hours ago.
    let (home, _process) = start(SHOP).await;
    let client = home.client();
    let end = Utc::now() - TimeDelta::hours(3);
    send_until(&client, "shop.up", &labels, minutes(5), 272, end, up).await;
    let silent = until(&client, "/api/v1/predictions/risks?horizon=6h", |it| {
        items(it).iter().any(|it| it["series"] != 0)
    });
    let silent = silent.await.unwrap();
    let risk = items(&silent).iter().find(|it| it["series"] != 0).unwrap();
    assert_eq!(
        (&risk["state"], &risk["probability"]),
        (&json!("unknown"), &Value::Null),
        "{risk:#}"
    );
    assert!(risk["reason"].as_str().unwrap().contains("no points for 1"), "{risk:#}");
    let health = get(&client, "/api/v1/health").await.unwrap();
    assert_eq!(
        (&health["state"], &health["components"][0]["score"]),
        (&json!("unknown"), &Value::Null)
    );
    let alerts = get(&client, "/api/v1/predictions/alerts").await.unwrap();
    assert_eq!((&alerts["state"], items(&alerts).len()), (&json!("unknown"), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_data_every_answer_is_unknown_and_none_is_an_error() {
    let (home, _process) = start(SHOP).await;
    let client = home.client();
    let risks =
        until(&client, "/api/v1/predictions/risks", |it| items(it).len() == 3).await.unwrap();
    for risk in items(&risks) {
        assert_eq!(
            (&risk["state"], &risk["risk"], &risk["level"]),
            (&json!("unknown"), &Value::Null, &Value::Null)
        );
        assert!(risk["reason"].as_str().unwrap().contains("no series of `shop.up`"), "{risk:#}");
    }
    let state = async |path: &str| get(&client, path).await.unwrap();
    assert_eq!(state("/api/v1/predictions/alerts").await["state"], "unknown");
    assert_eq!(state("/api/v1/explain").await["state"], "unknown");
    assert_eq!(state("/api/v1/baselines?metric=shop.up").await["state"], "unknown");
    let slos = state("/api/v1/slos").await;
    let slo = &slos["items"][0];
    assert_eq!(
        (&slo["state"], &slo["achieved"], &slo["budget_left"]),
        (&json!("unknown"), &Value::Null, &Value::Null)
    );
    let bottlenecks = state("/api/v1/performance/bottlenecks").await;
    assert_eq!(bottlenecks["state"], "unknown");
    assert!(
        bottlenecks["coverage"].as_object().unwrap().values().all(|it| it == "unknown"),
        "{bottlenecks:#}"
    );
    let metrics = state("/api/v1/performance/metrics").await;
    assert!(metrics["categories"].as_object().unwrap().values().all(|it| it["state"] == "unknown"));
    assert_eq!(items(&state("/api/v1/findings").await).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_outgrows_its_consumers_is_found_explained_and_advised_on() {
    let (home, _process) = start("").await;
    let client = home.client();
    let minute = TimeDelta::minutes(1);
    let queue =
        json!({"service": "mq", "labels": {"rabbitmq": "mq", "vhost": "/", "queue": "mail"}});
    let noise = |n: i32| f64::from(n * 7 % 5) / 5.0;
    let late = |n: i32, from: i32, was: f64, is: f64| noise(n) + if n >= from { is } else { was };
    let backlog = |n: i32| noise(n) + 5.0 + f64::from((n - 80).max(0)) * 300.0;
    send(&client, "rabbitmq.queue.ready", &queue, minute, 120, backlog).await;
    send(&client, "rabbitmq.queue.publish_rate", &queue, minute, 120, |n| late(n, 78, 20.0, 25.0))
        .await;
    send(&client, "rabbitmq.queue.ack_rate", &queue, minute, 120, |_| 20.0).await;
    send(&client, "rabbitmq.queue.consumers", &queue, minute, 120, |_| 4.0).await;
    send(&client, "mail.render_seconds", &json!({"service": "mq"}), minute, 120, |n| {
        late(n, 70, 1.0, 30.0)
    })
    .await;

    // The samples came in several requests, and a look may have fallen between them.
    let whole = |it: &Value| {
        items(it).first().is_some_and(|it| it["evidence"].as_array().unwrap().len() >= 3)
    };
    let found = until(&client, "/api/v1/performance/bottlenecks", whole).await.unwrap();
    let bottleneck = &items(&found)[0];
    assert_eq!((&bottleneck["kind"], &bottleneck["resource"]), (&json!("queue"), &json!("mail")));
    assert_eq!(
        (&found["coverage"]["queue"], &found["coverage"]["cpu"]),
        (&json!("known"), &json!("unknown"))
    );
    let finding =
        until(&client, "/api/v1/findings?kind=bottleneck&limit=1", |it| !items(it).is_empty());
    let finding = finding.await.unwrap()["items"][0].clone();
    assert_eq!(finding["evidence"]["key"], bottleneck["key"]);

    let path = format!("/api/v1/explain?finding={}", finding["finding_id"].as_str().unwrap());
    let explained = get(&client, &path).await.unwrap();
    let first = &explained["causes"][0];
    assert_eq!(first["metric"], "mail.render_seconds", "{explained:#}");
    assert!(first["lag_seconds"].as_i64().unwrap() < 0, "{first:#}");

    let whole =
        |it: &Value| it["items"][0]["action"].as_str().is_some_and(|it| it.starts_with("Add "));
    let advice = until(&client, "/api/v1/performance/recommendations", whole).await.unwrap();
    let id = advice["items"][0]["id"].as_str().unwrap().to_owned();
    assert!(advice["items"][0]["action"].as_str().unwrap().contains("consumers"), "{advice:#}");
    let done = format!("/api/v1/performance/recommendations/{id}/done");
    let reply =
        client.post(&done, &[], r#"{"note": "four more"}"#).await.unwrap().success().unwrap();
    let reply = reply.json().unwrap();
    assert_eq!(
        (&reply["state"], &reply["effect"]["verdict"]),
        (&json!("done"), &json!("not measured yet"))
    );
    assert!(reply["effect"]["before"].as_f64().unwrap() > 1_000.0, "{reply:#}");
    assert_eq!(client.post(&done, &[], "").await.unwrap().status, 409);
    let missing = "/api/v1/performance/recommendations/none/dismiss";
    assert_eq!(client.post(missing, &[], "").await.unwrap().status, 404);

    let metrics = get(&client, "/api/v1/performance/metrics?category=queue").await.unwrap();
    assert_eq!(metrics["categories"]["queue"]["state"], "known");
    assert_eq!(metrics["categories"]["queue"]["metrics"].as_array().unwrap().len(), 4);
    let path = "/api/v1/performance/metrics?category=queue&limit=3";
    let first = get(&client, path).await.unwrap();
    let rest = get(&client, &format!("{path}&cursor={}", first["next"].as_str().unwrap())).await;
    let rest = rest.unwrap();
    assert_eq!(rest["categories"]["queue"]["metrics"].as_array().unwrap().len(), 1, "{rest:#}");
    assert_eq!(rest["next"], Value::Null);
    let series = get(&client, "/api/v1/series?metric=mail.render_seconds").await.unwrap();
    assert_eq!(series[0]["series_id"], series[0]["series"].to_string(), "{series:#}");
    let samples = get(&client, "/api/v1/samples?metric=mail.render_seconds&resolution=1m").await;
    assert_eq!(samples.unwrap()[0]["series_id"], series[0]["series_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_question_is_answered_with_what_to_do() {
    let (home, _process) = start("").await;
    let client = home.client();
    let check = async |path: &str, says: &str| {
        let reply = client.get(&format!("/api/v1/{path}")).await.unwrap();
        assert_eq!(reply.status, 400, "{path}: {}", reply.text);
        assert!(
            reply.json().unwrap()["detail"].as_str().unwrap_or_default().contains(says),
            "{path}: {}",
            reply.text
        );
    };
    check("predictions/risks?horizon=1y", "6h, 24h, 7d").await;
    check("predictions/risks?cursor=y", "`next`").await;
    check("predictions/alerts?state=open", "raised, confirmed, withdrawn").await;
    check("predictions/alerts?cursor=y", "`next`").await;
    check("performance/bottlenecks?state=new", "open, resolved").await;
    check("performance/recommendations?state=new", "open, done, dismissed").await;
    check("performance/recommendations?cursor=y", "`next`").await;
    check("findings?severity=bad", "info, warning, critical").await;
    check("findings?cursor=y", "`next`").await;
    check("predictions/alerts?limit=0", "1 to 1000").await;
    check("findings?from=-1h&to=-2h", "swap").await;
    check("performance/metrics?category=gpu", "cpu, memory").await;
    check("baselines", "`metric` is missing").await;
    check("baselines?metric=x&cursor=y", "`next`").await;
    check("explain?from=soon", "-24h").await;
    check("findings?kind=foo", "limit_foreseen").await;
    check("performance/bottlenecks?kind=foo", "cpu").await;
    check("findings?from=0001-01-01T00:00:00Z", "1900 to 2199").await;
    check("samples?metric=x&to=9999-12-31T00:00:00Z", "1900 to 2199").await;
    for list in
        ["samples?metric=x", "series?", "forecasts?", "forecasts/accuracy?", "predictions/health?"]
            .into_iter()
            .chain(["health/history?", "health/trends?", "explain?", "slos?", "events?"])
    {
        check(&format!("{list}&from=-1h&to=-2h"), "swap").await;
    }
    for list in
        ["performance/metrics", "forecasts/accuracy", "predictions/health", "slos", "explain"]
    {
        check(&format!("{list}?cursor=y"), "`next`").await;
        check(&format!("{list}?limit=0"), "`limit=0`").await;
    }
    for path in [
        "explain",
        "findings",
        "health/history",
        "health/trends",
        "health/trends/history",
        "performance/bottlenecks",
        "predictions/alerts",
        "predictions/health",
        "predictions/risks",
        "predictions/risks/history",
        "slos",
        "slos/history",
    ] {
        let reply = client.get(&format!("/api/v1/{path}?component=nosuch")).await.unwrap();
        assert_eq!(reply.status, 404, "{path}: {}", reply.text);
    }
    assert_eq!(client.get("/api/v1/slos?name=nosuch").await.unwrap().status, 404);
    assert_eq!(client.get("/api/v1/explain?incident=none").await.unwrap().status, 404);
    assert_eq!(client.get("/api/v1/explain?finding=none").await.unwrap().status, 404);
    let stranger = Client::new(home.http, "");
    assert_eq!(stranger.get("/api/v1/predictions/risks").await.unwrap().status, 401);
}

#[test]
fn the_command_line_measures_how_good_the_probabilities_are() {
    let folder = tempfile::tempdir().unwrap();
    // Twelve days of quarters of an hour: a daily wave with noise that is the same every time.
    let start: DateTime<Utc> = "2026-03-02T00:00:00Z".parse().unwrap();
    let row = |n: i32| {
        let noise = (f64::from(n) * 12.9898).sin() * 43_758.547;
        let wave = (f64::from(n) / 96.0 * std::f64::consts::TAU).sin();
        let at = start + TimeDelta::minutes(15) * n;
        format!("{},{}\n", at.format("%Y-%m-%d %H:%M:%S"), 10.0 * wave + noise.fract())
    };
    let rows: String = (0..12 * 96).map(row).collect();
    std::fs::write(folder.path().join("wave.csv"), format!("timestamp,value\n{rows}")).unwrap();
    std::fs::write(folder.path().join("empty.csv"), "timestamp,value\n").unwrap();
    let evaluate = |folder: &std::path::Path| {
        let mut command = tests::process::program().unwrap();
        command.args(["evaluate", "risk", "--files-only"]).arg(folder).output().unwrap()
    };
    let output = evaluate(folder.path());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("empty.csv is left out"), "{said}");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.starts_with("1 files of "), "{table}");
    assert!(table.contains("6 h      95 %") && table.contains("came true"), "{table}");
    assert!(!table.contains("NaN"), "{table}");

    let none = tempfile::tempdir().unwrap();
    let output = evaluate(none.path());
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("name a folder that has some"));
}
