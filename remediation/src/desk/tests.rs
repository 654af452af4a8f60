use super::*;
use crate::{
    kind::Severity::{Critical, Warning},
    symptom::{
        Hysteresis,
        tests::{now, seen},
    },
};

const POLICY: Policy = Policy {
    reopen_within: TimeDelta::minutes(10),
    flap_max: 3,
    flap_quiet: TimeDelta::minutes(5),
};

/// A ledger in memory.
#[derive(Default)]
struct Kept {
    incidents: BTreeMap<String, Incident>,
    symptoms: BTreeMap<String, Symptom>,
    kinds: Vec<String>,
    depends_on: BTreeMap<String, Vec<String>>,
    n: usize,
    minute: i64,
}

impl Kept {
    /// One look a minute after the last, at these components; what is not named is fine.
    fn look(&mut self, seen: &[Observation]) -> Vec<Finding> {
        self.minute += 1;
        let mut n = self.n;
        let mut new_id = || {
            n += 1;
            format!("{n:03}")
        };
        let (incidents, symptoms) =
            (self.incidents.values().cloned().collect(), self.symptoms.values().cloned().collect());
        let at = now() + TimeDelta::minutes(self.minute);
        let mut desk = Desk::new(incidents, symptoms, &self.depends_on, POLICY, &mut new_id, at);
        desk.observe(seen);
        desk.expire();
        desk.settle(&BTreeSet::new(), &BTreeSet::new());
        let (changes, findings) = desk.finish();
        self.n = n;
        for mut it in changes.incidents {
            it.version += 1;
            self.incidents.insert(it.id.clone(), it);
        }
        self.symptoms.extend(changes.symptoms.into_iter().map(|it| (it.id.clone(), it)));
        self.kinds.extend(changes.events.into_iter().map(|(_, event)| event.kind));
        findings
    }

    fn open(&self) -> Vec<&Incident> {
        self.incidents.values().filter(|it| it.state != "resolved").collect()
    }
}

fn bad(component: &str, kind: Kind, severity: Severity) -> Observation {
    Observation { hysteresis: Hysteresis::NONE, ..seen(component, kind, Verdict::Bad(severity)) }
}

fn good(component: &str, kind: Kind) -> Observation {
    Observation { hysteresis: Hysteresis::NONE, ..seen(component, kind, Verdict::Good) }
}

#[test]
fn three_bad_snapshots_of_four_metrics_are_one_incident() {
    let mut kept = Kept::default();
    let kinds =
        [Kind::ServiceDown, Kind::HighLatency, Kind::QueueBacklog, Kind::DestinationFailing];
    for _ in 0..3 {
        kept.look(&kinds.map(|kind| bad("web", kind, Warning)));
    }
    assert_eq!(kept.open().len(), 1);
    assert_eq!(kept.kinds, ["opened", "symptom", "symptom", "symptom"]);
    kept.look(&kinds.map(|kind| good("web", kind)));
    assert_eq!(kept.open().len(), 0);
    assert_eq!(kept.kinds.last().unwrap(), "resolved");
}

#[test]
fn what_is_well_leaves_no_trace() {
    let mut kept = Kept::default();
    for _ in 0..100 {
        assert!(kept.look(&[good("web", Kind::ServiceDown)]).is_empty());
    }
    assert!(kept.incidents.is_empty() && kept.kinds.is_empty());
}

#[test]
fn a_resource_is_a_trouble_of_its_own() {
    let mut kept = Kept::default();
    kept.look(&[
        bad("host", Kind::DiskFilling, Warning),
        bad("host", Kind::CpuExhaustion, Warning),
    ]);
    assert_eq!(kept.open().len(), 2);
}

#[test]
fn what_depends_on_a_broken_thing_is_a_part_of_its_incident() {
    let mut kept = Kept::default();
    kept.depends_on.insert("web".into(), vec!["api".into()]);
    kept.depends_on.insert("api".into(), vec!["database".into()]);
    // The service is seen first, then its dependency, then another dependant.
    kept.look(&[bad("web", Kind::HighLatency, Warning)]);
    kept.look(&[bad("database", Kind::DependencyDown, Critical)]);
    kept.look(&[bad("api", Kind::ErrorBurst, Warning)]);
    let open = kept.open();
    assert_eq!((open.len(), open[0].component.as_str()), (1, "database"));
    assert_eq!(kept.kinds, ["opened", "opened", "merged", "absorbed", "correlated"]);
    // It is over when all of it is over.
    kept.look(&[good("database", Kind::DependencyDown)]);
    assert_eq!(kept.open().len(), 1);
    kept.look(&[good("web", Kind::HighLatency), good("api", Kind::ErrorBurst)]);
    assert_eq!(kept.open().len(), 0);
}

