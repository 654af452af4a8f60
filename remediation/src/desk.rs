//! Where symptoms become incidents: one per cause.
//!
//! A symptom joins the incident of its component (one for the component's work, one for each resource
//! that runs out), or that of something the component depends on. An incident is over when all of its
//! symptoms are; one that comes back soon is the same one again, and one that comes and goes stays open
//! until it has been quiet for a while.

mod related;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use data::{
    Finding,
    ledger::{Changes, Incident, IncidentEvent, Symptom},
};

use crate::{
    incident::{event, resolve, severity},
    kind::{Family, Kind, Severity},
    symptom::{self, Observation, Verdict},
};

pub use related::{concern, dependencies};

/// When incidents open again and when they count as coming and going.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// What comes back within this is the same incident.
    pub reopen_within: TimeDelta,
    /// So many times back is coming and going.
    pub flap_max: i64,
    /// How long it must then be quiet.
    pub flap_quiet: TimeDelta,
}

/// What is known, and what is about to change.
pub struct Desk<'a> {
    incidents: BTreeMap<String, Incident>,
    /// The incidents of each key: of thousands, one is looked for by what it is about.
    by_key: BTreeMap<String, Vec<String>>,
    symptoms: BTreeMap<String, Symptom>,
    depends_on: &'a BTreeMap<String, Vec<String>>,
    policy: Policy,
    now: DateTime<Utc>,
    new_id: &'a mut dyn FnMut() -> String,
    touched_incidents: BTreeSet<String>,
    touched_symptoms: BTreeSet<String>,
    events: Vec<(String, IncidentEvent)>,
    findings: Vec<Finding>,
}

impl std::fmt::Debug for Desk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("incidents", &self.incidents).finish_non_exhaustive()
    }
}

impl<'a> Desk<'a> {
    /// A desk with what the ledger knows: incidents that are open or were until lately, and symptoms.
    pub fn new(
        incidents: Vec<Incident>,
        symptoms: Vec<Symptom>,
        depends_on: &'a BTreeMap<String, Vec<String>>,
        policy: Policy,
        new_id: &'a mut dyn FnMut() -> String,
        now: DateTime<Utc>,
    ) -> Self {
        let incidents: BTreeMap<String, Incident> =
            incidents.into_iter().map(|it| (it.id.clone(), it)).collect();
        let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for it in incidents.values() {
            by_key.entry(it.dedupe_key.clone()).or_default().push(it.id.clone());
        }
        Self {
            incidents,
            by_key,
            symptoms: symptoms.into_iter().map(|it| (it.id.clone(), it)).collect(),
            depends_on,
            policy,
            now,
            new_id,
            touched_incidents: BTreeSet::new(),
            touched_symptoms: BTreeSet::new(),
            events: vec![],
            findings: vec![],
        }
    }

    /// Takes in what was seen.
    pub fn observe(&mut self, seen: &[Observation]) {
        for one in seen {
            let id = one.symptom_id();
            let before = self.symptoms.get(&id).cloned();
            let Some(after) = symptom::after(before.as_ref(), one, self.now) else { continue };
            if before.is_none() && matches!(one.verdict, Verdict::Unknown) {
                continue;
            }
            self.keep_symptom(before.as_ref(), after);
        }
    }

    /// Ends what nobody has repeated in time.
    pub fn expire(&mut self) {
        let now = self.now;
        let over = |it: &&Symptom| it.bad && it.expires_at.is_some_and(|end| end <= now);
        let over: Vec<Symptom> = self.symptoms.values().filter(over).cloned().collect();
        for before in over {
            let history = before.history << 1;
            let after =
                Symptom { bad: false, since: now, bad_since: None, history, ..before.clone() };
            self.keep_symptom(Some(&before), after);
        }
    }

