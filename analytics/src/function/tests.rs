//! Every function through SQL, over rows out of order, in batches and partitions of their own.

use std::sync::Arc;

use arrow::{
    array::{Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Schema},
    util::pretty::pretty_format_batches,
};
use datafusion::{
    datasource::MemTable,
    execution::{memory_pool::FairSpillPool, runtime_env::RuntimeEnvBuilder},
    prelude::{SessionConfig, SessionContext},
};

use super::{register, utc};

type Row = (&'static str, Option<i64>, Option<f64>);

/// Series `c` is a counter that starts again, `g` a gauge with a gap, `n` has only nulls, `o` one
/// point. Times are in minutes.
const ROWS: [Row; 14] = [
    ("c", Some(3), Some(5.0)),
    ("c", Some(0), Some(10.0)),
    ("g", Some(6), Some(8.0)),
    ("c", Some(2), Some(30.0)),
    ("n", Some(1), None),
    ("c", Some(1), Some(20.0)),
    ("c", Some(2), Some(30.0)),
    ("g", Some(0), Some(2.0)),
    ("c", None, Some(99.0)),
    ("c", Some(4), Some(15.0)),
    ("o", Some(7), Some(1.0)),
    ("g", Some(1), None),
    ("g", Some(3), None),
    ("c", Some(5), Some(f64::NAN)),
];

fn batch(rows: &[Row], schema: &Arc<Schema>) -> RecordBatch {
    let series: StringArray = rows.iter().map(|row| Some(row.0)).collect();
    let times: TimestampMicrosecondArray =
        rows.iter().map(|row| row.1.map(|minute| minute * 60_000_000)).collect();
    let values: Float64Array = rows.iter().map(|row| row.2).collect();
    let times = Arc::new(times.with_timezone("UTC"));
    RecordBatch::try_new(Arc::clone(schema), vec![Arc::new(series), times, Arc::new(values)])
        .unwrap()
}

fn context(n_partitions: usize) -> SessionContext {
    let schema = Arc::new(Schema::new(vec![
        Field::new("series", DataType::Utf8, false),
        Field::new("ts", utc(), true),
        Field::new("value", DataType::Float64, true),
    ]));
    let mut partitions = vec![Vec::new(); n_partitions];
    for (i, rows) in ROWS.chunks(2).enumerate() {
        partitions[i % n_partitions].push(batch(rows, &schema));
    }
    let config = SessionConfig::new().with_batch_size(2).with_target_partitions(n_partitions);
    let context = SessionContext::new_with_config(config);
    register(&context);
    let table = MemTable::try_new(schema, partitions).unwrap();
    context.register_table("points", Arc::new(table)).unwrap();
    context
}

/// Rows of the answer, cells apart by a space; or the error.
async fn answer(context: &SessionContext, sql: &str) -> Vec<String> {
    let answer = async { context.sql(sql).await?.collect().await }.await;
    let batches = match answer {
        Ok(batches) => batches,
        Err(error) => return vec![error.strip_backtrace()],
    };
    let text = pretty_format_batches(&batches).unwrap().to_string();
    let rows = text.lines().filter(|line| line.starts_with('|')).skip(1);
    rows.map(|row| row.replace('|', " ").split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// The same answer from one partition and from three.
async fn check(sql: &str, expected: &[&str]) {
    for n_partitions in [1, 3] {
        let rows = answer(&context(n_partitions), sql).await;
        assert_eq!(rows, expected, "{sql} over {n_partitions} partitions");
    }
}

async fn check_error(sql: &str, expected: &str) {
    let rows = answer(&context(1), sql).await.join("\n");
    assert!(rows.contains(expected), "{sql}: {rows}");
}

#[tokio::test]
async fn times_in_utc_are_truncated_as_any_others() {
    for precision in ["minute", "hour", "day", "week", "month", "year"] {
        check(
            &format!(
                "select count(*) as n from points where date_trunc('{precision}', ts + interval '1000 days')
                 = arrow_cast(date_trunc('{precision}', arrow_cast(ts + interval '1000 days', 'Timestamp(Microsecond, None)')),
                              'Timestamp(Microsecond, Some(\"UTC\"))')"
            ),
            &["13"],
        )
        .await;
    }
}

#[tokio::test]
async fn buckets_begin_at_whole_widths_and_weeks_on_monday() {
    check(
        "select time_bucket('5 minutes', '2026-03-04T10:07:31Z') as t",
        &["2026-03-04T10:05:00Z"],
    )
    .await;
    check(
        "select time_bucket(interval '1 day', timestamp '2026-03-04T10:07:31') as t",
        &["2026-03-04T00:00:00"],
    )
    .await;
    check("select time_bucket('7 days', '2026-03-04T10:07:31Z') as t", &["2026-03-02T00:00:00Z"])
        .await;
    check("select time_bucket('1 hour', '1969-12-31T23:59:59Z') as t", &["1969-12-31T23:00:00Z"])
        .await;
    check(
        "select time_bucket('4 minutes', ts) as t, count(*) as n from points where series = 'c' group by t order by t nulls last",
        &["1970-01-01T00:00:00Z 5", "1970-01-01T00:04:00Z 2", "1"],
    )
    .await;
    check_error("select time_bucket('1 month', ts) from points", "months differ in length").await;
    check_error("select time_bucket('0 seconds', ts) from points", "longer than zero").await;
    check_error("select time_bucket('1 hour', value) from points", "needs a timestamp").await;
}

#[tokio::test]
async fn counters_grow_through_resets_and_duplicates() {
    check(
        "select series, increase(ts, value) as i, round(rate(ts, value) * 240) as r, delta(ts, value) as d
         from points group by series order by series",
        &["c 35.0 35.0 5.0", "g 6.0 4.0 6.0", "n", "o"],
    )
    .await;
    check("select increase(ts, value) as i from points where series = 'none'", &[""]).await;
    check_error("select rate(ts, series) from points", "needs a number").await;
}

#[tokio::test]
async fn first_and_last_go_by_time_not_by_arrival() {
    check(
        "select series, first(value, ts) as f, last(value, ts) as l from points
         where series <> 'c' or ts < '1970-01-01T00:05:00Z' group by series order by series",
        &["c 10.0 15.0", "g 2.0 8.0", "n", "o 1.0 1.0"],
    )
    .await;
    // two series have a point at first: the greater counts
    check("select first(series, ts) as f, last(series, ts) as l from points", &["g o"]).await;
}

#[tokio::test]
async fn gaps_are_carried_or_drawn_within_each_series() {
    check(
        "select series, locf(value) over w as l, interpolate(ts, value) over w as i from points
         where series in ('g', 'n', 'o') window w as (partition by series order by ts) order by series, ts",
        &["g 2.0 2.0", "g 2.0 3.0", "g 2.0 5.0", "g 8.0 8.0", "n", "o 1.0 1.0"],
    )
    .await;
}

#[tokio::test]
async fn a_time_series_has_every_bucket_up_to_a_limit() {
    check(
        "select ts from time_series('2026-01-01T00:01:00Z', '2026-01-01T00:11:00Z', '5 minutes') order by ts",
        &["2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z", "2026-01-01T00:10:00Z"],
    )
    .await;
    check("select count(*) from time_series(now() - interval '1 day', now() - interval '2 days', '1 hour')", &["0"]).await;
    check_error(
        "select * from time_series('2000-01-01', '2026-01-01', '1 second')",
        "100000 are allowed",
    )
    .await;
    check(
        "select s.ts, locf(last(p.value, p.ts)) over (order by s.ts) as v
         from time_series('1970-01-01T00:00:00Z', '1970-01-01T00:08:00Z', '2 minutes') as s
         left join points as p on time_bucket('2 minutes', p.ts) = s.ts and p.series = 'g'
         group by s.ts order by s.ts",
        &[
            "1970-01-01T00:00:00Z 2.0",
            "1970-01-01T00:02:00Z 2.0",
            "1970-01-01T00:04:00Z 2.0",
            "1970-01-01T00:06:00Z 8.0",
        ],
    )
    .await;
}

#[tokio::test]
async fn the_example_of_filling_gaps_fills_them() {
    let sql = include_str!("../../../sql/gapfill.sql")
        .replace("now() - interval '6 hours'", "'1970-01-01T00:00:00Z'")
        .replace("now()", "'1970-01-01T00:08:00Z'")
        .replace("5 minutes", "2 minutes");
    let context = context(3);
    let view = "create view samples as select ts, 'system.cpu.utilization' as metric,
                series as host, value from points where series = 'g'";
    context.sql(view).await.unwrap();
    let expected = [
        "g 1970-01-01T00:00:00Z 2.0 2.0 2.0",
        "g 1970-01-01T00:02:00Z 2.0 4.0",
        "g 1970-01-01T00:04:00Z 2.0 6.0",
        "g 1970-01-01T00:06:00Z 8.0 8.0 8.0",
    ];
    assert_eq!(answer(&context, &sql).await, expected);
    assert_eq!(answer(&context, include_str!("../../../sql/gapfill.sql")).await, [""; 0]);
}

/// Rows of `gapfill` over `points`, with the arguments after the value.
fn filled(arguments: &str, points: &str) -> String {
    format!(
        "select series, p['ts'], p['value'], p['measured'] from
         (select series, unnest(gapfill(ts, value, {arguments})) as p from {points} group by series)
         order by 1, 2"
    )
}

#[tokio::test]
async fn a_filled_series_has_every_step_and_says_which_were_measured() {
    let gauge = "points where series = 'g'";
    // its rows come out of order; minutes 0 and 6 have a value, 1 and 3 a null
    let rows = |values: [&str; 4]| {
        let row = |(n, value)| format!("g 1970-01-01T00:0{}:00Z {value}", 2 * n);
        values.into_iter().enumerate().map(row).collect::<Vec<_>>()
    };
    for (arguments, values) in [
        ("'2 minutes'", ["2.0 true", "false", "false", "8.0 true"]),
        ("'2 minutes', 'null'", ["2.0 true", "false", "false", "8.0 true"]),
        ("'2 minutes', null", ["2.0 true", "false", "false", "8.0 true"]),
        ("interval '2 minutes', 'locf'", ["2.0 true", "2.0 false", "2.0 false", "8.0 true"]),
        ("'2 minutes', 'linear'", ["2.0 true", "4.0 false", "6.0 false", "8.0 true"]),
    ] {
        let expected = rows(values);
        let expected: Vec<_> = expected.iter().map(String::as_str).collect();
        check(&filled(arguments, gauge), &expected).await;
    }
}

#[tokio::test]
async fn a_step_is_the_mean_of_its_times_and_a_duplicate_counts_once() {
    // minute 2 came twice, 5 is not a number, and one row has no time
    check(
        &filled("'3 minutes', 'linear'", "points where series = 'c'"),
        &["c 1970-01-01T00:00:00Z 20.0 true", "c 1970-01-01T00:03:00Z 10.0 true"],
    )
    .await;
    check(
        &filled("'1 day'", "points where series in ('c', 'o')"),
        &["c 1970-01-01T00:00:00Z 16.0 true", "o 1970-01-01T00:00:00Z 1.0 true"],
    )
    .await;
}

#[tokio::test]
async fn nothing_is_made_up_before_the_first_value_nor_drawn_beyond_the_last() {
    let around = "(select 'g' as series, ts, case when value = 8 then null else value end as value
                   from points where series = 'g' union all
                   select 'g', timestamp '1969-12-31T23:58:00Z', null) as p";
    let rows = |filled: &str| {
        let row = |(ts, value): (&str, &str)| format!("g {ts}:00Z {value}").replace("  ", " ");
        [
            ("1969-12-31T23:58", "false"),
            ("1970-01-01T00:00", "2.0 true"),
            ("1970-01-01T00:02", filled),
            ("1970-01-01T00:04", filled),
            ("1970-01-01T00:06", filled),
        ]
        .map(row)
    };
    for (method, later) in [("locf", "2.0 false"), ("linear", "false"), ("null", "false")] {
        let expected = rows(later);
        let expected: Vec<_> = expected.iter().map(String::as_str).collect();
        check(&filled(&format!("'2 minutes', '{method}'"), around), &expected).await;
    }
}

#[tokio::test]
async fn a_group_without_a_value_or_a_time_is_not_filled() {
    check(
        &filled("'1 minute', 'locf'", "points where series = 'n'"),
        &["n 1970-01-01T00:01:00Z false"],
    )
    .await;
    check(
        "select gapfill(ts, value, '1 minute') is null as n from points where ts is null",
        &["true"],
    )
    .await;
    check("select gapfill(ts, value, null) is null as n from points", &["true"]).await;
    let none = "select unnest(gapfill(ts, value, '1 minute')) from points where series = 'none'";
    check(none, &[]).await;
}

#[tokio::test]
async fn filling_is_refused_where_the_question_is_wrong_or_the_answer_too_long() {
    for (sql, why) in [
        ("gapfill(ts, value)", "takes a time, a value and a step such as '5 minutes'"),
        ("gapfill(ts, series, '1 minute')", "needs a number"),
        ("gapfill(value, value, '1 minute')", "needs a timestamp"),
        ("gapfill(ts, value, '1 month')", "months differ in length"),
        ("gapfill(ts, value, '0 seconds')", "longer than zero"),
        ("gapfill(ts, value, '1 minute', 'spline')", "'null', 'locf' or 'linear', not `spline`"),
        ("gapfill(ts, value, '1 minute', 3)", "nothing but 'null', 'locf' or 'linear'"),
        (
            "gapfill(ts, value, '1 minute', case when series = 'g' then 'locf' else 'linear' end)",
            "one method for all rows of a group",
        ),
        (
            "gapfill(ts, value, case when series = 'g' then interval '1 minute' else interval '2 minutes' end)",
            "one step for all rows of a group",
        ),
        (
            "gapfill(ts, value, '1 millisecond')",
            "more than 100000 rows for a group: use a longer step or a shorter time",
        ),
    ] {
        check_error(&format!("select {sql} from points"), why).await;
    }
}

#[tokio::test]
async fn many_filled_groups_end_in_the_memory_limit() {
    let pool = Arc::new(FairSpillPool::new(16 << 20));
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap();
    let context =
        SessionContext::new_with_config_rt(SessionConfig::new().with_target_partitions(1), runtime);
    register(&context);
    // 90,000 steps each, of two points
    let question = "select count(*) as n from (select g, gapfill(arrow_cast(v * 89999 * 1000000, \
                    'Timestamp(Microsecond, None)'), v, '1 second') as f from \
                    generate_series(0, 1) as t(v) cross join generate_series(1, GROUPS) as u(g) \
                    group by g) where array_length(f) = 90000";
    assert_eq!(answer(&context, &question.replace("GROUPS", "2")).await, ["2"]);
    let said = answer(&context, &question.replace("GROUPS", "1000")).await.join("");
    assert!(said.contains("Resources exhausted"), "{said}");
}

/// How long others waited at most while a query worked out many groups on their only thread.
#[test]
fn who_asks_at_length_keeps_nobody_else_waiting() {
    use std::{
        sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        time::{Duration, Instant},
    };

    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    let (done, longest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (is_done, waited) = (Arc::clone(&done), Arc::clone(&longest));
    let other = runtime.spawn(async move {
        while !is_done.load(Relaxed) {
            let asleep = Instant::now();
            tokio::time::sleep(Duration::from_millis(1)).await;
            waited.fetch_max(asleep.elapsed().as_millis() as u64, Relaxed);
        }
    });
    let asked = runtime.spawn(async {
        let context = SessionContext::new();
        register(&context);
        let query = "select g, anomaly_score(arrow_cast(v * 300000000, 'Timestamp(Microsecond, \
                     None)'), cast(v * 7919 % 101 as double)) from (select v, v % 40 as g from \
                     (select unnest(generate_series(1, 160000)) as v)) group by g";
        let begun = Instant::now();
        let rows = context.sql(query).await.unwrap().collect().await.unwrap();
        assert_eq!(rows.iter().map(|it| it.num_rows()).sum::<usize>(), 40);
        begun.elapsed().as_millis() as u64
    });
    let took = runtime.block_on(asked).unwrap();
    done.store(true, Relaxed);
    runtime.block_on(other).unwrap();
    let longest = longest.load(Relaxed);
    assert!(longest < took / 4 + 20, "{longest} ms of {took} ms");
}
