//! PostgreSQL: connections, locks, slow statements, missing indexes, dead rows; and pools.

use super::{
    Advice, Bottleneck, Degree, Facts, Severity, Shown, evidence, number, percent,
    resource::confidence,
};
use crate::observed::Observed;

pub(super) const METRICS: &[Shown] = &[
    (
        "database connections",
        &[
            "postgresql.connection.utilization",
            "postgresql.connection.count",
            "postgresql.connection.limit",
        ],
    ),
    (
        "locks",
        &[
            "postgresql.blocked_sessions",
            "postgresql.lock_wait.age",
            "postgresql.idle_in_transaction.age",
        ],
    ),
    (
        "slow statement",
        &[
            "postgresql.statement.time",
            "postgresql.statement.calls",
            "postgresql.statement.mean_time",
        ],
    ),
    (
        "missing index",
        &[
            "postgresql.table.sequential_rows",
            "postgresql.table.sequential_scans",
            "postgresql.table.index_scans",
            "postgresql.table.rows.live",
        ],
    ),
    ("dead rows", &["postgresql.table.dead_ratio", "postgresql.table.rows.dead"]),
    (
        "pool",
        &[
            "db.client.connection.pending_requests",
            "db.client.connection.count",
            "db.client.connection.max",
            "redis.clients.connected",
            "redis.clients.limit",
        ],
    ),
];

/// How many times as many connections as now are proposed where none can be freed.
const RAISED: f64 = 1.5;

/// Seconds of work a second from which a statement is a load.
const STATEMENT_LOAD: f64 = 0.25;

/// Mean time of a call, in seconds, from which a statement is slow.
const SLOW_S: f64 = 0.1;

/// Rows of a table from which reading all of them matters.
const LARGE_TABLE: f64 = 10_000.0;

/// Rows read a second by scans of the whole table from which an index is missed.
const SCANNED_ROWS: f64 = 10_000.0;

pub(super) fn find(facts: &Facts<'_>) -> Vec<Bottleneck> {
    let mut found = vec![];
    found.extend(
        facts.fresh("postgresql.connection.utilization").filter_map(|it| connections(facts, it)),
    );
    found.extend(facts.fresh("postgresql.blocked_sessions").filter_map(|it| locks(facts, it)));
    found.extend(facts.fresh("postgresql.statement.time").filter_map(|it| statement(facts, it)));
    found.extend(facts.fresh("postgresql.table.sequential_rows").filter_map(|it| index(facts, it)));
    found.extend(facts.fresh("postgresql.table.dead_ratio").filter_map(|it| dead(facts, it)));
    found.extend(
        facts.fresh("db.client.connection.pending_requests").filter_map(|it| pool(facts, it)),
    );
    found
}

fn place(observed: &Observed) -> &str {
    observed.label("postgresql").or(observed.component()).unwrap_or("the database")
}