    fn keep_symptom(&mut self, before: Option<&Symptom>, mut after: Symptom) {
        let was_bad = before.is_some_and(|it| it.bad);
        let worse =
            was_bad && before.is_some_and(|it| severity(&it.severity) < severity(&after.severity));
        match (was_bad, after.bad) {
            (false, true) => {
                self.found(&after, &after.severity.clone());
                let incident = self.place(&after);
                after.incident_id = Some(incident);
            }
            (true, true) if worse => {
                self.found(&after, &after.severity.clone());
                if let Some(id) = after.incident_id.clone() {
                    self.worsen(&id, &after);
                }
            }
            (true, false) => self.found(&after, "ok"),
            _ => (),
        }
        // A row is written only if it says something new.
        let same = before.is_some_and(|it| {
            let stamp = Symptom {
                seen_at: after.seen_at,
                known_at: after.known_at,
                n_history: after.n_history,
                observed: after.observed,
                ..it.clone()
            };
            stamp == after && !after.bad && it.n_history == after.n_history
        });
        let id = after.id.clone();
        self.symptoms.insert(id.clone(), after);
        if !same {
            self.touched_symptoms.insert(id);
        }
    }

    /// The incident that a new symptom is a part of; opened if there is none.
    fn place(&mut self, it: &Symptom) -> String {
        let kind = it.kind.parse().unwrap_or(Kind::LimitExceeded);
        let key = kind.dedupe_key(&it.component);
        if let Some(id) = self.unresolved(&key) {
            self.join(&id, it, "symptom");
            return id;
        }
        if kind.family() == Family::Work
            && let Some(id) = self.cause(it)
        {
            self.join(&id, it, "correlated");
            return id;
        }
        let id = match self.lately(&key) {
            Some(id) => self.reopen(&id, it),
            None => self.open(key, it),
        };
        if kind.family() == Family::Work {
            self.absorb_dependants(&id);
        }
        id
    }

    fn of_key(&self, key: &str) -> impl Iterator<Item = &Incident> {
        self.by_key.get(key).into_iter().flatten().map(|id| &self.incidents[id])
    }

    fn unresolved(&self, key: &str) -> Option<String> {
        self.of_key(key).find(|it| it.state != "resolved").map(|it| it.id.clone())
    }

    fn lately(&self, key: &str) -> Option<String> {
        let since = self.now - self.policy.reopen_within;
        let is = |it: &&Incident| {
            it.merged_into.is_none() && it.resolved_at.is_some_and(|at| at >= since)
        };
        self.of_key(key).filter(is).max_by_key(|it| it.resolved_at).map(|it| it.id.clone())
    }

    /// The open incident of something that the component depends on, directly or not, if it is at
    /// least as bad.
    fn cause(&self, it: &Symptom) -> Option<String> {
        let bad = severity(&it.severity);
        self.dependencies(&it.component).into_iter().find_map(|name| {
            let id = self.unresolved(&Kind::ServiceDown.dedupe_key(&name))?;
            (severity(&self.incidents[&id].severity) >= bad).then_some(id)
        })
    }

    fn dependencies(&self, component: &str) -> Vec<String> {
        dependencies(self.depends_on, component)
    }

    fn open(&mut self, dedupe_key: String, it: &Symptom) -> String {
        let id = (self.new_id)();
        let incident = Incident {
            id: id.clone(),
            dedupe_key,
            component: it.component.clone(),
            kind: it.kind.clone(),
            title: it.title.clone(),
            severity: it.severity.clone(),
            state: "open".to_owned(),
            started_at: self.bad_since(it),
            opened_at: self.now,
            updated_at: self.now,
            ..Incident::default()
        };
        self.by_key.entry(incident.dedupe_key.clone()).or_default().push(id.clone());
        self.incidents.insert(id.clone(), incident);
        self.tell(&id, "opened", &it.rule, it.title.clone());
        id
    }

    /// When it was first seen bad; no later than now, also by a clock that was set back meanwhile.
    fn bad_since(&self, it: &Symptom) -> DateTime<Utc> {
        it.bad_since.unwrap_or(self.now).min(self.now)
    }