#[test]
fn a_cause_that_turns_out_to_be_as_bad_takes_in_what_depends_on_it() {
    let mut kept = Kept::default();
    kept.depends_on.insert("web".into(), vec!["database".into()]);
    kept.look(&[bad("database", Kind::DatabasePerformance, Warning)]);
    // A slow answer is no reason for none at all, so far.
    kept.look(&[bad("web", Kind::ServiceDown, Critical)]);
    assert_eq!(kept.open().len(), 2);
    kept.look(&[bad("database", Kind::DatabasePerformance, Critical)]);
    let open = kept.open();
    assert_eq!((open.len(), open[0].component.as_str()), (1, "database"));
}

#[test]
fn what_comes_back_soon_is_the_same_and_what_comes_and_goes_stays_open() {
    let mut kept = Kept::default();
    for _ in 0..3 {
        kept.look(&[bad("web", Kind::ServiceDown, Warning)]);
        kept.look(&[good("web", Kind::ServiceDown)]);
    }
    assert_eq!(kept.incidents.len(), 1);
    let first = kept.incidents.values().next().unwrap();
    assert!(first.back_at > Some(first.started_at), "it was not bad in between");
    kept.look(&[bad("web", Kind::ServiceDown, Warning)]);
    kept.look(&[good("web", Kind::ServiceDown)]);
    assert!(kept.open()[0].flapping, "it stays open");
    for _ in 0..6 {
        kept.look(&[good("web", Kind::ServiceDown)]);
    }
    assert_eq!(kept.open().len(), 0, "quiet for long enough");
    kept.minute += 60;
    kept.look(&[bad("web", Kind::ServiceDown, Warning)]);
    assert_eq!(kept.incidents.len(), 2, "long after, it is another one");
}

#[test]
fn a_worse_trouble_opens_an_acknowledged_incident_again() {
    let mut kept = Kept::default();
    kept.look(&[bad("web", Kind::ServiceDown, Warning)]);
    kept.incidents.values_mut().for_each(|it| it.state = "acknowledged".into());
    kept.look(&[bad("web", Kind::ServiceDown, Warning)]);
    assert_eq!(kept.open()[0].state, "acknowledged");
    kept.look(&[bad("web", Kind::ServiceDown, Critical)]);
    assert_eq!(
        (kept.open()[0].state.as_str(), kept.open()[0].severity.as_str()),
        ("open", "critical")
    );
}

#[test]
fn what_nobody_repeats_ends_by_itself() {
    let mut kept = Kept::default();
    let until = now() + TimeDelta::minutes(3);
    let alert = Observation { expires_at: Some(until), ..bad("web", Kind::ServiceDown, Warning) };
    kept.look(&[alert]);
    kept.look(&[]);
    assert_eq!(kept.open().len(), 1);
    let findings = kept.look(&[]);
    assert_eq!((kept.open().len(), findings[0].severity.as_str()), (0, "ok"));
}

#[test]
fn of_what_is_known_a_look_needs_its_own_and_what_is_related() {
    let related = [("web", "api"), ("api", "database"), ("lonely", "")];
    let depends_on: BTreeMap<String, Vec<String>> = related
        .map(|(name, below)| {
            let below = Some(below.to_owned()).filter(|it| !it.is_empty());
            (name.to_owned(), below.into_iter().collect())
        })
        .into();
    let seen = [bad("shop", Kind::ServiceDown, Warning), bad("shop", Kind::DiskFilling, Warning)];
    let about = concern(&seen, &depends_on);
    assert_eq!(about.symptoms, seen.each_ref().map(Observation::symptom_id));
    assert_eq!(about.keys, ["shop/disk_filling", "shop/work"]);
    assert_eq!(about.whole, ["api/work", "database/work", "web/work"]);
}

#[test]
fn in_a_storm_every_component_has_an_incident_of_its_own() {
    let mut kept = Kept::default();
    let storm: Vec<_> =
        (0..9_000).map(|n| bad(&format!("shop-{n}"), Kind::ServiceDown, Critical)).collect();
    for part in storm.chunks(3_000) {
        kept.look(part);
    }
    kept.look(&storm);
    assert_eq!((kept.open().len(), kept.kinds.len()), (9_000, 9_000));
}
