//! S5 in full: a chat room answers 503 for ten minutes, with the schedule that users get.
//!
//! For the process under test time goes twenty times faster (libfaketime: its clocks, sleeps and timeouts), so
//! its ten minutes are half a minute here. Only how long an answer may take is set, since the room and the
//! machine are not faster.

use std::time::Duration;

use serde_json::json;
use tests::{
    faketime,
    process::Home,
    receiver::{Mood, Receiver},
};

use super::{destination, post, settled};

/// How much faster time goes for the process.
const FASTER: u32 = 20;
/// How long the room is down, for the process.
const DOWN: Duration = Duration::from_secs(600);
/// Messages; a list is taken in one request.
const MESSAGES: usize = 100;
/// Calls that are on their way when the room goes down, and one for each time that the breaker lets one try:
/// with growing pauses, in the end once a minute.
const CALLS_MAX: usize = 60;

const SETTINGS: &str = "[collect]
host = []
[query]
timeout = '20m'
[http]
body_timeout = '20m'
[delivery]
allow_private = true
timeout = '2m'
lease = '5m'
";

#[tokio::test(flavor = "multi_thread")]
async fn after_ten_minutes_each_message_is_there_once_and_calls_were_few() {
    let room = Receiver::start(Mood::Status(503)).await.unwrap();
    let home = faketime::faster(FASTER)
        .unwrap()
        .into_iter()
        .fold(Home::new().unwrap(), |home, (name, value)| home.with_env(name, value))
        .with_settings(SETTINGS);
    let _process = home.start().await.unwrap();
    let client = home.client();
    destination(&client, "chat", &room.url()).await;
    let one = |n: usize| json!({"destination": "chat", "idempotency_key": format!("{n}"), "payload": {"n": n}});
    let all: Vec<_> = (0..MESSAGES).map(one).collect();
    post(&client, "/api/v1/deliveries", &json!(all)).await.success().unwrap();
    tokio::time::sleep(DOWN / FASTER).await;
    let n_calls = room.n_seen();
    assert!((5..=CALLS_MAX).contains(&n_calls), "{n_calls} calls while it was down");
    assert_eq!(room.taken().len(), 0);
    room.set(Mood::Well);
    room.wait_for(MESSAGES, Duration::from_secs(60)).await.unwrap();
    settled(&client).await;
    let taken = room.taken();
    assert!(taken.len() == MESSAGES && taken.values().all(|n| *n == 1), "{taken:?}");
    let n_after = room.n_seen() - n_calls;
    assert!(n_after <= MESSAGES + 1, "{n_after} calls for {MESSAGES} messages after it was well");
    let mut told: Vec<_> = room
        .seen()
        .iter()
        .filter(|it| it.status == 200)
        .map(|it| it.json()["n"].as_u64())
        .collect();
    told.sort_unstable();
    let expected: Vec<_> = (0..MESSAGES as u64).map(Some).collect();
    assert_eq!(told, expected);
}