    fn reopen(&mut self, id: &str, it: &Symptom) -> String {
        let (flap_max, now, bad_since) = (self.policy.flap_max, self.now, self.bad_since(it));
        let incident = self.incidents.get_mut(id).expect("it was found a moment ago");
        incident.state = "open".to_owned();
        (incident.resolved_at, incident.resolved_by) = (None, None);
        incident.back_at = Some(bad_since);
        // Whoever was told that it is over is told anew.
        (incident.notified_at, incident.escalated_at, incident.escalation) = (None, None, None);
        incident.reopened += 1;
        incident.severity.clone_from(&it.severity);
        incident.kind.clone_from(&it.kind);
        incident.title.clone_from(&it.title);
        incident.updated_at = now;
        let flaps = incident.reopened >= flap_max && !incident.flapping;
        incident.flapping |= flaps;
        self.tell(id, "reopened", &it.rule, it.title.clone());
        if flaps {
            let text = "it comes and goes; it stays open until it has been quiet for a while";
            self.tell(id, "flapping", &it.rule, text);
        }
        id.to_owned()
    }

    fn join(&mut self, id: &str, it: &Symptom, how: &str) {
        self.tell(id, how, &it.rule, it.title.clone());
        self.worsen(id, it);
        let Some(incident) = self.incidents.get_mut(id) else { return };
        let kind = |word: &str| word.parse::<Kind>().ok();
        let explains = kind(&it.kind)
            .zip(kind(&incident.kind))
            .is_some_and(|(new, old)| incident.component == it.component && new.explains(old));
        if explains {
            let said = format!("{} explains {}", it.kind, incident.kind);
            incident.kind.clone_from(&it.kind);
            incident.title.clone_from(&it.title);
            self.tell(id, "classified", &it.rule, said);
        }
    }

    /// Takes over how bad a symptom is. What was too bad to follow from the incident may do so now.
    fn worsen(&mut self, id: &str, it: &Symptom) {
        let bad = severity(&it.severity);
        let Some(incident) = self.incidents.get(id) else { return };
        let is_worse = bad > severity(&incident.severity);
        let is_work = incident.dedupe_key == Kind::ServiceDown.dedupe_key(&incident.component);
        self.raise(id, bad, &it.title);
        if is_worse && is_work {
            self.absorb_dependants(id);
        }
    }

    fn raise(&mut self, id: &str, to: Severity, title: &str) {
        let now = self.now;
        let Some(incident) = self.incidents.get_mut(id) else { return };
        incident.updated_at = now;
        if to <= severity(&incident.severity) {
            return;
        }
        incident.severity = to.as_str().to_owned();
        incident.title = title.to_owned();
        incident.notified_at = None;
        // Whoever took on the lesser trouble did not take on this one.
        incident.state = "open".to_owned();
        self.tell(id, "worse", "", title.to_owned());
    }

    /// Open incidents of what depends on this one's component turn out to be parts of it.
    fn absorb_dependants(&mut self, id: &str) {
        let root = self.incidents[id].clone();
        if !self.depends_on.values().flatten().any(|name| *name == root.component) {
            return;
        }
        let above = self.dependencies(&root.component);
        let is_dependant = |name: &&String| {
            self.dependencies(name).contains(&root.component)
                // In a ring, the first stays.
                && !above.contains(name)
        };
        let dependants = self.depends_on.keys().filter(is_dependant);
        let parts: Vec<String> = dependants
            .filter_map(|name| self.unresolved(&Kind::ServiceDown.dedupe_key(name)))
            .filter(|part| {
                *part != root.id
                    && severity(&root.severity) >= severity(&self.incidents[part].severity)
            })
            .collect();
        for part in parts {
            self.merge(&part, id, "correlation");
        }
    }

