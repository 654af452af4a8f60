use std::fs;

use chrono::{TimeDelta, TimeZone};

use super::*;

pub(super) fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).unwrap()
}

/// A folder that goes when the test ends.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("ledger-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(super) fn ledger(&self) -> PathBuf {
        self.0.join("ledger.db")
    }

    pub(super) async fn open(&self) -> Ledger {
        Ledger::open(self.ledger().to_str().unwrap(), now()).await.unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

pub(super) fn key(name: &str) -> NewKey {
    NewKey {
        name: name.to_owned(),
        role: Role::Writer,
        hash: format!("hash of {name}"),
        expires_at: None,
    }
}

#[tokio::test]
async fn a_migration_is_applied_once_and_recorded() {
    let folder = Folder::new();
    let first = folder.open().await;
    let numbers: Vec<_> = first.applied().iter().map(|one| one.number).collect();
    assert_eq!(numbers, [14, 15, 16, 17, 18, 20, 21, 22, 23, 24, 25, 26, 27]);
    first.close().await;
    let second = folder.open().await;
    assert_eq!((second.applied(), second.set_aside()), (&[][..], None));
    assert_eq!(second.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_migration_that_reads_differently_is_refused() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    let edit = "update migration set checksum = 'other' where number = 15";
    sqlx::query(edit).execute(&ledger.pool).await.unwrap();
    ledger.close().await;
    let error = Ledger::open(folder.ledger().to_str().unwrap(), now()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "migration 15 was applied with another text than this program has"
    );
}

#[tokio::test]
async fn a_key_lives_from_creation_to_revocation() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    let made = ledger.create_key(&key("a"), now()).await.unwrap();
    assert_eq!(ledger.find_key("hash of a", now()).await.unwrap(), Some(made.clone()));
    assert!(made.is_valid(now()));
    let error =
        ledger.create_key(&NewKey { hash: "x".into(), ..key("a") }, now()).await.unwrap_err();
    assert_eq!(error.to_string(), "a key named `a` exists already");
    ledger.touch_key(&made, now()).await.unwrap();
    assert_eq!(ledger.keys().await.unwrap()[0].last_used_at, Some(now()));
    assert!(ledger.revoke_key("a", now()).await.unwrap());
    assert!(!ledger.revoke_key("a", now()).await.unwrap());
    assert!(!ledger.find_key("hash of a", now()).await.unwrap().unwrap().is_valid(now()));
}

#[test]
fn a_key_that_only_sends_reads_nothing() {
    use Role::{Admin, Ingest, Operator, Viewer, Writer};
    let may = |role: Role| Role::ALL.into_iter().filter(move |it| role.allows(*it));
    let check = |role, expected: &[Role]| assert_eq!(may(role).collect::<Vec<_>>(), expected);
    check(Ingest, &[Ingest]);
    check(Viewer, &[Viewer]);
    check(Writer, &[Ingest, Viewer, Writer]);
    check(Operator, &[Ingest, Viewer, Writer, Operator]);
    check(Admin, &Role::ALL);
}

#[tokio::test]
async fn keys_of_before_the_role_ingest_stay_and_it_can_be_given() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    // As the migration before found it.
    for undo in [
        "drop table api_key",
        "create table api_key (api_key_id text primary key, name text not null, role text not null, \
         key_hash text not null, created_at bigint not null, expires_at bigint, \
         last_used_at bigint, revoked_at bigint)",
        "create unique index api_key_name_is_unique on api_key (name) where revoked_at is null",
        "create index api_key_twice on api_key (api_key_id, name, role, key_hash, created_at, \
         expires_at, last_used_at, revoked_at)",
        "delete from migration where number = 24",
    ] {
        sqlx::query(undo).execute(&ledger.writer).await.unwrap();
    }
    ledger.create_key(&key("old"), now()).await.unwrap();
    ledger.close().await;
    let ledger = folder.open().await;
    let role = Role::Ingest;
    let later = now() + TimeDelta::seconds(1);
    ledger.create_key(&NewKey { role, ..key("new") }, later).await.unwrap();
    let keys = ledger.keys().await.unwrap();
    let keys: Vec<_> = keys.iter().map(|key| (key.name.as_str(), key.role)).collect();
    assert_eq!(keys, [("old", Role::Writer), ("new", role)]);
    assert_eq!(ledger.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_fixed_key_replaces_the_one_before_it() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    let (one, other) = (key("environment"), NewKey { hash: "other".into(), ..key("environment") });
    for new in [&one, &one, &other, &one] {
        ledger.fix_key(new, now()).await.unwrap();
    }
    let valid = |key: Option<ApiKey>| key.is_some_and(|key| key.is_valid(now()));
    assert!(valid(ledger.find_key(&one.hash, now()).await.unwrap()));
    assert!(!valid(ledger.find_key(&other.hash, now()).await.unwrap()));
}

#[tokio::test]
async fn a_token_opens_once_and_not_after_its_time() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    let hour = TimeDelta::hours(1);
    ledger.offer_token("token", now() + hour, now()).await.unwrap();
    ledger.redeem_token("token", &key("late"), now() + hour).await.unwrap_err();
    ledger.redeem_token("token", &key("first"), now()).await.unwrap();
    let error = ledger.redeem_token("token", &key("second"), now()).await.unwrap_err();
    assert_eq!(error.to_string(), "this link was used already or has expired");
}

