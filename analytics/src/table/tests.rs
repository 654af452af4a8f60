//! What a look-up reads of a lake.

use arrow::{
    array::{
        ArrayRef, Int64Array, MapBuilder, MapFieldNames, StringArray, StringBuilder,
        TimestampMicrosecondArray, new_null_array,
    },
    datatypes::Field,
    util::pretty::pretty_format_batches,
};
use chrono::{DateTime, Utc};
use data::{lake::Change, parquet, recent::Nothing};
use object_store::{ObjectStoreExt, memory::InMemory, path::Path};

use super::*;
use crate::{Engine, Limits};

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_773_050_400, 0).unwrap()
}

/// Ids lie anywhere between the least and the greatest, as those of real traces do.
fn trace_id(n: u64) -> String {
    format!("{:016x}{n:016x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// `n` spans of as many traces.
fn spans(numbers: std::ops::Range<u64>) -> RecordBatch {
    let n = numbers.clone().count();
    let names =
        MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut map = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
        .with_keys_field(Field::new("key", DataType::Utf8, false));
    numbers.clone().for_each(|_| map.append(true).unwrap());
    let start = now().timestamp_micros();
    let times = numbers.clone().map(|n| start + n as i64);
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; n])) };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
        Arc::new(Int64Array::from(vec![5_000; n])),
        Arc::new(numbers.map(|n| Some(trace_id(n))).collect::<StringArray>()),
        text("b7ad6b7169203331"),
        new_null_array(&DataType::Utf8, n),
        text("GET /"),
        text("server"),
        text("ok"),
        text("shop"),
        new_null_array(&DataType::Utf8, n),
        Arc::new(map.finish()),
    ];
    RecordBatch::try_new(Table::Spans.file_schema(), columns).unwrap()
}

/// One more file with a trace per number.
async fn add(lake: &Lake, numbers: std::ops::Range<u64>) {
    let (date, rows) = parquet::sort_by_day(Table::Spans, &[spans(numbers)]).unwrap().remove(0);
    let encoded = parquet::encode(Table::Spans, date, &[rows], now()).unwrap();
    let path = Path::from(format!("spans/{}", encoded.file.path));
    lake.store().put(&path, encoded.bytes.into()).await.unwrap();
    let added = vec![encoded.file];
    let change = Change { added, data_change: true, ..Change::default() };
    lake.commit(Table::Spans, change, now()).await.unwrap();
}

/// A lake of two files with 1,000 traces each.
async fn lake() -> Arc<Lake> {
    let lake = Lake::on("memory:///".parse().unwrap(), Arc::new(InMemory::new())).await.unwrap();
    add(&lake, 0..1_000).await;
    add(&lake, 1_000..2_000).await;
    Arc::new(lake)
}

fn engine(lake: &Arc<Lake>) -> Engine {
    Engine::new(Arc::clone(lake), Arc::new(Nothing), Limits::default()).unwrap()
}

async fn ask(engine: &Engine, query: &str) -> String {
    let rows = engine.collect(query).await.unwrap();
    pretty_format_batches(&rows).unwrap().to_string()
}

/// How many of all row groups a look-up of a trace goes on to read, as `explain analyze` counts them.
async fn row_groups(engine: &Engine, trace: &str) -> String {
    let plan = ask(
        engine,
        &format!("explain analyze select span_id from spans where trace_id = '{trace}'"),
    )
    .await;
    let counted = plan.split("row_groups_pruned_bloom_filter=").nth(1);
    let counted = counted.unwrap_or_else(|| panic!("no bloom filters in {plan}"));
    counted.split(',').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_trace_that_is_not_there_is_looked_for_in_no_row_group() {
    let engine = engine(&lake().await);
    // Between the least and the greatest id, so that statistics say nothing.
    let missing = format!("8{}", &trace_id(1)[1..]);
    assert_eq!(row_groups(&engine, &missing).await, "2 total → 0 matched");
    assert_eq!(row_groups(&engine, &trace_id(7)).await, "2 total → 1 matched");
    let found = format!("select count(*) as n from spans where trace_id = '{}'", trace_id(1_500));
    assert!(ask(&engine, &found).await.contains("| 1 |"));
}

#[tokio::test]
async fn a_question_that_is_asked_again_sees_what_is_new_and_what_time_it_is() {
    let lake = lake().await;
    let engine = engine(&lake);
    let (count, time) = ("select count(*) as n from spans", "select now() from spans limit 1");
    assert!(ask(&engine, count).await.contains("| 2000 |"));
    let before = ask(&engine, time).await;
    add(&lake, 2_000..3_000).await;
    assert!(ask(&engine, count).await.contains("| 3000 |"));
    assert_ne!(ask(&engine, time).await, before);
}
