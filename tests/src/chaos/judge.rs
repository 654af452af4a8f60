//! Whether it went as it should: what was expected, the limits, and that nothing else was harmed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use toml::Table;

use super::{
    bed::Bed,
    load::{Accepted, room},
    scenario::{End, Kind, Scenario, Verb},
    watch::{Seen, Watched},
};
use crate::receiver::Seen as Message;

/// How long messages may still be on their way when everything else is over.
const ARRIVED_WITHIN: Duration = Duration::from_secs(30);
/// Clocks of two looks may differ by this.
const TOLERANCE: TimeDelta = TimeDelta::milliseconds(50);

/// What became of a scenario.
#[derive(Clone, Debug)]
pub struct Report {
    /// The scenario.
    pub name: String,
    /// Whether people were not needed.
    pub fixable: bool,
    /// From the fault to the first incident.
    pub detected: Option<Duration>,
    /// Types of the incidents.
    pub kinds: Vec<String>,
    /// Every action with what came of it.
    pub actions: Vec<String>,
    /// Whether an action was measured to have helped.
    pub verified: bool,
    /// From the fault to the end, or to the moment when people were asked.
    pub over: Option<Duration>,
    /// Messages to people about it.
    pub notices: usize,
    /// Actions outside of the limits.
    pub outside: Vec<String>,
    /// Harm that was done.
    pub harmful: Vec<String>,
    /// What was not as expected.
    pub failures: Vec<String>,
    /// Whether it was played, and how it went.
    pub verdict: Verdict,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As expected.
    Passed,
    /// Not so.
    Failed,
    /// It cannot be played here.
    Skipped(String),
}

impl Report {
    /// Of a scenario that cannot be played here.
    pub fn skipped(scenario: &Scenario, why: String) -> Self {
        Self { verdict: Verdict::Skipped(why), ..Self::empty(scenario) }
    }

    /// Of a scenario that could not even begin.
    pub fn broken(scenario: &Scenario, why: String) -> Self {
        let failures = vec![why];
        Self { verdict: Verdict::Failed, failures, ..Self::empty(scenario) }
    }

    fn empty(scenario: &Scenario) -> Self {
        Self {
            name: scenario.name.clone(),
            fixable: scenario.fixable,
            detected: None,
            kinds: vec![],
            actions: vec![],
            verified: false,
            over: None,
            notices: 0,
            outside: vec![],
            harmful: vec![],
            failures: vec![],
            verdict: Verdict::Passed,
        }
    }
}

/// What the real world is like afterwards, as sentences about what is wrong.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// What is not as expected.
    pub wrong: Vec<String>,
    /// What was harmed.
    pub harmed: Vec<String>,
}