fn connections(facts: &Facts<'_>, used: &Observed) -> Option<Bottleneck> {
    let state = facts.sustained(used, 0.8)?;
    let server = place(used);
    let in_state = |word: &str| {
        let of = facts.fresh("postgresql.connection.count");
        let mut of = of.filter(|it| it.label("postgresql") == used.label("postgresql"));
        of.find(|it| it.label("state") == Some(word)).and_then(|it| facts.mean(it))
    };
    let limit = facts.beside("postgresql.connection.limit", used, &["postgresql"]);
    let limit = limit.and_then(Observed::last);
    let idle = in_state("idle").unwrap_or(0.0);
    let stuck = in_state("idle in transaction").unwrap_or(0.0);
    let freed = limit.map_or(0.0, |limit| (idle + stuck) / limit).min(state.mean);
    let falls = match limit {
        Some(_) => {
            format!("use falls from {} to {}", percent(state.mean), percent(state.mean - freed))
        }
        None => "how far use falls is not known: the limit is not".to_owned(),
    };
    let (action, expected, gain) = if stuck >= 1.0 && stuck >= idle {
        (
            format!(
                "End the {} sessions of {server} that are idle in a transaction, and set idle_in_transaction_session_timeout",
                number(stuck)
            ),
            falls,
            freed / state.mean,
        )
    } else if idle > 0.0 {
        (
            format!(
                "Put a pool (PgBouncer) in front of {server}, or make the clients' pools smaller: {} connections are idle",
                number(idle)
            ),
            falls,
            freed / state.mean,
        )
    } else {
        raise(server, state.mean, limit)
    };
    Some(Bottleneck {
        key: format!("database connections:{server}"),
        kind: "database connections",
        signal: "utilisation",
        component: used.component().map(str::to_owned),
        resource: server.to_owned(),
        title: format!("{} of the connections of {server} are in use", percent(state.mean)),
        severity: Severity::of(state.mean, 0.95),
        confidence: confidence(state, true),
        since: state.since,
        first_moved: None,
        evidence: vec![evidence(used, state.mean, Some(0.8))],
        advice: vec![Advice {
            action,
            expected,
            gain,
            effort: Degree::Medium,
            risk: Degree::Low,
            measure: evidence(used, state.mean, None),
        }],
    })
}

/// What to do, what it brings and the gain where no connection is known that could be freed.
fn raise(server: &str, used: f64, limit: Option<f64>) -> (String, String, f64) {
    let action = format!(
        "Limit the clients of {server} or raise max_connections: no connection is known to be idle"
    );
    let expected = match limit.map(|limit| (limit * RAISED).ceil()) {
        Some(raised) => format!(
            "with max_connections = {} the same connections are {} of it",
            number(raised),
            percent(used / RAISED)
        ),
        None => "how far use falls is not known: the limit is not".to_owned(),
    };
    (action, expected, limit.map_or(0.0, |_| 1.0 - 1.0 / RAISED))
}

fn locks(facts: &Facts<'_>, blocked: &Observed) -> Option<Bottleneck> {
    let state = facts.sustained(blocked, 1.0)?;
    let server = place(blocked);
    let age =
        |metric: &str| facts.beside(metric, blocked, &["postgresql"]).and_then(Observed::last);
    let wait = age("postgresql.lock_wait.age");
    let idle = age("postgresql.idle_in_transaction.age").unwrap_or(0.0);
    let waited = wait.map_or(String::new(), |wait| format!(", the longest for {} s", number(wait)));
    let (action, gain) = if idle >= 30.0 {
        (
            format!(
                "End the session of {server} that has been idle in a transaction for {} s: it most likely holds the lock",
                number(idle)
            ),
            0.9,
        )
    } else {
        (
            format!(
                "Look at pg_blocking_pids() on {server} and end or shorten the transaction that blocks"
            ),
            0.7,
        )
    };
    Some(Bottleneck {
        key: format!("locks:{server}"),
        kind: "locks",
        signal: "saturation",
        component: blocked.component().map(str::to_owned),
        resource: server.to_owned(),
        title: format!("{} sessions of {server} wait for a lock{waited}", number(state.mean)),
        severity: Severity::of(wait.unwrap_or(0.0), 60.0),
        confidence: confidence(state, true),
        since: state.since,
        first_moved: None,
        evidence: vec![evidence(blocked, state.mean, Some(1.0))],
        advice: vec![Advice {
            action,
            expected: format!("{} sessions go on", number(state.mean)),
            gain,
            effort: Degree::Low,
            risk: Degree::Medium,
            measure: evidence(blocked, state.mean, None),
        }],
    })
}

