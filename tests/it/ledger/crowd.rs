//! One of many: what a decision about a few incidents reads and writes while there are hundreds of others.

use data::ledger::{Concern, Symptom};

use super::*;

/// More than one statement takes at once.
const MANY: usize = 300;

fn id(n: usize) -> String {
    format!("crowd-{n:03}")
}

fn crowd(n: usize) -> Incident {
    Incident { id: id(n), dedupe_key: format!("{}/work", id(n)), component: id(n), ..incident() }
}

fn symptom(n: usize, bad: bool) -> Symptom {
    Symptom {
        id: format!("symptom of {}", id(n)),
        rule: "Down".to_owned(),
        component: id(n),
        kind: "service_down".to_owned(),
        severity: "critical".to_owned(),
        title: "down".to_owned(),
        metric: None,
        series: Some(1),
        labels: "{}".to_owned(),
        bad,
        history: 1,
        n_history: 1,
        observed: n.is_multiple_of(2).then_some(0.5),
        expected: None,
        score: None,
        bad_since: Some(now()),
        since: now(),
        seen_at: now(),
        known_at: None,
        expires_at: Some(now() + TimeDelta::minutes(if n == 2 { 1 } else { 60 })),
        incident_id: Some(id(n)),
    }
}

fn line(n: usize, kind: &str) -> (String, IncidentEvent) {
    let (who, detail) = ("detector".to_owned(), kind.to_owned());
    (id(n), IncidentEvent { at: now(), kind: kind.to_owned(), who, detail })
}

pub(super) async fn all(one: &Ledger, other: &Ledger) {
    written(one, other).await;
    concerned(other).await;
    fading(one).await;
}

/// Many are kept together, and none if one of them has changed.
async fn written(one: &Ledger, other: &Ledger) {
    let opened = Changes {
        incidents: (0..MANY).map(crowd).collect(),
        events: (0..MANY).flat_map(|n| [line(n, "opened"), line(n, "waits")]).collect(),
        symptoms: (0..MANY).map(|n| symptom(n, true)).collect(),
        ..Changes::default()
    };
    one.apply(&opened, None, now()).await.unwrap();
    let timeline = other.timeline(&id(7)).await.unwrap();
    assert_eq!(timeline.iter().map(|it| &it.kind[..]).collect::<Vec<_>>(), ["opened", "waits"]);
    let latest = other.latest_lines(&[id(1), id(2), id(MANY)], &["opened"]).await.unwrap();
    assert_eq!((latest.len(), latest[&id(2)].kind.as_str()), (2, "opened"));
    let change = |version: i64, title: &str| {
        let changed = (0..MANY).map(|n| Incident {
            version: if n == 5 { version } else { 1 },
            title: title.to_owned(),
            told_to: vec!["chat".to_owned()],
            ..crowd(n)
        });
        Changes {
            incidents: changed.collect(),
            events: vec![line(9, "worse")],
            ..Changes::default()
        }
    };
    one.apply(&change(2, "not kept"), None, now()).await.unwrap_err();
    assert_eq!(other.incident(&id(4)).await.unwrap().unwrap().title, incident().title);
    assert_eq!(other.timeline(&id(9)).await.unwrap().len(), 2);
    one.apply(&change(1, "kept"), None, now()).await.unwrap();
    let kept = other.incident(&id(MANY - 1)).await.unwrap().unwrap();
    assert_eq!((kept.title.as_str(), kept.version, kept.told_to.len()), ("kept", 2, 1));
    // The key of one that ends is free for one that opens, in one change.
    let over =
        Incident { state: "resolved".into(), resolved_at: Some(now()), version: 2, ..crowd(3) };
    let anew = Incident { id: "a new one".to_owned(), ..crowd(3) };
    let incidents = vec![anew, over];
    one.apply(&Changes { incidents, ..Changes::default() }, None, now()).await.unwrap();
}

/// Nobody else's incidents are read.
async fn concerned(ledger: &Ledger) {
    let about = Concern {
        symptoms: vec![symptom(1, true).id, "unheard of".to_owned()],
        keys: vec![crowd(4).dedupe_key, crowd(3).dedupe_key],
        whole: vec![crowd(6).dedupe_key, id(8)],
    };
    let check = async |since: i64, expected: &[String]| {
        let since = now() + TimeDelta::seconds(since);
        let (incidents, symptoms) = ledger.concerned(&about, since).await.unwrap();
        let mut found: Vec<_> = incidents.into_iter().map(|it| it.id).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
        let mut found: Vec<_> = symptoms.into_iter().map(|it| it.component).collect();
        found.sort_unstable();
        assert_eq!(found, [id(1), id(6), id(8)]);
    };
    let anew = "a new one".to_owned();
    check(1, &[anew.clone(), id(1), id(4), id(6), id(8)]).await;
    check(0, &[anew, id(1), id(3), id(4), id(6), id(8)]).await;
    assert_eq!(ledger.symptoms_in(&id(8)).await.unwrap(), [symptom(8, true)]);
}

/// Only what may be over is looked at.
async fn fading(ledger: &Ledger) {
    let symptoms = vec![symptom(7, false)];
    ledger.apply(&Changes { symptoms, ..Changes::default() }, None, now()).await.unwrap();
    let check = async |minutes: i64, expected: &[String], n_symptoms: usize| {
        let at = now() + TimeDelta::minutes(minutes);
        let (incidents, symptoms) = ledger.fading(at).await.unwrap();
        let ours = incidents.iter().filter(|it| it.id.starts_with("crowd"));
        assert_eq!(ours.map(|it| it.id.clone()).collect::<Vec<_>>(), expected);
        assert_eq!(symptoms.len(), n_symptoms, "each one that is over, and those of the incidents");
    };
    check(0, &[id(7)], 1).await;
    check(1, &[id(2), id(7)], 3).await;
    assert_eq!(ledger.doubtful_symptoms().await.unwrap().len(), 1);
}
