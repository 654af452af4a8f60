use std::{fs, io::Write, sync::Arc};

use flate2::{Compression, write::GzEncoder};

use super::*;

#[track_caller]
fn read(name: &str, bytes: &[u8], options: &Options) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    let format = Format::of(&path).unwrap();
    let now = DateTime::UNIX_EPOCH;
    let records = open(&path, format, options, &Read::default(), now);
    let mut said = String::new();
    for record in records.map_err(|error| error.to_string())? {
        let record = record.map_err(|error| error.to_string())?;
        for point in record.points {
            said += &format!("{} {:?} {} {}\n", record.line, point.series, point.ts, point.value);
        }
        for reason in record.refused {
            said += &format!("{} refused: {reason}\n", record.line);
        }
    }
    Ok(said)
}

#[track_caller]
fn check(name: &str, text: &str, options: &Options, expected: &str) {
    assert_eq!(read(name, text.as_bytes(), options).unwrap(), expected);
}

#[test]
fn a_series_alone_is_named_by_its_file() {
    let text = "timestamp,value\n2014-02-14 14:30:00,0.132\n2014-02-14 14:35:00,1e3\n";
    let expected = "2 load{} 1392388200000000 0.132\n3 load{} 1392388500000000 1000\n";
    check("load.csv", text, &Options::default(), expected);
    check("load.csv", &text.replace(',', ";"), &Options::default(), expected);
    check("load.tsv", &text.replace(',', "\t"), &Options::default(), expected);
    let mut gzip = GzEncoder::new(vec![], Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let packed = gzip.finish().unwrap();
    assert_eq!(read("load.csv.gz", &packed, &Options::default()).unwrap(), expected);
    let packed = zstd::encode_all(text.as_bytes(), 1).unwrap();
    assert_eq!(read("load.csv.zst", &packed, &Options::default()).unwrap(), expected);
}

#[test]
fn columns_mean_what_they_are_called() {
    let many = "series,ts,value\na,1,1\nb,1,2\n";
    check("x.csv", many, &Options::default(), "2 a{} 1000000 1\n3 b{} 1000000 2\n");
    let named = Options { metric: Some("m".into()), ..Options::default() };
    check("x.csv", many, &named, "2 m{series=\"a\"} 1000000 1\n3 m{series=\"b\"} 1000000 2\n");
    check(
        "x.csv",
        "ts,metric,service,host,zone,value\n1,m,s,h,z,1\n1,m,,,,2\n",
        &Options::default(),
        "2 m{service=\"s\",host=\"h\",zone=\"z\"} 1000000 1\n3 m{} 1000000 2\n",
    );
    let wide = Options { metric_columns: vec!["cpu".into(), "mem".into()], ..Options::default() };
    check(
        "x.csv",
        "time,host,cpu,mem\n1,a,5,6\n2,a,,7\n",
        &wide,
        "2 cpu{host=\"a\"} 1000000 5\n2 mem{host=\"a\"} 1000000 6\n3 mem{host=\"a\"} 2000000 7\n",
    );
}

#[test]
fn a_bad_line_is_refused_by_its_number() {
    let text = "timestamp,value\n1,x\n2,NaN\nsoon,1\n5\n6,6\n";
    check(
        "m.csv",
        text,
        &Options::default(),
        "2 refused: `x` is no finite number\n3 refused: `NaN` is no finite number\n\
         4 refused: `soon` is no moment, expected RFC 3339, `2026-03-09 14:00:00` (in UTC) or a \
         number since the epoch\n\
         5 refused: it has 1 cells, and the header has 2\n6 m{} 6000000 6\n",
    );
    let lines = "# a comment\ncpu,host=a value=1 1000000000\ncpu value=x\n";
    let expected = "2 cpu{host=\"a\"} 1000000 1\n3 refused: field `value` is x, expected a number \
                    like 1, 1i or 1u, or true or false\n";
    check("m.lp", lines, &Options::default(), expected);
}

#[test]
fn a_header_without_meaning_is_an_error_that_says_what_would_do() {
    let error = read("m.csv", b"a,b\n1,2\n", &Options::default()).unwrap_err();
    assert!(error.contains("`timestamp`, `ts` or `time`; its columns are: a, b"), "{error}");
    let error = read("m.csv", b"ts,b\n1,2\n", &Options::default()).unwrap_err();
    assert!(error.contains("--metric-columns"), "{error}");
}

#[test]
fn what_the_lake_holds_can_be_imported_again() {
    let labels = vec![("zone".to_owned(), "a\"b".to_owned())];
    let series = Arc::new(Series::new("m", Some("s".into()), None, labels));
    let points = [Point { series, ts: 1_392_388_200_123_456, value: 0.1 + 0.2 }];
    let batch = crate::columns::samples(points.iter()).unwrap();
    let mut bytes = vec![];
    let mut writer =
        ::parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let said = read("x.parquet", &bytes, &Options::default()).unwrap();
    let expected = "1 m{service=\"s\",zone=\"a\\\"b\"} 1392388200123456 0.30000000000000004\n";
    assert_eq!(said, expected);
}