#[tokio::test]
async fn a_state_keeps_its_beginning_while_it_lasts() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    let at = |minutes| now() + TimeDelta::minutes(minutes);
    ledger.record_check("web", State::Healthy, Some(100.0), at(0)).await.unwrap();
    ledger.record_check("web", State::Healthy, Some(98.5), at(5)).await.unwrap();
    let web = ledger.components().await.unwrap().remove(0);
    assert_eq!((web.score, web.since, web.checked_at), (Some(98.5), at(0), at(5)));
    ledger.record_check("web", State::Unknown, None, at(10)).await.unwrap();
    let web = ledger.components().await.unwrap().remove(0);
    assert_eq!((web.state, web.score, web.since), (State::Unknown, None, at(10)));
}

#[tokio::test]
async fn the_newest_change_is_listed_first() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    ledger.audit("root", "create key", now(), "a").await.unwrap();
    ledger.audit("root", "revoke key", now() + TimeDelta::seconds(1), "a").await.unwrap();
    let what: Vec<_> = ledger.audited(10).await.unwrap().into_iter().map(|one| one.what).collect();
    assert_eq!(what, ["revoke key", "create key"]);
}

#[tokio::test]
async fn nobody_else_may_read_the_ledger() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    ledger.create_key(&key("a"), now()).await.unwrap();
    let mut n_files = 0;
    for tail in ["", "-wal", "-shm"] {
        let path = format!("{}{tail}", folder.ledger().display());
        if let Ok(found) = fs::metadata(&path) {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(found.permissions().mode() & 0o777, 0o600, "{path}");
            n_files += 1;
        }
    }
    assert!(n_files >= 2);
}

