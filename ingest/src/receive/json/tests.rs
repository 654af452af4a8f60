use proptest::prelude::*;

use super::*;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

#[track_caller]
fn check(body: &str, expected: &str) {
    let request = samples(body.as_bytes(), now()).unwrap();
    let points = request.points.iter().map(|p| format!("{:?} {} {}\n", p.series, p.ts, p.value));
    let refused = request.refused.iter().map(|r| format!("refused {}: {}\n", r.index, r.reason));
    assert_eq!(points.chain(refused).collect::<String>(), expected);
}

#[test]
fn an_object_an_array_and_lines_hold_the_same() {
    let entry = r#"{"metric":"m","ts":1700000000,"value":1,"service":"s","host":"h","labels":{"a":"b","n":1}}"#;
    let expected = "m{service=\"s\",host=\"h\",a=\"b\",n=\"1\"} 1700000000000000 1\n".repeat(2);
    check(&format!("{{\"samples\":[{entry},{entry}]}}"), &expected);
    check(&format!("[{entry},{entry}]"), &expected);
    check(&format!("{entry}\n{entry}\n"), &expected);
}

#[test]
fn every_way_to_say_when_is_read() {
    for ts in [
        "\"2023-11-14T22:13:20Z\"",
        "\"2023-11-14T23:13:20.000+01:00\"",
        "1700000000",
        "1700000000.0",
        "1700000000000",
        "1700000000000000",
        "1700000000000000000",
        "null",
    ] {
        let body = format!(r#"[{{"metric":"m","value":1,"ts":{ts}}}]"#);
        check(&body, "m{} 1700000000000000 1\n");
    }
    check(
        r#"[{"metric":"m","value":1,"ts":"0001-01-01T00:00:00Z"},
            {"metric":"m","value":2,"ts":"9999-12-31T23:59:59Z"}]"#,
        "m{} -62135596800000000 1\nm{} 253402300799000000 2\n",
    );
}

