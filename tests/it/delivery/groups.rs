//! What is told together, to whom, and that a restart neither repeats nor forgets any of it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use tests::{
    process::Home,
    receiver::{Mood, Receiver},
};

use super::{QUICK, post};

fn alerts(components: &[&str], ends_in_s: i64) -> Value {
    let one = |component: &&str| {
        json!({
            "labels": {"alertname": "Down", "component": component, "severity": "warning"},
            "annotations": {"summary": format!("{component} is down")},
            "startsAt": Utc::now(), "endsAt": Utc::now() + TimeDelta::seconds(ends_in_s),
        })
    };
    components.iter().map(one).collect()
}

/// Each message once, in order: its type and the components it is about.
fn told(room: &Receiver) -> Vec<(String, String)> {
    let mut all: BTreeMap<String, (Instant, Value)> = BTreeMap::new();
    for it in room.seen().iter().filter(|it| it.status == 200) {
        all.entry(it.id().to_owned()).or_insert((it.at, it.json()));
    }
    let mut all: Vec<_> = all.into_values().collect();
    all.sort_by_key(|(at, _)| *at);
    let said = |(_, it): (Instant, Value)| {
        let mut about: Vec<_> = it["incidents"].as_array().into_iter().flatten().collect();
        about.sort_by_key(|it| it["component"].as_str());
        let about: Vec<_> = about.iter().filter_map(|it| it["component"].as_str()).collect();
        (it["type"].as_str().unwrap_or_default().to_owned(), about.join(" "))
    };
    all.into_iter().map(said).collect()
}

async fn until(home: &Home, room: &Receiver, n: usize) {
    let begun = Instant::now();
    while told(room).len() < n {
        let (said, log) = (told(room), home.log_tail());
        assert!(begun.elapsed() < Duration::from_secs(40), "{said:?} are not {n}\n{log}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn expected(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(kind, about)| ((*kind).to_owned(), (*about).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_told_together_and_of_its_end_across_a_restart() {
    let (chat, dba) =
        (Receiver::start(Mood::Well).await.unwrap(), Receiver::start(Mood::Well).await.unwrap());
    let settings = format!(
        "{QUICK}[healing]\nevery = '200ms'\nlease = '2s'\n\
         [notify]\nto = ['chat']\ngroup_wait = '2s'\ngroup_interval = '8s'\n\
         [[notify.route]]\nmatch = {{ component = ['db-*'] }}\nto = ['dba']\n\
         [[delivery.destination]]\nname = 'chat'\nkind = 'webhook'\nurl = '{}'\n\
         [[delivery.destination]]\nname = 'dba'\nkind = 'webhook'\nurl = '{}'\n",
        chat.url(),
        dba.url()
    );
    let home = Home::new().unwrap().with_settings(settings);
    let process = home.start().await.unwrap();
    let tell = async |components: &[&str], ends_in_s: i64| {
        let body = alerts(components, ends_in_s);
        post(&home.client(), "/api/v2/alerts", &body).await.success().unwrap();
    };
    tell(&["shop"], 60).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    tell(&["mail", "db-1"], 60).await;
    until(&home, &chat, 1).await;
    let first = Instant::now();
    until(&home, &dba, 1).await;
    assert_eq!(told(&chat), expected(&[("incident.notice", "mail shop")]));
    assert_eq!(told(&dba), expected(&[("incident.notice", "db-1")]));
    // What changes meanwhile waits for the interval, also if the process does not live that long.
    tell(&["shop", "mail", "db-1"], -1).await;
    tell(&["queue"], 60).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(told(&chat).len(), 1, "{:?}", told(&chat));
    process.kill().unwrap();
    let _process = home.start().await.unwrap();
    until(&home, &chat, 2).await;
    assert!(first.elapsed() >= Duration::from_secs(6), "{:?}", first.elapsed());
    until(&home, &dba, 2).await;
    assert_eq!(told(&chat)[1..], expected(&[("incident.notice", "mail queue shop")]));
    assert_eq!(told(&dba)[1..], expected(&[("incident.resolved", "db-1")]));
    tell(&["queue"], -1).await;
    until(&home, &chat, 3).await;
    assert_eq!(told(&chat)[2..], expected(&[("incident.resolved", "queue")]));
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!((told(&chat).len(), told(&dba).len()), (3, 2), "nothing is told twice");
}
