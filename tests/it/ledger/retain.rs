//! What is over goes after a while, a bounded number at a time; what is not stays, and what it refers to.

use data::ledger::{Action, Promise, Symptom};

use super::*;

fn days_ago(days: i64) -> DateTime<Utc> {
    now() - TimeDelta::days(days)
}

fn old(id: &str, days: i64) -> Incident {
    let at = days_ago(days);
    Incident {
        id: id.to_owned(),
        dedupe_key: id.to_owned(),
        state: "resolved".to_owned(),
        started_at: at,
        opened_at: at,
        updated_at: at,
        resolved_at: Some(at + TimeDelta::minutes(5)),
        resolved_by: Some("itself".to_owned()),
        ..incident()
    }
}

fn unfinished(id: &str) -> Incident {
    Incident { state: "open".to_owned(), resolved_at: None, resolved_by: None, ..old(id, 900) }
}

fn action(incident: &str, state: &str) -> Action {
    let at = days_ago(900);
    Action {
        id: format!("of {incident}"),
        incident_id: incident.to_owned(),
        symptom_id: "s".to_owned(),
        incident_kind: "disk_filling".to_owned(),
        component: "host".to_owned(),
        playbook: "p".to_owned(),
        rung: 0,
        action: "delete_files".to_owned(),
        target: incident.to_owned(),
        risk: "low".to_owned(),
        state: state.to_owned(),
        outcome: (state == "ended").then(|| "effective".to_owned()),
        detail: String::new(),
        output: String::new(),
        before: None,
        after: None,
        created_at: at,
        started_at: Some(at),
        acted_at: Some(at),
        verify_from: None,
        verify_until: None,
        ended_at: (state == "ended").then_some(at),
        owner: None,
        deadline: None,
        approval_hash: None,
        approval_until: None,
        decided_by: None,
        version: 0,
    }
}

fn symptom(incident: &str) -> Symptom {
    Symptom {
        id: "lasting".to_owned(),
        rule: "health".to_owned(),
        component: "host".to_owned(),
        kind: "disk_filling".to_owned(),
        severity: "warning".to_owned(),
        title: "disk is full".to_owned(),
        metric: None,
        series: None,
        labels: "{}".to_owned(),
        bad: true,
        history: 1,
        n_history: 1,
        observed: None,
        expected: None,
        score: None,
        bad_since: Some(days_ago(900)),
        since: days_ago(900),
        seen_at: days_ago(900),
        known_at: Some(days_ago(900)),
        expires_at: None,
        incident_id: Some(incident.to_owned()),
    }
}

pub(super) async fn all(one: &Ledger, other: &Ledger) {
    incidents(one, other).await;
    for days in [500, 450, 10] {
        one.audit("ann", "create key", days_ago(days), "old").await.unwrap();
    }
    let before = days_ago(400);
    assert_eq!(other.expire_audit(before, 1).await.unwrap(), 1, "no more than it may");
    assert_eq!(other.expire_audit(before, 9).await.unwrap(), 1);
    let left = one.audited(99).await.unwrap();
    assert!(left.iter().all(|it| it.at >= before) && left.iter().any(|it| it.detail == "old"));
    quarantined(one).await;
}

async fn incidents(one: &Ledger, other: &Ledger) {
    let part = |id: &str, whole: &str| Incident {
        merged_into: Some(whole.to_owned()),
        resolved_by: Some("merge".to_owned()),
        ..old(id, 900)
    };
    let incidents = vec![
        old("gone-1", 900),
        old("gone-2", 900),
        part("gone-3", "gone-1"),
        old("young", 399),
        unfinished("open"),
        part("part-of-open", "open"),
        old("acted-on", 900),
        old("seen", 900),
    ];
    let told = IncidentEvent {
        at: days_ago(900),
        kind: "opened".to_owned(),
        who: "detector".to_owned(),
        detail: String::new(),
    };
    let changes = Changes {
        events: incidents.iter().map(|it| (it.id.clone(), told.clone())).collect(),
        incidents,
        symptoms: vec![symptom("seen")],
        actions: vec![action("gone-1", "ended"), action("acted-on", "verifying")],
        ..Changes::default()
    };
    one.apply(&changes, None, now()).await.unwrap();
    let before = days_ago(400);
    assert_eq!(other.expire_incidents(before, 2).await.unwrap(), 2, "no more than it may");
    while other.expire_incidents(before, 2).await.unwrap() > 0 {}
    for id in ["gone-1", "gone-2", "gone-3"] {
        assert_eq!(one.incident(id).await.unwrap(), None, "{id}");
        assert_eq!(one.timeline(id).await.unwrap(), [], "{id}");
        assert_eq!(one.actions_of(id).await.unwrap(), [], "{id}");
    }
    for id in ["young", "open", "part-of-open", "acted-on", "seen"] {
        assert!(one.incident(id).await.unwrap().is_some(), "{id}");
        assert_eq!(one.timeline(id).await.unwrap().len(), 1, "{id}");
    }
    assert_eq!(one.actions_of("acted-on").await.unwrap().len(), 1);
}

async fn quarantined(one: &Ledger) {
    let promise = |id: &str, days: i64, quarantine: Option<&str>| Promise {
        id: id.to_owned(),
        tenant: "somebody".to_owned(),
        idempotency_key: id.to_owned(),
        fingerprint: String::new(),
        destination: "nowhere".to_owned(),
        route: vec![],
        ordering_key: None,
        payload: "{}".to_owned(),
        created_at: days_ago(days),
        due_at: days_ago(days),
        expires_at: None,
        quarantine: quarantine.map(str::to_owned),
        secret: None,
    };
    let promises = vec![
        promise("q-old", 31, Some("unknown")),
        promise("q-young", 29, Some("unknown")),
        promise("q-waits", 31, None),
    ];
    one.exchange(&Exchange { promises, ..Exchange::default() }, now()).await.unwrap();
    assert_eq!(one.expire_quarantined(days_ago(30), 9).await.unwrap(), 1);
    assert!(one.delivery("q-old").await.unwrap().is_none());
    for id in ["q-young", "q-waits"] {
        assert!(one.delivery(id).await.unwrap().is_some(), "{id}");
    }
}
