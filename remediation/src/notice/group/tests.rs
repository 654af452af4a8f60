use super::*;
use crate::{
    incident::tests::incident,
    kind::Kind,
    notice::{due, told},
    symptom::tests::now,
};

const WAIT_S: i64 = 30;
const INTERVAL_S: i64 = 300;

fn at(seconds: i64) -> DateTime<Utc> {
    now() + TimeDelta::seconds(seconds)
}

fn route(matches: &[(&str, &str)], to: &str) -> Route {
    let matches = matches.iter().map(|(name, one)| ((*name).to_owned(), vec![(*one).to_owned()]));
    Route {
        matches: matches.collect(),
        to: vec![to.to_owned()],
        fallback: vec![],
        policy: Policy {
            patience: TimeDelta::minutes(5),
            repeat: TimeDelta::hours(4),
            least: Severity::Warning,
        },
        grouping: Grouping {
            by: vec!["kind".to_owned()],
            wait: TimeDelta::seconds(WAIT_S),
            interval: TimeDelta::seconds(INTERVAL_S),
            hold_critical: true,
        },
    }
}

/// Incidents as the ledger has them, and what was told of them; nothing else is remembered.
struct Told {
    routes: Vec<Route>,
    all: Vec<Incident>,
}

impl Told {
    fn new(routes: Vec<Route>) -> Self {
        Self { routes, all: vec![] }
    }

    fn open(&mut self, component: &str, kind: Kind, seconds: i64) {
        self.all.push(Incident { opened_at: at(seconds), ..incident(component, kind) });
    }

    fn end(&mut self, component: &str, seconds: i64) {
        let it = self.all.iter_mut().find(|it| it.component == component).unwrap();
        (it.state, it.resolved_at) = ("resolved".to_owned(), Some(at(seconds)));
    }

    /// One turn: each message that leaves, as the components it is about.
    fn turn(&mut self, seconds: i64) -> Vec<String> {
        let before = self.all.clone();
        let policy = self.routes[0].policy;
        let news = before.iter();
        let news = news.filter_map(|it| Some((due(it, false, &[], &policy, at(seconds))?, it)));
        let groups = leaving(&self.routes, news.collect(), &before, at(seconds));
        let mut said = vec![];
        for group in &groups {
            let line = group.news.iter().map(|(why, it)| format!("{why:?} {}", it.component));
            said.push(line.collect::<Vec<_>>().join(", "));
            for (why, it) in &group.news {
                let to = group.route.recipients(*why, it, |_| true);
                let kept = self.all.iter_mut().find(|one| one.id == it.id).unwrap();
                *kept = told(it, *why, &to, at(seconds));
            }
        }
        said
    }

    #[track_caller]
    fn check(&mut self, seconds: i64, expected: &[&str]) {
        assert_eq!(self.turn(seconds), expected, "after {seconds} s");
    }
}

#[test]
fn first_news_wait_for_others_and_changes_for_the_interval() {
    let mut it = Told::new(vec![route(&[], "chat")]);
    it.open("a", Kind::ServiceDown, 0);
    it.check(0, &[]);
    it.open("b", Kind::ServiceDown, 20);
    it.open("disk", Kind::DiskFilling, 20);
    it.check(WAIT_S - 1, &[]);
    it.check(WAIT_S, &["New a, New b"]);
    it.check(WAIT_S, &[]);
    // Another group has a time of its own.
    it.check(20 + WAIT_S, &["New disk"]);
    it.open("c", Kind::ServiceDown, 60);
    it.end("a", 70);
    it.check(WAIT_S + INTERVAL_S - 1, &[]);
    it.check(WAIT_S + INTERVAL_S, &["Resolved a, New c"]);
    it.end("b", 400);
    it.end("c", 400);
    it.check(WAIT_S + 2 * INTERVAL_S, &["Resolved b, Resolved c"]);
    it.check(100_000, &["Repeated disk"]);
}

#[test]
fn a_group_that_is_over_begins_anew() {
    let mut it = Told::new(vec![route(&[], "chat")]);
    it.open("a", Kind::ServiceDown, 0);
    it.check(WAIT_S, &["New a"]);
    it.end("a", 40);
    it.check(WAIT_S + INTERVAL_S, &["Resolved a"]);
    it.open("b", Kind::ServiceDown, 1_000);
    it.check(1_000, &[]);
    it.check(1_000 + WAIT_S, &["New b"]);
}