#[tokio::test]
async fn what_names_no_ledger_is_refused() {
    for url in ["", "mysql://host/name", "sqlite://"] {
        let error = Ledger::open(url, now()).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_bottleneck_is_one_row_until_it_is_gone() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    let found = |title: &str| Bottleneck {
        id: String::new(),
        dedupe_key: "cpu:a".into(),
        kind: "cpu".into(),
        signal: "utilisation".into(),
        component: Some("a".into()),
        resource: "a".into(),
        title: title.into(),
        severity: "warning".into(),
        confidence: 0.8,
        since: now(),
        first_metric: None,
        first_at: None,
        evidence: "[]".into(),
        seen_at: now(),
        resolved_at: None,
    };
    let advice = Recommendation {
        id: String::new(),
        bottleneck_id: String::new(),
        action: "do".into(),
        expected: "less".into(),
        effort: "low".into(),
        risk: "low".into(),
        rank: 0.5,
        state: "open".into(),
        created_at: now(),
        decided_at: None,
        decided_by: None,
        note: None,
        metric: "m".into(),
        series: 1,
        before: Some(0.9),
        after: None,
        measured_at: None,
    };
    let keep = async |found: &[(Bottleneck, Vec<Recommendation>)],
                      seen: &[(&str, Option<&str>)]| {
        ledger.keep_bottlenecks(found, seen, now()).await.unwrap()
    };
    let here = [("cpu", Some("a"))];
    let first = [(found("90 %"), vec![])];
    assert_eq!(keep(&first, &here).await.new, ["cpu:a"]);
    // What it advises may come to it later, and is not advised twice.
    for _ in 0..2 {
        let again = [(found("95 %"), vec![advice.clone()])];
        assert_eq!(keep(&again, &here).await, BottleneckChanges::default());
        assert_eq!(ledger.recommendations(None, 9).await.unwrap().len(), 1);
    }
    let worse = Bottleneck { severity: "critical".into(), ..found("95 %") };
    assert_eq!(keep(&[(worse, vec![advice])], &here).await.changed, ["cpu:a"]);
    let all = async || ledger.bottlenecks(now(), now(), None, 9).await.unwrap();
    assert_eq!((all().await.len(), &*all().await[0].title), (1, "95 %"));

    // What nobody could look at is not gone.
    keep(&[], &[("disk", Some("a")), ("cpu", Some("b")), ("cpu", None)]).await;
    assert_eq!(all().await[0].resolved_at, None);
    let gone = keep(&[], &here).await.gone;
    assert_eq!((gone.len(), &*gone[0].title), (1, "95 %"));
    assert_eq!(all().await[0].resolved_at, Some(now()));
    assert_eq!(keep(&[], &here).await.gone, []);

    let id = ledger.recommendations(None, 9).await.unwrap()[0].id.clone();
    let decide = async |state: &str| {
        ledger.decide_recommendation(&id, state, "me", Some("why"), Some(0.9), now()).await
    };
    decide("done").await.unwrap();
    assert!(matches!(decide("dismissed").await, Err(Error::Conflict { .. })));
    ledger.measure_recommendation(&id, Some(0.4), now()).await.unwrap();
    let done = ledger.recommendation(&id).await.unwrap().unwrap();
    assert_eq!((&*done.state, done.before, done.after), ("done", Some(0.9), Some(0.4)));
    assert_eq!(ledger.recommendations(Some("open"), 9).await.unwrap(), []);
}

#[tokio::test]
async fn what_was_said_of_a_risk_is_scored_once_it_is_due() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    let said = RiskOutcome {
        key: "shop|up|1|0.9".into(),
        horizon: "6h".into(),
        issued_at: now(),
        due_at: now() + TimeDelta::hours(6),
        simulated: 0.4,
        climatology: 0.2,
        probability: 0.35,
        happened: None,
    };
    ledger.keep_outcomes(&[said.clone(), said.clone()]).await.unwrap();
    assert_eq!(ledger.due_outcomes(now(), 9).await.unwrap(), []);
    assert_eq!(ledger.due_outcomes(said.due_at, 9).await.unwrap(), std::slice::from_ref(&said));
    ledger.score_outcome(&said, Some(true), said.due_at).await.unwrap();
    assert_eq!(ledger.due_outcomes(said.due_at, 9).await.unwrap(), []);
    let scored = ledger.scored_outcomes("6h").await.unwrap();
    assert_eq!(scored, [RiskOutcome { happened: Some(true), ..said.clone() }]);
    assert_eq!(ledger.scored_outcomes("24h").await.unwrap(), []);
    let last = ledger.last_said().await.unwrap();
    assert_eq!(last, [(said.key, said.horizon, said.issued_at)]);
}

