//! `risk`, `slo` and `causes` through SQL, over rows that the question makes itself.

use datafusion::{arrow::util::pretty::pretty_format_batches, prelude::SessionContext};

/// Rows of the answer, cells apart by a space; or the error.
async fn ask(question: &str) -> Vec<String> {
    let context = SessionContext::new();
    super::register(&context);
    let answer = async { context.sql(question).await?.collect().await }.await;
    let batches = match answer {
        Ok(batches) => batches,
        Err(error) => return vec![error.strip_backtrace()],
    };
    let text = pretty_format_batches(&batches).unwrap().to_string();
    let rows = text.lines().filter(|line| line.starts_with('|')).skip(1);
    rows.map(|row| row.replace('|', " ").split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// 37 hours up to noon of March 2nd, 2 more every hour: 72 at last, and 100 in 14 hours.
const BACKLOG: &str = "(select ts, 2.0 * (to_unixtime(ts) - 1772323200) / 3600 as value from \
    time_series(timestamp '2026-03-01T00:00:00Z', timestamp '2026-03-02T13:00:00Z', interval '1 hour'))";

#[tokio::test]
async fn a_risk_says_how_likely_and_when_a_limit_is_reached() {
    let question = |risk: &str| {
        format!(
            "select r['probability'] > 0.7, r['is_reached'], \
                    r['breach_50_at'] between timestamp '2026-03-03T01:00:00Z' \
                                          and timestamp '2026-03-03T03:00:00Z', r['reason'] \
             from (select {risk} as r from {BACKLOG})"
        )
    };
    let above = ask(&question("risk(ts, value, 100, '24 hours')")).await;
    assert_eq!(above, ["true false true"]);
    let below = ask(&question("risk(ts, -value, -100, '24 hours', 'below')")).await;
    assert_eq!(below, ["true false true"]);
    let reached = ask(&question("risk(ts, value, 70, '24 hours')")).await;
    assert_eq!(reached, ["true true false"]);
    let far = ask(&question("risk(ts, value, 100, '7 days')")).await;
    assert!(far[0].contains("hours of history without long gaps"), "{far:?}");
    let side = ask(&question("risk(ts, value, 100, '24 hours', 'left')")).await;
    assert!(side[0].contains("above or below, not `left`"), "{side:?}");
    let few = ask(&question("risk(ts, value)")).await;
    assert!(few[0].contains("the limit that it should not reach"), "{few:?}");
}

#[tokio::test]
async fn each_group_has_a_risk_of_its_own() {
    let groups = format!(
        "select k, risk(ts, value * k, 100, '24 hours')['probability'] > 0.5 \
         from {BACKLOG}, (values (0), (1)) as groups(k) group by k order by k"
    );
    assert_eq!(ask(&groups).await, ["0 false", "1 true"]);
}

/// A day of minutes of which the last ten were bad.
fn objective(objective: &str, as_of: &str) -> String {
    format!(
        "select s['state'], s['alert'], round(s['burn_1h'], 2), round(s['achieved'], 5), \
                round(s['budget_left'], 3) \
         from (select slo(ts, case when ts > timestamp '2026-03-01T23:50:00Z' then 0 else 1 end, \
                          1, {objective}, timestamp '{as_of}') as s \
               from time_series(timestamp '2026-03-01T00:01:00Z', \
                                timestamp '2026-03-02T00:01:00Z', interval '1 minute'))"
    )
}

#[tokio::test]
async fn an_objective_stands_as_of_a_time() {
    let now = "2026-03-02T00:00:00Z";
    let burns = ask(&objective("0.99", now)).await;
    assert_eq!(burns, ["critical critical 16.67 0.99306 0.306"]);
    let before = ask(&objective("0.99", "2026-03-01T23:50:00Z")).await;
    assert_eq!(before, ["ok 0.0 1.0 1.0"], "what came later does not count");
    let never = ask(&objective("0.99", "2027-03-02T00:00:00Z")).await;
    assert_eq!(never, ["unknown"]);
    let uncounted = "select s['state'], s['achieved'] is null, s['reason'] from \
                     (select slo(now(), cast(null as double), 100.0, 0.99, now()) as s)";
    let why = "unknown true events were counted, but the good ones among them were not";
    assert_eq!(ask(uncounted).await, [why]);
    let wrong = ask(&objective("1.5", now)).await;
    assert!(wrong[0].contains("above 0 and below 1, not 1.5"), "{wrong:?}");
    assert!(ask("select slo(now(), 1, 1)").await[0].contains("such as now()"));
}

#[tokio::test]
async fn the_first_and_strongest_change_is_the_first_cause() {
    let points = "(select ts, member, (n * 7 % 5) / 5.0 + case \
                     when member = 'locks' and n >= 25 then 20 \
                     when member = 'errors' and n >= 40 then 30 else 0 end as value \
                   from (select ts, row_number() over (order by ts) - 1 as n from \
                         time_series(timestamp '2026-03-01T00:00:00Z', \
                                     timestamp '2026-03-01T01:00:00Z', interval '1 minute')), \
                        (values ('errors'), ('locks'), ('calm')) as members(member))";
    let since = "timestamp '2026-03-01T00:40:00Z'";
    let causes = format!(
        "select c['member'], cast(round(c['lag_s'] / 60) as bigint), c['after'] > c['before'] \
         from (select unnest(causes(ts, value, member, {since})) as c from {points})"
    );
    assert_eq!(ask(&causes).await, ["locks -15 true", "errors 0 true"]);
    let first = format!(
        "select c['member'], cast(round(c['lag_s'] / 60) as bigint) \
         from (select unnest(causes(ts, value, member)) as c from {points})"
    );
    assert_eq!(ask(&first).await, ["locks 0", "errors 15"], "lags count from the first change");
    let none = format!("select causes(ts, 1.0, member) is null from {points}");
    assert_eq!(ask(&none).await, ["true"]);
}