#[test]
fn what_is_repeated_is_repeated_for_the_group() {
    let mut it = Told::new(vec![route(&[], "chat")]);
    it.open("a", Kind::ServiceDown, 0);
    it.open("b", Kind::ServiceDown, 0);
    it.check(WAIT_S, &["New a, New b"]);
    let repeat = 4 * 3_600;
    it.check(WAIT_S + repeat - 1, &[]);
    it.check(WAIT_S + repeat, &["Repeated a, Repeated b"]);
    it.check(WAIT_S + repeat + INTERVAL_S, &[]);
}

#[test]
fn by_default_what_is_critical_leaves_at_once_and_takes_the_rest_along() {
    let mut it = Told::new(vec![route(&[], "chat")]);
    (it.routes[0].grouping.by, it.routes[0].grouping.hold_critical) = (vec![], false);
    it.routes[0].grouping.wait = TimeDelta::zero();
    it.open("a", Kind::ServiceDown, 0);
    it.check(0, &["New a"]);
    it.open("b", Kind::DiskFilling, 1);
    it.check(1, &[]);
    it.open("c", Kind::WorkerDead, 2);
    it.all[2].severity = "critical".to_owned();
    it.check(2, &["New b, New c"]);
    it.end("c", 3);
    it.end("a", 4);
    it.check(4, &["Resolved a, Resolved c"]);
}

#[test]
fn in_a_storm_everything_is_one_message_now_and_then() {
    let mut it = Told::new(vec![route(&[], "chat")]);
    it.routes[0].grouping = Grouping::in_storm(TimeDelta::seconds(60));
    for n in 0..3 {
        it.open(&format!("{n}"), Kind::ServiceDown, 0);
        it.all[n].severity = "critical".to_owned();
    }
    it.check(0, &["New 0, New 1, New 2"]);
    it.open("3", Kind::DiskFilling, 1);
    it.end("0", 1);
    it.check(59, &[]);
    it.check(60, &["Resolved 0, New 3"]);
}

#[test]
fn a_clock_that_was_set_back_holds_nothing_up() {
    let mut it = Told::new(vec![route(&[], "chat")]);
    it.open("a", Kind::ServiceDown, 0);
    it.check(WAIT_S, &["New a"]);
    it.open("b", Kind::ServiceDown, -600);
    it.check(-500, &["New b"]);
}

#[test]
fn the_first_route_that_fits_is_taken_and_whoever_was_told_hears_of_the_end() {
    let mut it = Told::new(vec![route(&[("severity", "critical")], "pager"), route(&[], "chat")]);
    it.open("a", Kind::ServiceDown, 0);
    it.check(WAIT_S, &["New a"]);
    assert_eq!(it.all[0].told_to, ["chat"]);
    // It gets worse, which is news for others.
    (it.all[0].severity, it.all[0].notified_at) = ("critical".to_owned(), None);
    it.check(WAIT_S + 1, &["New a"]);
    assert_eq!(it.all[0].told_to, ["chat", "pager"]);
    it.end("a", 60);
    let to = |is_there: &dyn Fn(&str) -> bool| {
        way_of(&it.routes, &it.all[0]).unwrap().recipients(Why::Resolved, &it.all[0], is_there)
    };
    assert_eq!(to(&|_| true), ["chat", "pager"]);
    assert_eq!(to(&|name| name != "chat"), ["pager"], "nobody waits for one that is gone");
    it.check(1_000, &["Resolved a"]);
    assert_eq!(it.all[0].told_to, Vec::<String>::new());
    it.check(2_000, &[]);
}

#[test]
fn a_route_asks_for_one_pattern_of_each_name() {
    let two = |kind: &str| route(&[("component", "db-*"), ("kind", kind)], "dba");
    let takes = |component, kind| two(kind).takes(&incident(component, Kind::ServiceDown));
    assert!(takes("db-1", "service_*"));
    assert!(!takes("web", "service_*"));
    assert!(!takes("db-1", "disk_*"));
    let mut either = two("disk_*");
    either.matches.get_mut("kind").unwrap().push("service_down".to_owned());
    assert!(either.takes(&incident("db-1", Kind::ServiceDown)));
}