/// Everything that can be said of a scenario.
pub fn judge(bed: &Bed, scenario: &Scenario, seen: &Seen, broken: Instant, left: Left) -> Report {
    let mut report = Report::empty(scenario);
    let since = |at: Instant| at.saturating_duration_since(broken);
    report.detected = seen.values().map(|it| it.seen_at).min().map(since);
    let kinds: BTreeSet<&str> = seen.values().map(|it| text(&it.incident["kind"])).collect();
    report.kinds = kinds.into_iter().map(str::to_owned).collect();
    let actions = actions(seen);
    report.actions = actions.iter().map(said).collect();
    report.verified = seen.values().any(Watched::has_effect);
    let ends = seen.values().map(|it| match scenario.expect.end {
        End::Escalated => it.told_at,
        _ => it.resolved_at,
    });
    let ends: Vec<_> = ends.collect();
    report.over = match scenario.expect.end {
        End::Escalated => ends.iter().flatten().min().copied().map(since),
        _ if ends.iter().all(Option::is_some) => ends.iter().flatten().max().copied().map(since),
        _ => None,
    };
    let messages = bed.people.seen();
    report.notices = notices(&messages);
    report.failures = failures(scenario, seen, broken, &report);
    report.failures.extend(left.wrong);
    report.outside = outside(&bed.settings, &actions);
    report.harmful = harmful(scenario, &actions);
    report.harmful.extend(left.harmed);
    let is_fine =
        report.failures.is_empty() && report.outside.is_empty() && report.harmful.is_empty();
    report.verdict = if is_fine { Verdict::Passed } else { Verdict::Failed };
    report
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn time(value: &Value) -> Option<DateTime<Utc>> {
    value.as_str()?.parse().ok()
}

/// All that was done or proposed, in order.
fn actions(seen: &Seen) -> Vec<Value> {
    let mut all: Vec<Value> = seen.values().flat_map(|it| it.actions.clone()).collect();
    all.sort_by_key(|it| time(&it["created_at"]));
    all
}

fn said(it: &Value) -> String {
    let outcome = it["outcome"].as_str().unwrap_or_else(|| text(&it["state"]));
    format!("{} ({})", text(&it["action"]), outcome.replace('_', " "))
}

/// Messages that ask for people; one that was repeated with its identifier counts once.
fn notices(messages: &[Message]) -> usize {
    let ids: BTreeSet<&str> = messages
        .iter()
        .filter(|it| it.json()["type"] == "incident.notice")
        .map(Message::id)
        .collect();
    ids.len()
}

fn failures(scenario: &Scenario, seen: &Seen, broken: Instant, report: &Report) -> Vec<String> {
    let expect = &scenario.expect;
    let mut all = vec![];
    if expect.end == End::Quiet {
        for it in seen.values() {
            all.push(format!("an incident out of nothing: {}", text(&it.incident["title"])));
        }
    } else {
        if let Some(early) = seen.values().find(|it| it.seen_at < broken) {
            all.push(format!("seen before anything broke: {}", text(&early.incident["title"])));
        }
        match report.detected {
            None => all.push("nothing was detected".to_owned()),
            Some(took) if took > expect.detected_within => {
                all.push(format!("detected after {took:.1?}, not {:?}", expect.detected_within));
            }
            Some(_) => (),
        }
    }
    for it in seen.values().take(20) {
        let (kind, component) = (text(&it.incident["kind"]), text(&it.incident["component"]));
        let merged = !it.incident["merged_into"].is_null();
        if !merged && expect.end != End::Quiet && !expect.kinds.iter().any(|it| it == kind) {
            all.push(format!("classified as {kind}, not {}", expect.kinds.join(" or ")));
        }
        let any = &expect.components;
        if !merged && !any.is_empty() && !any.iter().any(|it| it == component) {
            all.push(format!("seen in {component}, not {}", any.join(" or ")));
        }
    }
    for outcome in &expect.outcomes {
        if !report
            .actions
            .iter()
            .any(|it| it.ends_with(&format!("({})", outcome.replace('_', " "))))
        {
            all.push(format!("no action was {outcome}: {}", report.actions.join(", ")));
        }
    }
    all.extend(wrong_end(scenario, seen, report));
    let notices = expect.notices.unwrap_or(usize::from(expect.end == End::Escalated));
    if report.notices != notices {
        all.push(format!("{} messages to people, not {notices}", report.notices));
    }
    all
}

fn wrong_end(scenario: &Scenario, seen: &Seen, report: &Report) -> Option<String> {
    let expect = &scenario.expect;
    let late = |what: &str| match report.over {
        Some(took) if took <= expect.within => None,
        Some(took) => Some(format!("{what} after {took:.1?}, not {:?}", expect.within)),
        None => Some(format!("not {what} within {:?}", expect.within)),
    };
    match expect.end {
        End::Quiet => None,
        End::Fixed if !report.verified => Some("no action was verified to have helped".to_owned()),
        End::Passed if seen.values().any(|it| !it.actions.is_empty()) => {
            Some(format!("something was done: {}", report.actions.join(", ")))
        }
        End::Fixed | End::Passed => late("resolved"),
        End::Escalated => late("handed to people"),
    }
}

/// Actions that no limit allowed, counted anew from what was really done.
fn outside(settings: &Table, actions: &[Value]) -> Vec<String> {
    let healing = settings.get("healing").cloned().unwrap_or(Table::new().into());
    let Ok(limits) = healing.try_into::<serve::config::Healing>() else {
        return vec!["the limits cannot be read".to_owned()];
    };
    let delta = |period: serve::config::Period| TimeDelta::from_std(period.0).unwrap_or_default();
    let mut begun: Vec<(&Value, DateTime<Utc>)> =
        actions.iter().filter_map(|it| Some((it, time(&it["started_at"])?))).collect();
    begun.sort_by_key(|(_, at)| *at);
    let mut all = vec![];
    for (n, (it, at)) in begun.iter().enumerate() {
        let earlier = || begun[..n].iter().rev();
        let same_target = |other: &&(&Value, DateTime<Utc>)| other.0["target"] == it["target"];
        let name = format!("{} on {}", text(&it["action"]), text(&it["target"]));
        let within = |window: TimeDelta, from: &DateTime<Utc>| *from > *at - window + TOLERANCE;
        let window = delta(limits.attempts_window);
        let n_same = earlier().filter(same_target).filter(|it| within(window, &it.1)).count();
        if n_same >= limits.attempts as usize {
            all.push(format!("{name}: attempt {} of {}", n_same + 1, limits.attempts));
        }
        let cool_down = delta(limits.cool_down);
        let same_kind = |other: &&(&Value, DateTime<Utc>)| {
            other.0["target"] == it["target"] && other.0["incident_kind"] == it["incident_kind"]
        };
        if earlier().filter(same_kind).any(|it| within(cool_down, &it.1)) {
            all.push(format!("{name}: within its cool-down"));
        }
        let at_work = |other: &(&Value, DateTime<Utc>)| {
            time(&other.0["ended_at"]).is_none_or(|end| end > *at + TOLERANCE)
        };
        if earlier().filter(same_target).any(at_work) {
            all.push(format!("{name}: while another was at work there"));
        }
        if earlier().filter(|it| within(TimeDelta::hours(1), &it.1)).count()
            >= limits.per_hour as usize
        {
            all.push(format!("{name}: more than {} in an hour", limits.per_hour));
        }
        let window = delta(limits.blast_window);
        let mut touched: BTreeSet<&str> = earlier()
            .filter(|it| within(window, &it.1))
            .map(|it| text(&it.0["component"]))
            .collect();
        touched.insert(text(&it["component"]));
        if touched.len() > limits.blast_radius as usize {
            all.push(format!("{name}: {} components touched", touched.len()));
        }
    }
    all
}

/// Actions that the trouble did not call for.
fn harmful(scenario: &Scenario, actions: &[Value]) -> Vec<String> {
    let expect = &scenario.expect;
    let mut all = vec![];
    for it in actions.iter().filter(|it| !it["started_at"].is_null()) {
        let (action, component) = (text(&it["action"]), text(&it["component"]));
        if !expect.actions.iter().any(|it| it == action) {
            all.push(format!("`{action}` was done on {}", text(&it["target"])));
        }
        if !expect.components.is_empty() && !expect.components.iter().any(|it| it == component) {
            all.push(format!("{component} was touched"));
        }
        if it["outcome"] == "worse" && !expect.outcomes.iter().any(|it| it == "worse") {
            all.push(format!("`{action}` made it worse"));
        }
    }
    all
}

/// Looks at the real world.
pub async fn left(bed: &mut Bed, scenario: &Scenario, accepted: &[Accepted]) -> Left {
    let mut left = Left::default();
    let after = &scenario.expect.after;
    for kind in &after.alive {
        if !bed.services.get(kind).is_some_and(|it| it.is_alive() && it.answers()) {
            left.wrong.push(format!("{} does not run", kind.name()));
        }
    }
    if after.arrived
        && let Err(why) = arrived(bed, scenario, accepted).await
    {
        left.wrong.push(format!("{why:#}"));
    }
    for (question, expected) in &after.sql {
        match bed.ask(question).await {
            Ok(value) if value == *expected => (),
            other => left.wrong.push(format!("`{question}` gives {other:?}, not {expected}")),
        }
    }
    for (key, most) in &after.redis {
        match bed.length(key).await {
            Ok(n) if n <= *most => (),
            other => left.wrong.push(format!("`{key}` holds {other:?}, not at most {most}")),
        }
    }
    for (name, expected) in &after.queues {
        match bed.messages(name, *expected).await {
            Ok(n) if n == *expected => (),
            other => left.wrong.push(format!("queue `{name}` holds {other:?}, not {expected}")),
        }
    }
    for (name, most) in &after.files_kb {
        let found = fs::metadata(bed.path().join(name)).map(|it| it.len() >> 10);
        if !found.as_ref().is_ok_and(|kb| kb <= most) {
            left.wrong.push(format!("`{name}` has {found:?} kB, not at most {most}"));
        }
    }
    if let Some(most) = after.disk_below {
        match bed.disk_used() {
            Ok(share) if share < most => (),
            other => left.wrong.push(format!("{other:?} of the disk is used, not below {most}")),
        }
    }
    for (name, expected) in &after.lines {
        let text = fs::read_to_string(bed.path().join(name)).unwrap_or_default();
        if text.lines().count() != *expected {
            let n = text.lines().count();
            left.wrong.push(format!("`{name}` has {n} lines, not {expected}"));
        }
    }
    left.harmed = harmed(bed, scenario).await;
    left
}

/// Bystanders: services that nothing was wrong with have the process that they had, and a session of
/// the database that did nothing wrong still has its connection.
async fn harmed(bed: &mut Bed, scenario: &Scenario) -> Vec<String> {
    let mut may_change: BTreeSet<Kind> = scenario.expect.restarts.iter().copied().collect();
    for fault in &scenario.fault {
        if let Verb::Kill { what }
        | Verb::Hang { what }
        | Verb::Switch { what, .. }
        | Verb::SwitchForGood { what, .. } = &fault.verb
        {
            may_change.insert(*what);
        }
    }
    let changed = bed.services.iter().filter(|(kind, service)| {
        !may_change.contains(kind) && service.pid() != service.first_pid()
    });
    let mut all: Vec<String> =
        changed.map(|(kind, _)| format!("{} was restarted", kind.name())).collect();
    if !may_change.contains(&Kind::Postgres) && !bed.bystander_is_well() {
        all.push("an innocent database session was ended".to_owned());
    }
    all
}

/// Every accepted event is in its room exactly once.
async fn arrived(bed: &Bed, scenario: &Scenario, accepted: &[Accepted]) -> anyhow::Result<()> {
    let begun = Instant::now();
    let rooms = scenario.expect.after.rooms.as_ref();
    let asked: Vec<&Accepted> = accepted
        .iter()
        .filter(|it| !it.poison && rooms.is_none_or(|all| all.contains(&room(&it.tenant))))
        .collect();
    anyhow::ensure!(!asked.is_empty(), "no event was accepted");
    loop {
        let url = format!("{}/seen", bed.names["chat.url"]);
        let seen: Value = reqwest::get(url).await?.json().await?;
        let counts: BTreeMap<u64, usize> = asked.iter().fold(BTreeMap::new(), |mut all, it| {
            let n = seen["shown"][room(&it.tenant)][&it.id].as_u64().unwrap_or(0);
            *all.entry(n).or_default() += 1;
            all
        });
        let (missing, once) =
            (counts.get(&0).copied().unwrap_or(0), counts.get(&1).copied().unwrap_or(0));
        if missing == 0 || begun.elapsed() > ARRIVED_WITHIN {
            let n = asked.len();
            anyhow::ensure!(
                once == n,
                "of {n} accepted events {once} were shown once, {missing} never, {} more often",
                n - once - missing
            );
            let calls: u64 = seen["calls"]
                .as_object()
                .map_or(0, |it| it.values().filter_map(Value::as_u64).sum());
            let per_event = calls as f64 / n as f64;
            let most = scenario.expect.after.calls_per_event.unwrap_or(f64::INFINITY);
            anyhow::ensure!(per_event <= most, "{per_event:.2} calls per event, not {most}");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