#[test]
fn a_bad_entry_is_refused_and_names_its_field() {
    let ts = "`ts` must be RFC 3339, like 2026-03-09T14:00:00Z, or a number since the epoch";
    for (entry, reason) in [
        ("7", "an entry must be an object"),
        (r#"{"value":1}"#, "`metric` is missing, expected a name"),
        (r#"{"metric":5,"value":1}"#, "`metric` must be a string"),
        (r#"{"metric":"m"}"#, "`value` must be a number"),
        (r#"{"metric":"m","value":"1"}"#, "`value` must be a number"),
        (r#"{"metric":"m","value":1,"ts":"today"}"#, ts),
        (r#"{"metric":"m","value":1,"ts":1e300}"#, ts),
        (r#"{"metric":"m","value":1,"labels":[]}"#, "`labels` must be an object of strings"),
        (r#"{"metric":"m","value":1,"labels":{"a":{}}}"#, "`labels.a` must be a string"),
        (
            r#"{"metric":"m","value":1,"lables":{}}"#,
            "`lables` is not a field, expected metric, ts, value, service, host and labels",
        ),
    ] {
        let body = format!(r#"[{{"metric":"good","value":1,"ts":0}},{entry}]"#);
        check(&body, &format!("good{{}} 0 1\nrefused 1: {reason}\n"));
    }
}

#[test]
fn a_syntax_error_says_where() {
    let error = samples(b"[\n  {\"metric\": }]", now()).unwrap_err();
    let expected = "the body is not JSON: expected value at line 2 column 14";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn an_empty_label_is_none() {
    check(
        r#"[{"metric":"m","ts":0,"value":1,"host":"","service":"","labels":{"a":"","b":"c"}}]"#,
        "m{b=\"c\"} 0 1\n",
    );
}

#[test]
fn an_empty_body_holds_nothing() {
    check("", "");
    check("[]", "");
    check("{\"samples\":[]}", "");
}

#[test]
fn points_of_a_series_share_it() {
    let body = br#"[{"metric":"m","value":1},{"metric":"m","value":2}]"#;
    let request = samples(body, now()).unwrap();
    assert!(Arc::ptr_eq(&request.points[0].series, &request.points[1].series));
    assert_eq!(request.fingerprint, None);
}

#[test]
fn an_event_needs_a_name_or_a_body() {
    let body = br#"{"events":[
        {"name":"deploy","ts":0,"severity":"WARN","attributes":{"version":"1.2"}},
        {"body":"hello","ts":0,"severity":9},
        {"ts":0},
        {"name":"x","severity":25}]}"#;
    let request = events(body, now()).unwrap();
    let deploy = Event {
        name: "deploy".into(),
        severity: Some(13),
        attributes: vec![("version".into(), "1.2".into())],
        ..Event::default()
    };
    let hello =
        Event { name: "log".into(), severity: Some(9), body: "hello".into(), ..Event::default() };
    assert_eq!(request.events, [deploy, hello]);
    assert_eq!(request.refused.iter().map(|r| r.index).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn a_body_cut_anywhere_is_malformed() {
    let body = br#"{"samples":[{"metric":"m","value":1.5,"ts":0,"labels":{"a":"b"}}]}"#;
    for n in 1..body.len() {
        assert!(matches!(samples(&body[..n], now()), Err(Error::Malformed(_))), "{n}");
    }
}

#[test]
fn deep_nesting_is_malformed() {
    let body = "[".repeat(1_000_000);
    assert!(matches!(samples(body.as_bytes(), now()), Err(Error::Malformed(_))));
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes: Vec<u8>) {
        let _samples = samples(&bytes, now());
        let _events = events(&bytes, now());
    }

    #[test]
    fn any_number_as_a_moment_never_panics(ts: f64, n: i64) {
        for ts in [ts.to_string(), n.to_string()] {
            let body = format!(r#"[{{"metric":"m","value":1,"ts":{ts}}}]"#);
            let _outcome = samples(body.as_bytes(), now());
        }
    }
}

#[test]
fn what_python_writes_for_no_number_costs_its_own_entry_only() {
    for bare in ["NaN", "Infinity", "-Infinity"] {
        let body = format!(
            "{{\"samples\":[{{\"metric\":\"a NaN, -Infinity\",\"value\":1,\"ts\":0}},\n\
             {{\"metric\":\"m\",\"value\": {bare} ,\"ts\":0}},{{\"metric\":\"m\",\"value\":2,\"ts\":0}}]}}"
        );
        let reason = format!("`value` must be a finite number, not {bare}");
        check(&body, &format!("a NaN, -Infinity{{}} 0 1\nm{{}} 0 2\nrefused 1: {reason}\n"));
    }
}

#[test]
fn a_bad_line_among_lines_is_refused_by_its_number() {
    let good = r#"{"metric":"m","value":1,"ts":0}"#;
    for bad in [r#"{"metric":"m","val"#, "hello", r#"{"metric":"m","value":}"#, "{]}"] {
        for (lines, index) in
            [([bad, good, good], 0), ([good, bad, good], 1), ([good, good, bad], 2)]
        {
            let request = samples(lines.join("\n").as_bytes(), now()).unwrap();
            assert_eq!((request.points.len(), request.refused.len()), (2, 1), "{lines:?}");
            assert_eq!(request.refused[0].index, index, "{lines:?}");
            let said = &request.refused[0].reason;
            assert!(said.starts_with(&format!("line {} is not JSON: ", index + 1)), "{said}");
        }
    }
}

#[test]
fn a_list_over_several_lines_that_is_broken_is_malformed_as_a_whole() {
    let entry = r#"{"metric":"m","value":1,"ts":0}"#;
    for body in [format!("{{\"samples\":[\n{entry}\n{entry}]}}"), format!("[\n{entry}\n{entry}]")] {
        assert!(matches!(samples(body.as_bytes(), now()), Err(Error::Malformed(_))), "{body}");
    }
}

#[test]
fn each_entry_is_known_by_its_place() {
    let body = br#"[{"metric":"m","value":1},{"metric":"m"},{"metric":"m","value":2}]"#;
    let request = samples(body, now()).unwrap();
    assert_eq!(request.places.points.iter().collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn what_no_json_can_hold_costs_its_own_entry_only() {
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let deep = format!(r#"{{"metric":"m","value":1,"labels":{deep}}}"#).into_bytes();
    for (bad, reason) in [
        (br#"{"metric":"m","value":1e400,"ts":0}"#.as_slice(), "number out of range"),
        (br#"{"metric":"\ud800","value":1,"ts":0}"#, "hex escape"),
        (b"{\"metric\":\"\xff\",\"value\":1,\"ts\":0}", "not UTF-8"),
        (b"{\"metric\":\"\\\xff\",\"value\":1,\"ts\":0}", "not UTF-8"),
        (&deep, "recursion limit"),
    ] {
        let good = br#"{"metric":"m","value":1,"ts":0}"#.as_slice();
        for (open, close) in [("[", "]"), (r#"{"samples":["#, "]}")] {
            let body = [good, bad, good].join(&b","[..]);
            let body = [open.as_bytes(), &body, close.as_bytes()].concat();
            let request = samples(&body, now()).unwrap();
            assert_eq!((request.points.len(), request.refused.len()), (2, 1));
            assert_eq!(request.refused[0].index, 1);
            assert!(request.refused[0].reason.contains(reason), "{:?}", request.refused);
        }
    }
}