#[tokio::test]
async fn a_limit_has_one_risk_per_horizon_and_one_warning() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    let risk = Risk {
        key: "k".into(),
        horizon: "6h".into(),
        component: "shop".into(),
        metric: "up".into(),
        series: 1,
        limit: 0.9,
        side: "below".into(),
        probability: Some(0.7),
        impact: 0.5,
        level: Some("medium".into()),
        reason: None,
        breach_at: [Some(now()), None, None],
        assessed_at: now(),
    };
    let unknown = Risk {
        horizon: "7d".into(),
        probability: None,
        level: None,
        reason: Some("too short".into()),
        ..risk.clone()
    };
    ledger.keep_risks(&[unknown.clone(), risk.clone()]).await.unwrap();
    ledger.keep_risks(std::slice::from_ref(&risk)).await.unwrap();
    assert_eq!(ledger.risks().await.unwrap(), [risk, unknown]);

    let alert = PredictionAlert {
        id: alert_id(now()),
        risk_key: "k".into(),
        component: "shop".into(),
        metric: "up".into(),
        title: "it will fall".into(),
        level: "medium".into(),
        state: "raised".into(),
        probability: 0.7,
        highest: 0.7,
        breach_at: [None; 3],
        calm: 0,
        raised_at: now(),
        updated_at: now(),
        ended_at: None,
        lead_us: None,
    };
    ledger.keep_alert(&alert).await.unwrap();
    let second = PredictionAlert { id: "other".into(), ..alert.clone() };
    assert!(ledger.keep_alert(&second).await.is_err(), "one warning per limit");
    let ended = PredictionAlert { state: "withdrawn".into(), ended_at: Some(now()), ..alert };
    ledger.keep_alert(&ended).await.unwrap();
    assert_eq!(ledger.standing_alerts().await.unwrap(), []);
    assert_eq!(ledger.alerts(now(), now(), None, 9).await.unwrap(), [ended]);
    ledger.forget_risk("k").await.unwrap();
    assert_eq!(ledger.risks().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_wait_in_line_and_none_is_turned_away() {
    let folder = Folder::new();
    let ledger = std::sync::Arc::new(folder.open().await);
    let mut all = tokio::task::JoinSet::new();
    for n in 0..64 {
        let ledger = std::sync::Arc::clone(&ledger);
        all.spawn(async move {
            for _ in 0..4 {
                ledger.audit(&n.to_string(), "change", now(), "").await?;
                ledger.take_lease("one", &n.to_string(), TimeDelta::hours(1), now()).await?;
                ledger.audited(1).await?;
            }
            Ok::<(), Error>(())
        });
    }
    for done in all.join_all().await {
        done.unwrap();
    }
    assert_eq!(ledger.audited(1_000).await.unwrap().len(), 256);
}

/// An incident as it was opened.
fn incident() -> Incident {
    Incident {
        id: "i".to_owned(),
        dedupe_key: "web".to_owned(),
        component: "web".to_owned(),
        kind: "service_down".to_owned(),
        title: "it is down".to_owned(),
        severity: "critical".to_owned(),
        state: "open".to_owned(),
        started_at: now(),
        opened_at: now() + TimeDelta::seconds(5),
        updated_at: now() + TimeDelta::seconds(5),
        ..Incident::default()
    }
}

#[tokio::test]
async fn each_time_that_an_incident_lasts_is_kept() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    let at = |second| now() + TimeDelta::seconds(second);
    let resolved = |second, before: &Incident| Incident {
        state: "resolved".to_owned(),
        updated_at: at(second),
        resolved_at: Some(at(second)),
        ..before.clone()
    };
    let first = incident();
    let back = Incident {
        kind: "high_latency".to_owned(),
        severity: "warning".to_owned(),
        updated_at: at(305),
        back_at: Some(at(300)),
        reopened: 1,
        ..first.clone()
    };
    // Told of meanwhile, which moves no beginning. At last the clock was set back.
    let told = Incident { notices: 1, updated_at: at(310), ..back.clone() };
    let states = [first.clone(), resolved(20, &first), back.clone(), told, resolved(-60, &back)];
    for (version, it) in (0..).zip(states) {
        let incidents = vec![Incident { version, ..it }];
        ledger.apply(&Changes { incidents, ..Changes::default() }, None, now()).await.unwrap();
    }
    let rows = sqlx::query("select * from incident_spell order by number");
    let rows = rows.fetch_all(&ledger.pool).await.unwrap();
    let second = |row: &_, column| {
        let at: Option<i64> = get(row, column).unwrap();
        at.map(|at| (at - micros(now())) / 1_000_000)
    };
    let spell = |row: &_| {
        let kind: String = get(row, "kind").unwrap();
        (kind, ["started_at", "opened_at", "ended_at"].map(|it| second(row, it).unwrap()))
    };
    let expected =
        [("service_down".to_owned(), [0, 5, 20]), ("high_latency".to_owned(), [300, 305, 305])];
    assert_eq!(rows.iter().map(spell).collect::<Vec<_>>(), expected);
}
