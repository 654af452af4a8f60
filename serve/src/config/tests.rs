use std::time::Duration;

use expect_test::{Expect, expect};

use super::*;

fn load(file: &str, env: &[(&str, &str)], flags: Flags) -> Result<Config, String> {
    let path = std::env::temp_dir().join(format!("config-{}.toml", uuid::Uuid::new_v4()));
    fs::write(&path, file).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = Config::load(Some(&path), env, &flags);
    fs::remove_file(&path).unwrap();
    config.map_err(|error| error.to_string().replace(path.to_str().unwrap(), "FILE"))
}

#[track_caller]
fn refuses(file: &str, env: &[(&str, &str)], expected: Expect) {
    expected.assert_eq(&load(file, env, Flags::default()).unwrap_err());
}

#[test]
fn nothing_is_enough() {
    let config = Config::load(None, std::iter::empty(), &Flags::default()).unwrap();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8780");
    assert_eq!(config.http.otlp_grpc.to_string(), "127.0.0.1:4317");
    assert_eq!(config.ledger_url(), "./lake/ledger.db");
    assert_eq!(config.wal_dir(), Path::new("./lake/wal"));
    assert_eq!(config.collect.host.len(), 1);
}

#[test]
fn the_environment_beats_the_file_and_flags_beat_both() {
    let file = "[lake]\nurl = 'file'\n[http]\nlisten = '127.0.0.1:1'\n[ingest]\nflush_age = '5s'";
    let env = [
        ("PIPENOTIFY_LAKE", "env"),
        ("PIPENOTIFY_LISTEN", "127.0.0.1:2"),
        ("PIPENOTIFY_INGEST__BUFFER_ROWS", "600000"),
        ("PIPENOTIFY_ADMIN_KEY", "1234567890123456"),
        ("PIPENOTIFY_KEY", "the client's"),
        ("HOME", "/"),
    ];
    let flags = Flags { lake: Some("flag".to_owned()), ..Flags::default() };
    let config = load(file, &env, flags).unwrap();
    assert_eq!(config.lake.url, "flag");
    assert_eq!(config.http.listen.port(), 2);
    assert_eq!(config.ingest.buffer_rows, 600_000);
    assert_eq!(config.ingest.flush_age.0, Duration::from_secs(5));
    assert_eq!(config.http.admin_key.as_deref(), Some("1234567890123456"));
}

#[test]
fn an_unknown_key_is_refused_and_the_nearest_named() {
    refuses(
        "[lake]\nurl = 'x'\n\n[ingest]\nbufer_rows = 5\n",
        &[],
        expect!["FILE:5: unknown key `bufer_rows`; did you mean `buffer_rows`?"],
    );
    refuses(
        "[http]\npgwire = 'off'",
        &[],
        expect![
            "FILE:2: unknown key `pgwire`; known are listen, otlp_grpc, admin_key, body_bytes_max, requests_max, bodies_bytes_max, body_timeout"
        ],
    );
    refuses("[lak]", &[], expect!["FILE:1: unknown key `lak`; did you mean `lake`?"]);
    refuses(
        "",
        &[("PIPENOTIFY_INGEST__BUFFER_ROW", "5")],
        expect![
            "PIPENOTIFY_INGEST__BUFFER_ROW: unknown key `buffer_row`; did you mean `buffer_rows`?"
        ],
    );
    refuses(
        "",
        &[("PIPENOTIFY_LISTN", "5")],
        expect![
            "unknown key `PIPENOTIFY_LISTN`; did you mean `PIPENOTIFY_LISTEN`? Other keys are written PIPENOTIFY_SECTION__KEY"
        ],
    );
}

#[test]
fn a_wrong_value_is_refused_with_its_place_and_what_would_do() {
    refuses(
        "[ingest]\nflush_age = '5 parsecs'",
        &[],
        expect!["FILE:2: `5 parsecs` is no duration; expected one like 250ms, 5s, 15m, 6h or 30d"],
    );
    refuses(
        "",
        &[("PIPENOTIFY_OTLP_GRPC", "nowhere")],
        expect![
            "PIPENOTIFY_OTLP_GRPC: `nowhere` is no address; expected one like 127.0.0.1:4317, or off"
        ],
    );
    refuses(
        "[ingest]\nbuffer_rows = 10",
        &[],
        expect!["ingest.flush_rows must not exceed ingest.buffer_rows, or no flush would start"],
    );
}

#[test]
fn an_objective_of_a_component_that_there_is_not_is_refused() {
    let slo = "name = 'up'\nobjective = 0.9\nevents = { metric = 'm' }\nat_least = 1.0\n";
    refuses(
        &format!("[[slo]]\ncomponent = 'shop'\n{slo}"),
        &[],
        expect![
            "slo `up` is about `shop`, which is no component: add a `[[health.component]]` of that name, or leave `component` out"
        ],
    );
    load(&format!("[[slo]]\n{slo}"), &[], Flags::default()).unwrap();
    load(&format!("[[slo]]\ncomponent = 'host'\n{slo}"), &[], Flags::default()).unwrap();
}