fn statement(facts: &Facts<'_>, time: &Observed) -> Option<Bottleneck> {
    let load = time.rate();
    let state = facts.sustained(&load, STATEMENT_LOAD)?;
    let calls = facts.beside("postgresql.statement.calls", time, &["postgresql", "query_id"])?;
    let calls_s = facts.mean(&calls.rate())?;
    let mean_s = if calls_s > 0.0 { state.mean / calls_s } else { return None };
    let server = place(time);
    let total = facts.fresh("postgresql.statement.time");
    let total = total.filter(|it| it.label("postgresql") == time.label("postgresql"));
    let total: f64 = total.filter_map(|it| facts.mean(&it.rate())).sum();
    let share = (state.mean / total.max(state.mean)).clamp(0.0, 1.0);
    if mean_s < SLOW_S && share < 0.5 {
        return None;
    }
    let text = time.label("statement").unwrap_or("a statement");
    let id = time.label("query_id").unwrap_or("?");
    Some(Bottleneck {
        key: format!("slow statement:{server}:{id}"),
        kind: "slow statement",
        signal: "duration",
        component: time.component().map(str::to_owned),
        resource: text.to_owned(),
        title: format!(
            "a statement takes {} ms a call and {} of all statement time of {server}: {text}",
            number(mean_s * 1e3),
            percent(share)
        ),
        severity: Severity::of(state.mean, 1.0),
        confidence: confidence(state, mean_s >= SLOW_S),
        since: state.since,
        first_moved: None,
        evidence: vec![
            evidence(time, state.mean, Some(STATEMENT_LOAD)),
            evidence(calls, calls_s, None),
        ],
        advice: vec![Advice {
            action: format!(
                "Run explain (analyze, buffers) on {server} and index or rewrite: {text}"
            ),
            expected: format!(
                "halving it frees {} s of work a second, {} of what the server does",
                number(state.mean / 2.0),
                percent(share / 2.0)
            ),
            gain: share,
            effort: Degree::Medium,
            risk: Degree::Low,
            measure: evidence(time, state.mean, None),
        }],
    })
}

fn index(facts: &Facts<'_>, rows: &Observed) -> Option<Bottleneck> {
    let beside = |metric: &str| facts.beside(metric, rows, &["postgresql", "schema", "table"]);
    let live = beside("postgresql.table.rows.live").and_then(Observed::last)?;
    let read = rows.rate();
    let state = facts.sustained(&read, SCANNED_ROWS)?;
    let scans = beside("postgresql.table.sequential_scans")?;
    let scans_s = facts.mean(&scans.rate())?;
    if live < LARGE_TABLE || scans_s <= 0.0 {
        return None;
    }
    let indexed = beside("postgresql.table.index_scans").and_then(|it| facts.mean(&it.rate()));
    let share = scans_s / (scans_s + indexed.unwrap_or(0.0));
    let (server, schema) = (place(rows), rows.label("schema").unwrap_or("public"));
    let table = format!("{schema}.{}", rows.label("table").unwrap_or("?"));
    let statement = naming(facts, rows);
    let hint = statement.map_or(String::new(), |text| format!("; likely for: {text}"));
    Some(Bottleneck {
        key: format!("missing index:{server}:{table}"),
        kind: "missing index",
        signal: "utilisation",
        component: rows.component().map(str::to_owned),
        title: format!(
            "{table} of {server} is read whole {} times a second, {} rows a second",
            number(scans_s),
            number(state.mean)
        ),
        resource: table.clone(),
        severity: Severity::of(state.mean, 100.0 * SCANNED_ROWS),
        confidence: confidence(state, share >= 0.5),
        since: state.since,
        first_moved: None,
        evidence: vec![
            evidence(rows, state.mean, Some(SCANNED_ROWS)),
            evidence(scans, scans_s, None),
        ],
        advice: vec![Advice {
            action: format!(
                "Create an index (concurrently) on {table} for the columns it is filtered by{hint}"
            ),
            expected: format!(
                "{} of its scans stop reading {} rows each: {} rows a second less",
                percent(share),
                number(live),
                number(state.mean)
            ),
            gain: 0.9 * share.max(0.3),
            effort: Degree::Low,
            risk: Degree::Low,
            measure: evidence(rows, state.mean, None),
        }],
    })
}