    /// Makes one incident a part of another.
    pub fn merge(&mut self, part: &str, into: &str, who: &str) {
        let now = self.now;
        for symptom in self.symptoms.values_mut() {
            if symptom.incident_id.as_deref() == Some(part) {
                symptom.incident_id = Some(into.to_owned());
                self.touched_symptoms.insert(symptom.id.clone());
            }
        }
        let Some(incident) = self.incidents.get_mut(part) else { return };
        resolve(incident, "merge", now);
        incident.merged_into = Some(into.to_owned());
        let (title, bad) = (incident.title.clone(), severity(&incident.severity));
        // Whoever was told of the part is told of the end of the whole.
        let (notices, told_to) = (incident.notices, std::mem::take(&mut incident.told_to));
        if let Some(whole) = self.incidents.get_mut(into) {
            whole.notices += notices;
            let strangers: Vec<String> =
                told_to.into_iter().filter(|it| !whole.told_to.contains(it)).collect();
            whole.told_to.extend(strangers);
        }
        self.tell(part, "merged", who, format!("into {into}"));
        self.tell(into, "absorbed", who, title.clone());
        self.raise(into, bad, &title);
    }

    /// Resolves what has no bad symptom left. `busy` are incidents with an action that is not judged
    /// yet, `fixed` those in which one has helped.
    pub fn settle(&mut self, busy: &BTreeSet<String>, fixed: &BTreeSet<String>) {
        // Grouped first: in a storm there are many of both.
        let mut of: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for it in self.symptoms.values() {
            if let Some(incident) = &it.incident_id {
                of.entry(incident.clone()).or_default().push(it.id.clone());
            }
        }
        let open = self.incidents.values().filter(|it| it.state != "resolved");
        let open: Vec<String> = open.map(|it| it.id.clone()).collect();
        for id in open.iter().filter(|id| !busy.contains(*id)) {
            let symptoms = of.remove(id).unwrap_or_default();
            if self.is_over(id, &symptoms) {
                let by = if fixed.contains(id) { "action" } else { "itself" };
                self.end(id, &symptoms, by);
            }
        }
    }

    fn is_over(&self, id: &str, symptoms: &[String]) -> bool {
        let incident = &self.incidents[id];
        let all = || symptoms.iter().map(|it| &self.symptoms[it]);
        let quiet = all().map(|it| it.since).max().unwrap_or(incident.updated_at);
        let waits = incident.flapping && self.now - quiet < self.policy.flap_quiet;
        !waits && !all().any(|it| it.bad)
    }

    fn end(&mut self, id: &str, symptoms: &[String], by: &str) {
        let now = self.now;
        let incident = self.incidents.get_mut(id).expect("it was listed a moment ago");
        resolve(incident, by, now);
        let text = match by {
            "action" => "every symptom is gone after an action that helped",
            _ => "every symptom is gone",
        };
        self.tell(id, "resolved", by, text);
        for it in symptoms {
            let symptom = self.symptoms.get_mut(it).expect("it was listed a moment ago");
            symptom.incident_id = None;
            self.touched_symptoms.insert(it.clone());
        }
    }

    fn tell(&mut self, id: &str, kind: &str, who: &str, detail: impl Into<String>) {
        self.touched_incidents.insert(id.to_owned());
        self.events.push((id.to_owned(), event(kind, who, detail, self.now)));
    }

    fn found(&mut self, it: &Symptom, severity: &str) {
        let finding = Finding {
            at: self.now,
            id: (self.new_id)(),
            kind: it.kind.clone(),
            rule: it.rule.clone(),
            severity: severity.to_owned(),
            component: Some(it.component.clone()),
            metric: it.metric.clone(),
            series: it.series,
            observed: it.observed,
            expected: it.expected,
            score: it.score,
            evidence: format!(
                "{{\"title\":{},\"labels\":{}}}",
                serde_json::Value::from(it.title.as_str()),
                it.labels
            ),
        };
        self.findings.push(finding);
    }

    /// What has changed, for the ledger, and what was found, for the lake.
    pub fn finish(self) -> (Changes, Vec<Finding>) {
        let incidents = self.touched_incidents.iter().filter_map(|id| self.incidents.get(id));
        let symptoms = self.touched_symptoms.iter().filter_map(|id| self.symptoms.get(id));
        let changes = Changes {
            incidents: incidents.cloned().collect(),
            symptoms: symptoms.cloned().collect(),
            events: self.events,
            ..Changes::default()
        };
        (changes, self.findings)
    }
}

#[cfg(test)]
mod tests;