#[test]
fn metrics_of_others_join_the_catalog() {
    let file = "
        [[metric]]
        name = 'orders.open'
        unit = '{order}'
        polarity = 'lower_is_better'
        lower = 0.0
        [[metric]]
        name = 'orders.done'
        kind = 'counter'";
    let config = load(file, &[], Flags::default()).unwrap();
    let catalog = config.catalog();
    assert_eq!(catalog.bounds("orders.open"), Some((Some(0.0), None)));
    assert!(catalog.is_counter("orders.done") && !catalog.is_counter("orders.open"));
    let again = load(&config.redacted(), &[], Flags::default()).unwrap();
    assert_eq!(again.metric, config.metric);
    refuses(
        "[[metric]]\nname = 'a'\nlower = 2.0\nupper = 1.0",
        &[],
        expect!["metric `a`: lower must be a number below upper"],
    );
    refuses(
        "[[metric]]\nname = 'a'\ncapacity = 'a'",
        &[],
        expect!["metric `a`: its capacity is another metric, not itself"],
    );
    refuses(
        "[[metric]]\nname = 'a'\n[[metric]]\nname = 'a'",
        &[],
        expect!["metric `a` occurs twice"],
    );
    refuses(
        "[[metric]]\nname = 'a'\npolarty = 'neutral'",
        &[],
        expect!["FILE:3: unknown key `polarty`; did you mean `polarity`?"],
    );
}

#[test]
fn an_empty_administrators_key_is_none_and_a_short_one_is_refused() {
    let check = |key: &str, said: Option<&str>, is_good: bool| {
        for name in ["PIPENOTIFY_ADMIN_KEY", "PIPENOTIFY_HTTP__ADMIN_KEY"] {
            let http = load("", &[(name, key)], Flags::default()).unwrap().http;
            assert_eq!(http.admin_key.as_deref(), said);
            assert_eq!(http.check_admin_key().is_ok(), is_good, "{key}");
        }
    };
    check("", None, true);
    check(" ", None, true);
    check("adm", Some("adm"), false);
    check("fifteen letters", Some("fifteen letters"), false);
    check("sixteen letters!", Some("sixteen letters!"), true);
    let file = load("[http]\nadmin_key = ''", &[], Flags::default()).unwrap();
    file.http.check_admin_key().unwrap_err();
}

#[test]
fn the_effective_configuration_reads_back_and_keeps_secrets() {
    let file = "
        [ledger]
        url = 'postgres://user:hunter2@db/ledger'
        [http]
        admin_key = 'hunter2'
        otlp_grpc = 'off'
        [[collect.http]]
        name = 'shop'
        url = 'https://shop.example/?token=hunter2'
        every = '1m'
        [collect.http.headers]
        authorization = 'Bearer hunter2'
        [[collect.postgres]]
        url = 'host=db user=me password=hunter2'
        [[health.component]]
        name = 'shop'
        [health.component.control]
        start = ['app', '--password=hunter2', '--token', 'hunter2', '--verbose']
        pid_file = '/run/secrets/shop.pid'
        [[playbook]]
        name = 'p'
        [[playbook.action]]
        do = 'call_http'
        url = 'http://localhost/?q=1'
        body = '{\"user\": \"me\", \"password\": \"hunter2\"}'";
    let text = load(file, &[], Flags::default()).unwrap().redacted();
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.contains("postgres://user:redacted@db/ledger"), "{text}");
    assert!(text.contains("--verbose") && text.contains("/run/secrets/shop.pid"), "{text}");
    let again = load(&text, &[], Flags::default()).unwrap();
    assert_eq!(again.redacted(), text);
    assert_eq!(again.collect.http[0].every, Period::seconds(60));
}

#[test]
fn a_period_is_shown_in_its_largest_whole_unit() {
    for text in ["250ms", "5s", "90s", "15m", "6h", "30d"] {
        assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
    }
    for text in ["", "5", "s", "0s", "-1s", "5y", "99999999999999999999d", "40000d", "1.5h"] {
        text.parse::<Period>().unwrap_err();
    }
}

