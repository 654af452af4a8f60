//! Actions against the real thing: each does what its name says, and nothing else.

mod containers;

use std::{path::Path, time::Duration};

use chrono::Utc;
use redis::{AsyncCommands, aio::MultiplexedConnection};
use remediation::action::{self, Allowed, Context, Done};
use tests::{postgres::Postgres, redis::Redis};
use tokio_postgres::{Client, NoTls};

/// Runs an action from the text of its settings.
async fn run(name: &str, settings: &str, folder: Option<&Path>) -> Result<Done, String> {
    let action = action::parse(name, toml::from_str(settings).unwrap())?;
    let roots = folder.map(Path::to_owned).into_iter().collect();
    let allowed = Allowed { roots, ..Allowed::default() };
    let timeout = Duration::from_secs(10);
    action::run(&*action, &Context::new("k", allowed, timeout, Utc::now())).await
}

async fn session(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    client
}

async fn alive(client: &Client) -> bool {
    client.simple_query("select 1").await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_hold_others_up_are_ended_and_no_others() {
    let server = Postgres::start().unwrap();
    let url = &server.url;
    let (root, waiting, idle) = (session(url).await, session(url).await, session(url).await);
    idle.batch_execute("create table t (id int); insert into t values (1)").await.unwrap();
    root.batch_execute("begin; update t set id = 2").await.unwrap();
    let waits = tokio::spawn(async move { waiting.batch_execute("update t set id = 3").await });
    tokio::time::sleep(Duration::from_millis(700)).await;

    let settings = format!("url = '{url}'\nwaiting_for = '1h'");
    let error = run("postgres_end_blocker", &settings, None).await.unwrap_err();
    assert_eq!(error, "there is no such session now", "nobody has waited for an hour");
    let settings = format!("url = '{url}'\nwaiting_for = '500ms'");
    let done = run("postgres_end_blocker", &settings, None).await.unwrap();
    assert!(done.output.contains("blocked 1): reached"), "{}", done.output);
    waits.await.unwrap().unwrap();
    assert!(!alive(&root).await && alive(&idle).await);

    let holder = session(url).await;
    holder.batch_execute("begin; select * from t").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let settings = format!("url = '{url}'\nolder_than = '200ms'");
    run("postgres_end_idle", &settings, None).await.unwrap();
    assert!(!alive(&holder).await && alive(&idle).await);

    let runaway = session(url).await;
    let runs = tokio::spawn(async move {
        let ended = runaway.batch_execute("select pg_sleep(60)").await;
        (ended.unwrap_err().to_string(), alive(&runaway).await)
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    run("postgres_cancel_statement", &settings, None).await.unwrap();
    let (_, is_alive) = runs.await.unwrap();
    assert!(is_alive, "the statement is cancelled, its session stays");

    let settings = format!("url = '{url}'\ntable = 'public.t'");
    run("postgres_analyse", &settings, None).await.unwrap();
    let settings = format!("url = '{url}'\ntable = 'none'");
    run("postgres_analyse", &settings, None).await.unwrap_err();
}

/// `…/name` in place of the database of an address.
fn database(url: &str, name: &str) -> String {
    let (server, rest) = url.rsplit_once('/').unwrap();
    let settings = rest.split_once('?').map(|(_, it)| format!("?{it}")).unwrap_or_default();
    format!("{server}/{name}{settings}")
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_other_databases_our_own_and_who_blocks_nobody_for_long_stay() {
    let server = Postgres::start().unwrap();
    let url = &server.url;
    let first = session(url).await;
    first.batch_execute("create database other").await.unwrap();
    let other = &database(url, "other");
    for url in [url, other] {
        let table = "create table t (id int); insert into t values (1)";
        session(url).await.batch_execute(table).await.unwrap();
    }
    // In each database one waits for another, here for long, there for a moment.
    let hold = async |url: &str| {
        let root = session(url).await;
        root.batch_execute("begin; update t set id = 2").await.unwrap();
        let waits = session(url).await;
        tokio::spawn(async move { waits.batch_execute("update t set id = 3").await });
        root
    };
    let long = hold(url).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let (short, elsewhere) = (session(url).await, hold(other).await);
    short.batch_execute("create table u (id int); insert into u values (1)").await.unwrap();
    short.batch_execute("begin; update u set id = 2").await.unwrap();
    let waits = session(url).await;
    tokio::spawn(async move {
        // How long it has run says nothing about how long it waits.
        waits.batch_execute("select pg_sleep(1.2); update u set id = 3").await
    });
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let settings = format!("url = '{url}'\nwaiting_for = '1s'");
    let done = run("postgres_end_blocker", &settings, None).await.unwrap();
    assert_eq!(done.summary, "1 sessions", "{}", done.output);
    assert!(!alive(&long).await && alive(&short).await && alive(&elsewhere).await);
    let settings = format!("url = '{url}'\nwaiting_for = '100ms'");
    run("postgres_end_blocker", &settings, None).await.unwrap();
    assert!(!alive(&short).await && alive(&elsewhere).await);

    let separator = if url.contains('?') { '&' } else { '?' };
    let ours = session(&format!("{url}{separator}application_name=pipenotify")).await;
    let (mine, busy) = (session(url).await, session(other).await);
    let works = tokio::spawn(async move { busy.batch_execute("select pg_sleep(2)").await.is_ok() });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let settings = format!("url = '{url}'\nolder_than = '200ms'");
    run("postgres_cancel_statement", &settings, None).await.unwrap_err();
    let all = format!("{settings}\nalso_idle_sessions = true");
    run("postgres_end_idle", &all, None).await.unwrap();
    assert!(!alive(&mine).await && alive(&ours).await && alive(&elsewhere).await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let all = format!("{all}\nall_databases = true");
    run("postgres_end_idle", &all, None).await.unwrap();
    assert!(alive(&ours).await && !alive(&elsewhere).await, "unless it is asked for");
    assert!(works.await.unwrap());
}

async fn connect(server: &Redis) -> MultiplexedConnection {
    let client = redis::Client::open(server.url.as_str()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

async fn call<T: redis::FromRedisValue>(redis: &mut MultiplexedConnection, words: &str) -> T {
    let mut words = words.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    for word in words {
        command.arg(word);
    }
    command.query_async(redis).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_behind_poison_is_not_set_aside() {
    let server = Redis::start().unwrap();
    let (redis, url) = (&mut connect(&server).await, &server.url);
    let _: String = call(redis, "XGROUP CREATE jobs workers $ MKSTREAM").await;
    for job in ["poison", "behind"] {
        let _: String = call(redis, &format!("XADD jobs * job {job}")).await;
    }
    let _: redis::Value = call(redis, "XREADGROUP GROUP workers one COUNT 2 STREAMS jobs >").await;
    // Both are taken again and again, and the worker gets no further than the first.
    for _ in 0..5 {
        let _: redis::Value = call(redis, "XAUTOCLAIM jobs workers one 0 0 COUNT 2").await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let settings = format!(
        "url = '{url}'\nkey = 'jobs'\ngroup = 'workers'\nidle = '50ms'\ndeliveries_max = 3\n\
         poison_key = 'jobs:dead'"
    );
    let done = run("redis_claim_pending", &settings, None).await.unwrap();
    assert_eq!(done.summary, "1 entries are in line again, 1 are set aside");
    let dead: Vec<(String, Vec<String>)> = call(redis, "XRANGE jobs:dead - +").await;
    assert_eq!(dead[0].1, ["job", "poison"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn stuck_queue_entries_are_in_line_again_and_poison_is_set_aside() {
    let server = Redis::start().unwrap();
    let (redis, url) = (&mut connect(&server).await, &server.url);
    let _: String = call(redis, "XGROUP CREATE jobs workers $ MKSTREAM").await;
    for job in ["one", "two", "poison"] {
        let _: String = call(redis, &format!("XADD jobs * job {job}")).await;
    }
    let _: redis::Value = call(redis, "XREADGROUP GROUP workers dead COUNT 3 STREAMS jobs >").await;
    // The third was tried again and again.
    let pending: Vec<(String, String, u64, usize)> =
        call(redis, "XPENDING jobs workers - + 10").await;
    let poison = &pending[2].0;
    for _ in 0..5 {
        let _: redis::Value = call(redis, &format!("XCLAIM jobs workers dead 0 {poison}")).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let settings = format!(
        "url = '{url}'\nkey = 'jobs'\ngroup = 'workers'\nidle = '50ms'\ndeliveries_max = 3\n\
         poison_key = 'jobs:dead'"
    );
    let done = run("redis_claim_pending", &settings, None).await.unwrap();
    assert_eq!(done.summary, "2 entries are in line again, 1 are set aside");
    let pending: (u64, redis::Value, redis::Value, redis::Value) =
        call(redis, "XPENDING jobs workers").await;
    assert_eq!(pending.0, 0);
    let (queue, dead): (usize, usize) =
        (redis.xlen("jobs").await.unwrap(), redis.xlen("jobs:dead").await.unwrap());
    assert_eq!((queue, dead), (2, 1), "each entry is in one place");
    let read: redis::streams::StreamReadReply =
        call(redis, "XREADGROUP GROUP workers alive COUNT 10 STREAMS jobs >").await;
    assert_eq!(read.keys[0].ids.len(), 2, "any worker gets them");
    run("redis_claim_pending", &settings, None).await.unwrap_err();

    for job in ["a", "b"] {
        let _: usize = call(redis, &format!("RPUSH busy {job}")).await;
    }
    let settings = format!("url = '{url}'\nfrom = 'busy'\nto = 'queue'");
    run("redis_requeue_list", &settings, None).await.unwrap();
    let queue: Vec<String> = redis.lrange("queue", 0, -1).await.unwrap();
    assert_eq!((queue, redis.llen("busy").await), (vec!["a".into(), "b".into()], Ok(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_finishes_meanwhile_is_not_done_again() {
    let server = Redis::start().unwrap();
    let (redis, url) = (&mut connect(&server).await, &server.url);
    let _: String = call(redis, "XGROUP CREATE jobs workers $ MKSTREAM").await;
    let mut ids = vec![];
    for n in 0..3_000 {
        ids.push(call::<String>(redis, &format!("XADD jobs * n {n}")).await);
    }
    let read = "XREADGROUP GROUP workers one COUNT 3000 STREAMS jobs >";
    let _: redis::Value = call(redis, read).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let settings = format!("url = '{url}'\nkey = 'jobs'\ngroup = 'workers'\nidle = '50ms'");
    let works = async {
        // From the end of each chunk that the action reads, so that both meet.
        let mut finished = std::collections::BTreeSet::new();
        for chunk in ids.chunks(500) {
            for id in chunk.iter().rev() {
                if call::<usize>(redis, &format!("XACK jobs workers {id}")).await == 1 {
                    finished.insert(ids.iter().position(|it| it == id).unwrap());
                }
            }
        }
        finished
    };
    let (finished, done) = tokio::join!(works, run("redis_claim_pending", &settings, None));
    let redis = &mut connect(&server).await;
    let anew = format!("XRANGE jobs ({} +", ids.last().unwrap());
    let anew: Vec<(String, Vec<String>)> = call(redis, &anew).await;
    let again = anew.iter().filter(|(_, it)| finished.contains(&it[1].parse().unwrap())).count();
    assert_eq!(again, 0, "of {}: {done:?}", finished.len());
    assert_eq!(finished.len() + anew.len(), 3_000, "and nothing is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_groups_of_a_stream_get_nothing_twice_and_lose_nothing() {
    let server = Redis::start().unwrap();
    let (redis, url) = (&mut connect(&server).await, &server.url);
    for group in ["mail", "bill"] {
        let _: String = call(redis, &format!("XGROUP CREATE jobs {group} $ MKSTREAM")).await;
    }
    for job in ["poison", "one", "two"] {
        let _: String = call(redis, &format!("XADD jobs * job {job}")).await;
    }
    let _: redis::Value = call(redis, "XREADGROUP GROUP mail dead STREAMS jobs >").await;
    let _: redis::Value = call(redis, "XREADGROUP GROUP mail dead STREAMS jobs 0").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let settings = format!("url = '{url}'\nkey = 'jobs'\ngroup = 'mail'\nidle = '50ms'");
    let error = run("redis_claim_pending", &settings, None).await.unwrap_err();
    assert!(error.starts_with("several groups read `jobs`, so 3 entries cannot"), "{error}");
    assert_eq!(redis.xlen::<_, usize>("jobs").await, Ok(3));

    for _ in 0..3 {
        let _: redis::Value = call(redis, "XAUTOCLAIM jobs mail dead 0 0 COUNT 1").await;
    }
    let settings = format!("{settings}\ndeliveries_max = 2\npoison_key = 'dead'");
    let done = run("redis_claim_pending", &settings, None).await.unwrap();
    assert_eq!(done.summary, "0 entries are in line again, 1 are set aside");
    let pending: (u64, redis::Value, redis::Value, redis::Value) =
        call(redis, "XPENDING jobs mail").await;
    assert_eq!((pending.0, redis.xlen("dead").await), (2, Ok(1)));
    let read: redis::streams::StreamReadReply =
        call(redis, "XREADGROUP GROUP bill one STREAMS jobs >").await;
    assert_eq!(read.keys[0].ids.len(), 3, "who did not complain gets all of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_trimmed_after_its_entries_are_on_disk() {
    let server = Redis::start().unwrap();
    let redis = &mut connect(&server).await;
    for n in 0..10 {
        let _: String = call(redis, &format!("XADD log * n {n}")).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("log.jsonl");
    let settings =
        format!("url = '{}'\nkey = 'log'\nkeep = 3\narchive = '{}'", server.url, archive.display());
    let error = run("redis_trim_stream", &settings, None).await.unwrap_err();
    assert!(error.contains("healing.allow_folders"), "{error}");
    // A link in place of the archive leads nowhere.
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("x"), &archive).unwrap();
    let error = run("redis_trim_stream", &settings, Some(folder.path())).await.unwrap_err();
    assert!(error.ends_with("is no ordinary file"), "{error}");
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    assert_eq!(redis.xlen::<_, usize>("log").await, Ok(10));
    std::fs::remove_file(&archive).unwrap();
    run("redis_trim_stream", &settings, Some(folder.path())).await.unwrap();
    assert_eq!(redis.xlen::<_, usize>("log").await, Ok(3));
    let kept = std::fs::read_to_string(archive).unwrap();
    assert_eq!(kept.lines().count(), 7);
    assert!(kept.lines().next().unwrap().contains("\"n\":\"0\""), "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_goes_to_a_queue_of_its_own_and_comes_back_when_asked() {
    use serde_json::json;
    let broker = tests::rabbitmq::RabbitMq::start().await.unwrap();
    for queue in ["orders", "other"] {
        let path = format!("queues/%2F/{queue}");
        broker.call("PUT", &path, Some(json!({"durable": true}))).await.unwrap();
    }
    for payload in ["poison", "fine"] {
        let message = json!({
            "properties": {"delivery_mode": 2}, "routing_key": "orders", "payload": payload,
            "payload_encoding": "string",
        });
        broker.call("POST", "exchanges/%2F/amq.default/publish", Some(message)).await.unwrap();
    }
    let get = async |queue: &str, n: usize| -> Vec<String> {
        let body = json!({"count": n, "ackmode": "ack_requeue_true", "encoding": "auto"});
        let found = broker.call("POST", &format!("queues/%2F/{queue}/get"), Some(body)).await;
        let found = found.unwrap();
        let text = |it: &serde_json::Value| it["payload"].as_str().unwrap().to_owned();
        found.as_array().unwrap().iter().map(text).collect()
    };
    let settings = format!("url = '{}'\nqueue = 'orders'\nto = 'orders.dead'", broker.url);
    // Somebody has looked at it, and that is no reason to set it aside, also not the second time.
    for _ in 0..2 {
        let error = run("rabbitmq_dead_letter", &settings, None).await.unwrap_err();
        assert_eq!(error, "no message at the head of the queue has come back");
    }
    // A consumer takes it and gives it back, again and again.
    let begun = std::time::Instant::now();
    loop {
        assert_eq!(get("orders", 1).await, ["poison"]);
        let shown = broker.call("GET", "queues/%2F/orders", None).await.unwrap();
        let rate = shown["message_stats"]["redeliver_details"]["rate"].as_f64();
        if rate.is_some_and(|it| it > 0.0) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{shown:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let done = run("rabbitmq_dead_letter", &settings, None).await.unwrap();
    assert_eq!(
        (done.summary.as_str(), done.output.as_str()),
        ("1 messages are in `orders.dead` now", "poison")
    );
    assert_eq!(get("orders", 10).await, ["fine"], "the rest flows");
    assert_eq!(get("orders.dead", 10).await, ["poison"], "nothing is lost");
    let policies = broker.call("GET", "policies", None).await.unwrap();
    assert_eq!(policies, json!([]), "the rule is gone");

    let settings = format!("url = '{}'\nfrom = 'orders.dead'\nto = 'orders'", broker.url);
    run("rabbitmq_redeliver", &settings, None).await.unwrap();
    assert_eq!(get("orders", 10).await, ["fine", "poison"]);
    let error = run("rabbitmq_redeliver", &settings, None).await.unwrap_err();
    assert_eq!(error, "the dead-letter queue is empty");
    let settings = format!("url = '{}'\nqueue = 'orders'", broker.url);
    let error = run("rabbitmq_close_consumers", &settings, None).await.unwrap_err();
    assert_eq!(error, "`orders` has no consumers");
}