/// The statement that takes most time among those that name the table.
fn naming<'a>(facts: &Facts<'a>, rows: &Observed) -> Option<&'a str> {
    let table = rows.label("table")?;
    let all = facts.fresh("postgresql.statement.time");
    let named = all.filter(|it| it.label("postgresql") == rows.label("postgresql"));
    let named = named.filter(|it| {
        let text = it.label("statement").unwrap_or_default();
        text.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == table)
    });
    let timed = named.filter_map(|it| Some((it.label("statement")?, facts.mean(&it.rate())?)));
    timed.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(text, _)| text)
}

fn dead(facts: &Facts<'_>, ratio: &Observed) -> Option<Bottleneck> {
    let state = facts.sustained(ratio, 0.3)?;
    let rows =
        facts.beside("postgresql.table.rows.dead", ratio, &["postgresql", "schema", "table"]);
    let rows = rows.and_then(Observed::last).filter(|rows| *rows >= LARGE_TABLE)?;
    let server = place(ratio);
    let table = format!(
        "{}.{}",
        ratio.label("schema").unwrap_or("public"),
        ratio.label("table").unwrap_or("?")
    );
    Some(Bottleneck {
        key: format!("dead rows:{server}:{table}"),
        kind: "dead rows",
        signal: "utilisation",
        component: ratio.component().map(str::to_owned),
        title: format!("{} of the rows of {table} in {server} are dead", percent(state.mean)),
        resource: table.clone(),
        severity: Severity::of(state.mean, 0.6),
        confidence: confidence(state, true),
        since: state.since,
        first_moved: None,
        evidence: vec![evidence(ratio, state.mean, Some(0.3))],
        advice: vec![Advice {
            action: format!(
                "Vacuum (analyze) {table} of {server} and lower its autovacuum_vacuum_scale_factor"
            ),
            expected: format!("scans of {table} pass over {} rows less", number(rows)),
            gain: state.mean,
            effort: Degree::Low,
            risk: Degree::Low,
            measure: evidence(ratio, state.mean, None),
        }],
    })
}

/// A client's pool that lets requests wait for a connection.
fn pool(facts: &Facts<'_>, pending: &Observed) -> Option<Bottleneck> {
    let state = facts.sustained(pending, 1.0)?;
    let label = "db.client.connection.pool.name";
    let name = pending.label(label).or(pending.component()).unwrap_or("the pool");
    let size = facts.beside("db.client.connection.max", pending, &[label]).and_then(Observed::last);
    let used = facts
        .fresh("db.client.connection.count")
        .filter(|it| it.component() == pending.component());
    let used: f64 =
        used.filter(|it| it.label(label) == pending.label(label)).filter_map(Observed::last).sum();
    let full = size.is_none_or(|size| used >= 0.9 * size);
    let more = (state.mean + used.max(1.0)).ceil();
    Some(Bottleneck {
        key: format!("pool:{}:{name}", pending.component().unwrap_or("?")),
        kind: "pool",
        signal: "saturation",
        component: pending.component().map(str::to_owned),
        resource: name.to_owned(),
        title: format!("{} requests wait for a connection of `{name}`", number(state.mean)),
        severity: Severity::of(state.mean, 10.0),
        confidence: confidence(state, full),
        since: state.since,
        first_moved: None,
        evidence: vec![evidence(pending, state.mean, Some(1.0))],
        advice: vec![Advice {
            action: format!(
                "Shorten what holds a connection of `{name}`, or raise the pool to {}",
                number(more)
            ),
            expected: format!("{} requests stop waiting", number(state.mean)),
            gain: 0.8,
            effort: Degree::Low,
            risk: Degree::Medium,
            measure: evidence(pending, state.mean, None),
        }],
    })
}