#[test]
fn a_route_says_what_is_different_and_the_last_takes_the_rest() {
    let file = "
[notify]
to = ['chat']
fallback = ['mail']
group_by = ['kind']
group_wait = '30s'
[[notify.route]]
match = { component = ['db-*'], severity = ['critical'] }
to = ['dba', 'chat']
group_interval = '5m'
[[notify.route]]
match = { kind = ['disk_filling'] }
to = ['ops']
fallback = []
group_by = []
repeat = '1d'
";
    let config = load(file, &[], Flags::default()).unwrap();
    let routes = config.notify.routes();
    let said = |n: usize| {
        let it = &routes[n];
        let seconds = [it.grouping.wait, it.grouping.interval, it.policy.repeat];
        let seconds = seconds.map(|it| it.num_seconds());
        (it.to.join(" "), it.fallback.join(" "), it.grouping.by.join(" "), seconds)
    };
    let expected = |to: &str, fallback: &str, by: &str, seconds| {
        (to.to_owned(), fallback.to_owned(), by.to_owned(), seconds)
    };
    assert_eq!(said(0), expected("dba chat", "mail", "kind", [30, 300, 14_400]));
    assert_eq!(said(1), expected("ops", "", "", [30, 10, 86_400]));
    assert_eq!(said(2), expected("chat", "mail", "kind", [30, 10, 14_400]));
    assert_eq!(routes.len(), 3);
    let named: Vec<_> = config.notify.named().into_iter().collect();
    assert_eq!(named, ["chat", "dba", "mail", "ops"]);
    let none = Config::load(None, std::iter::empty(), &Flags::default()).unwrap();
    assert_eq!(none.notify.routes()[0].grouping.wait.num_seconds(), 0, "at once by default");
}

#[test]
fn a_route_that_could_never_do_what_it_says_is_refused() {
    let refuses = |file: &str, expected: Expect| refuses(file, &[], expected);
    refuses(
        "[notify]\ngroup_by = ['host']\n",
        expect![
            "notify: `group_by` names `host`; an incident is known by component, kind, severity, title, id"
        ],
    );
    refuses(
        "[[notify.route]]\nto = ['a']\n",
        expect![
            "notify.route 1 has no `match`, so those behind it would never be taken; what is for everything stands in [notify]"
        ],
    );
    refuses(
        "[[notify.route]]\nmatch = { kind = [] }\nto = ['a']\n",
        expect!["notify.route 1: `match.kind` is empty and fits nothing"],
    );
    refuses(
        "[[notify.route]]\nmatch = { team = ['x'] }\n",
        expect![
            "notify.route 1: `match` names `team`; an incident is known by component, kind, severity, title, id"
        ],
    );
    refuses(
        "[notify]\ngroup_interval = '2d'\n",
        expect!["notify: `group_interval` is longer than 1d"],
    );
}

#[test]
fn a_component_that_would_not_do_what_it_says_is_refused() {
    let refuses = |more: &str, expected: Expect| {
        refuses(&format!("[[health.component]]\nname = 'web'\n{more}"), &[], expected);
    };
    refuses("depends_on = ['web']", expect!["health.component `web` depends on itself"]);
    refuses(
        "depends_on = ['db']",
        expect!["health.component `web` depends on `db`, and there is no component of that name"],
    );
    refuses(
        "kind = 'workr'",
        expect!["health.component `web`: kind `workr` is unknown; did you mean `worker`?"],
    );
    let strat = "[health.component.control]\nstrat = ['/bin/true']\n";
    refuses(
        strat,
        expect!["health.component `web`: no playbook uses `control.strat`; did you mean `start`?"],
    );
    // Whoever uses it means it.
    let playbook = "[[playbook]]\nname = 'p'\n[[playbook.action]]\ndo = 'restart_process'\n\
                    start = '{control.strat}'\npid_file = '/x'\n";
    for rest in [playbook, "[healing]\nplaybooks = '/etc/playbooks'\n"] {
        let file = format!("[[health.component]]\nname = 'web'\nkind = 'api'\n{strat}{rest}");
        load(&file, &[], Flags::default()).unwrap();
    }
}

#[test]
fn a_severity_that_there_is_not_and_a_folder_that_is_everything_are_refused() {
    refuses(
        "[[notify.route]]\nmatch = { severity = ['criticl'] }\nto = ['dba']\n",
        &[],
        expect![
            "notify.route 1: `match.severity` names `criticl`; there are info, warning and critical"
        ],
    );
    load("[[notify.route]]\nmatch = { severity = ['crit*'] }\n", &[], Flags::default()).unwrap();
    refuses(
        "[healing]\nallow_folders = ['/']\n",
        &[],
        expect!["healing.allow_folders: `/` is everything; name the folders that are meant"],
    );
}

/// The first thing that people try.
#[test]
fn what_the_readme_shows_can_be_loaded() {
    let readme = include_str!("../../../README.md");
    let blocks: Vec<_> = readme.split("```toml\n").skip(1).collect();
    assert!(blocks.len() >= 2, "{}", blocks.len());
    for block in blocks {
        let block = block.split("```").next().unwrap_or_default();
        load(block, &[], Flags::default()).unwrap_or_else(|why| panic!("{why}:\n{block}"));
    }
}
