//! Questions that are meant to hurt: none crashes the process, fills its memory, changes anything or
//! reads a file; each is answered or refused in time, with a sentence.

use std::time::{Duration, Instant};

use reqwest::Method;
use tests::process::Home;

/// What the process may use in the worst of these tests, in bytes.
const MEMORY: u64 = 3 << 30;

/// `query.timeout`, and a lot more for a busy machine: the point is that it ends.
const ANSWERED_WITHIN: Duration = Duration::from_secs(50);

const SETTINGS: &str = "[query]\ntimeout = \"4s\"\nmemory_bytes = 134217728\nrows_max = 20000\n";

#[tokio::test(flavor = "multi_thread")]
async fn sql_that_wants_everything_is_stopped() {
    let chain = format!("select 1{}", " + 1".repeat(100_000));
    let brackets = format!("select {}1{}", "(".repeat(20_000), ")".repeat(20_000));
    let not = format!("select {} true", "not ".repeat(100_000));
    let unions = format!("select 1{}", " union all select 1".repeat(1_000));
    let list = (0..100_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let list = format!("select count(*) from samples where value in ({list})");
    let ands =
        format!("select count(*) from samples where true{}", " and value > 1".repeat(20_000));
    let literal = format!("select '{}' from generate_series(1, 1000000)", "x".repeat(900_000));
    let nested =
        (0..200).fold("select 1 as a".to_owned(), |inner, _| format!("select a from ({inner})"));
    let doubled = (0..40).fold("select repeat('x', 1000) as a".to_owned(), |inner, _| {
        format!("select concat(a, a) as a from ({inner})")
    });
    let case = format!("select case {} end", "when false then 1 ".repeat(20_000));
    let queries = [
        "select count(*) from generate_series(1, 100000000000)",
        "select count(*) from generate_series(1, 1000000) a, generate_series(1, 1000000) b, \
         generate_series(1, 1000000) c",
        "select * from generate_series(1, 100000000)",
        "select * from generate_series(1, 3000000000) t(v) order by v desc",
        "select v, count(*) from generate_series(1, 3000000000) t(v) group by v",
        "select array_agg(v) from generate_series(1, 3000000000) t(v)",
        "select string_agg(cast(v as text), ',') from generate_series(1, 3000000000) t(v)",
        "select sum(v) over () from generate_series(1, 3000000000) t(v)",
        "select sum(v) over (order by v) from generate_series(1, 3000000000) t(v)",
        "select count(distinct v) from generate_series(1, 3000000000) t(v)",
        "select median(v) from generate_series(1, 3000000000) t(v)",
        "select a.v from generate_series(1, 300000000) a(v) join generate_series(1, 300000000) b(v) \
         on a.v = b.v",
        "with recursive t(n) as (select 1 union all select n + 1 from t) select count(*) from t",
        "with recursive t(a) as (select 'x' union all select concat(a, a) from t) select max(a) from t",
        "with recursive t(a) as (select 'x' union all select a || a from t) select max(length(a)) from t",
        "select repeat('x', 2000000000)",
        "select repeat(cast(v as text), 1000000) from generate_series(1, 1000000) t(v)",
        "select lpad('x', 2000000000), rpad('x', 2000000000)",
        "select range(0, 100000000000)",
        "select generate_series(timestamp '1970-01-01', timestamp '2200-01-01', interval '1 microsecond')",
        "select array_repeat(1, 100000000000)",
        "select replace(repeat('a', 100000), 'a', repeat('b', 100000))",
        "select regexp_like(repeat('a', 100000), '((((a{100}){100}){100}){100})')",
        "select * from time_series(timestamp '1970-01-01', timestamp '2200-01-01', interval '1 microsecond')",
        "select time_bucket(interval '0 seconds', ts) from samples",
        "select cast(1e308 as bigint), 9223372036854775807 + 1, 1 / 0",
        "select timestamp '999999-01-01' + interval '999999999 years'",
        "select forecast(ts, value, '100000 years') from samples",
        "select 1 limit -1",
        "select sum(value) over (rows between 99999999999999999999 preceding and current row) from samples",
        &chain,
        &brackets,
        &not,
        &unions,
        &list,
        &ands,
        &literal,
        &nested,
        &doubled,
        &case,
        &format!("select '{}'", "x".repeat(8_000_000)),
        "",
        "\0",
        ";;;",
        "select '☃",
    ];
    let home = Home::new().unwrap().with_settings(SETTINGS);
    let mut process = home.start().await.unwrap();
    let client = home.client();
    for query in queries {
        let shown: String = query.chars().take(100).collect();
        let begun = Instant::now();
        let headers = [("content-type", "text/plain"), ("accept", "text/csv")];
        let reply = client.post("/api/v1/sql", &headers, query.to_owned()).await;
        let took = begun.elapsed();
        let memory = process.memory().unwrap();
        assert!(process.is_alive(), "{shown}: {}", home.log_tail());
        assert!(took < ANSWERED_WITHIN, "{shown}: {took:?}");
        assert!(memory.peak < MEMORY, "{shown}: {} MiB", memory.peak >> 20);
        // A long answer that hits a limit breaks off: there is no status any more by then.
        let Ok(reply) = reply else { continue };
        let fine = reply.status.is_success() || reply.status.is_client_error();
        assert!(fine, "{shown}: {} {}", reply.status, reply.text);
        if !reply.status.is_success() {
            let detail = reply.json().unwrap()["detail"].as_str().unwrap_or_default().to_owned();
            assert!(!detail.is_empty() && detail.len() < 2_000, "{shown}: {detail}");
        }
        let took = took.as_millis();
        println!("{took:>6} ms {:>5} MiB {} {shown}", memory.resident >> 20, reply.status.as_u16());
    }
    assert!(client.is_ready().await, "{}", home.log_tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_reads_nothing_but_tables_and_changes_nothing() {
    let home = Home::new().unwrap();
    let _process = home.start().await.unwrap();
    let client = home.client();
    let secret = home.path().join("secret.csv");
    std::fs::write(&secret, "word\nsesame\n").unwrap();
    let (secret, target) = (secret.display(), home.path().join("out"));
    let queries = [
        format!("select * from '{secret}'"),
        format!("select * from read_csv('{secret}')"),
        format!("select * from read_parquet('{secret}')"),
        format!("create external table x stored as csv location '{secret}'"),
        format!("copy (select 1) to '{}'", target.display()),
        format!("copy samples to '{}'", target.display()),
        format!("explain analyze copy (select 1) to '{}'", target.display()),
        "create table x as select 1".to_owned(),
        "create view x as select 1".to_owned(),
        "create schema x".to_owned(),
        "create function f(x int) returns int return x".to_owned(),
        "drop table samples".to_owned(),
        "delete from samples".to_owned(),
        "truncate table samples".to_owned(),
        "insert into samples select * from samples".to_owned(),
        "insert into api_key select * from api_key".to_owned(),
        "update api_key set role = 'admin'".to_owned(),
        "set datafusion.execution.batch_size = 1".to_owned(),
        "begin".to_owned(),
        "select 1; drop table samples".to_owned(),
        "prepare p as select 1".to_owned(),
        "attach 'x' as y".to_owned(),
    ];
    for query in queries {
        let headers = [("content-type", "text/plain")];
        let reply = client.post("/api/v1/sql", &headers, query.clone()).await.unwrap();
        assert_eq!(reply.status.as_u16(), 400, "{query}: {} {}", reply.status, reply.text);
        assert!(!reply.text.contains("sesame"), "{query}: {}", reply.text);
        assert!(!target.exists(), "{query}");
    }
    // No question shows a key, not even its hash.
    let question = "select table_name || '.' || column_name from information_schema.columns \
                    where table_schema = 'public'";
    let columns = client.rows(question).await.unwrap();
    let is_secret = |name: &str| ["hash", "secret", "password"].iter().any(|it| name.contains(it));
    let secret: Vec<_> = columns.iter().filter(|row| is_secret(&row[0])).collect();
    assert!(columns.len() > 100 && secret.is_empty(), "{secret:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_address_answers_odd_parameters_with_a_problem() {
    let home = Home::new().unwrap();
    let mut process = home.start().await.unwrap();
    let client = home.client();
    let long = "x".repeat(20_000);
    let odd = [
        "from=-99999999999999999999d",
        "from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:59Z",
        "from=yesterday",
        "from=-1h&to=-2h",
        "from=%00",
        "from=%ff%fe",
        "limit=-1",
        "limit=0",
        "limit=99999999999999999999",
        "limit=many",
        "cursor=x",
        "cursor=-1-1",
        "max_points=0",
        "max_points=x",
        "resolution=1ms",
        "metric=' or 1=1 --",
        "metric=%00",
        "component=%ff",
        "horizon=-1h",
        "unknown=1",
        &format!("metric={long}"),
        "&&&===",
    ];
    for path in [
        "samples",
        "series",
        "metrics",
        "events",
        "health",
        "health/history",
        "health/trends",
        "baselines",
        "forecasts",
        "forecasts/accuracy",
        "predictions/health",
        "predictions/risks",
        "predictions/alerts",
        "performance/metrics",
        "performance/bottlenecks",
        "performance/recommendations",
        "findings",
        "slos",
        "explain",
        "incidents",
        "incidents/none",
        "actions",
        "actions/none",
        "deliveries",
        "deliveries/none",
        "destinations",
        "destinations/none",
        "silences",
        "maintenance",
        "playbooks",
        "healing",
        "debug/snapshot",
    ] {
        for query in odd {
            let path = format!("/api/v1/{path}?{query}");
            let (reply, headers) = client.send(Method::GET, &path).await.unwrap();
            let shown: String = path.chars().take(100).collect();
            let fine = reply.status.is_success() || reply.status.is_client_error();
            assert!(fine, "{shown}: {} {}", reply.status, reply.text);
            if reply.status.is_client_error() {
                is_problem(&shown, &reply, &headers);
            }
        }
        let (reply, headers) =
            client.send(Method::PATCH, &format!("/api/v1/{path}")).await.unwrap();
        assert_eq!(reply.status.as_u16(), 405, "{path}");
        is_problem(path, &reply, &headers);
        assert!(headers["allow"].to_str().unwrap().contains("GET"), "{path}: {headers:?}");
    }
    let headers = [("content-type", "application/json")];
    for (path, body) in [
        ("/api/v1/sql", &b"\xff\xfe"[..]),
        ("/api/v1/sql", b"{}"),
        ("/api/v1/sql", b"{\"query\": 1}"),
        ("/api/v1/samples?history=maybe", b"{}"),
        ("/api/v1/events", b"[]"),
        ("/api/v1/deliveries", b"[1]"),
        ("/api/v1/destinations", b"{\"name\": 1}"),
        ("/api/v1/silences", b"\xff"),
        ("/api/v1/incidents/none/comment", b"\xff"),
        ("/api/v1/nowhere", b""),
    ] {
        let (reply, headers) =
            client.post_with_headers(path, &headers, body.to_vec()).await.unwrap();
        assert!(reply.status.is_client_error(), "{path}: {} {}", reply.status, reply.text);
        is_problem(path, &reply, &headers);
    }
    assert!(process.is_alive() && client.is_ready().await, "{}", home.log_tail());
}

#[track_caller]
fn is_problem(what: &str, reply: &tests::client::Reply, headers: &reqwest::header::HeaderMap) {
    let kind = headers["content-type"].to_str().unwrap();
    assert_eq!(kind, "application/problem+json", "{what}: {}", reply.text);
    let problem = reply.json().unwrap();
    assert_eq!(problem["status"], reply.status.as_u16(), "{what}");
    assert!(
        problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()),
        "{what}: {problem}"
    );
}
