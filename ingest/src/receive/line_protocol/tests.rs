use proptest::prelude::*;

use super::*;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

/// Points and refusals, one a line.
#[track_caller]
fn check_at(precision: Precision, body: &[u8], expected: &str) {
    let request = decode(body, precision, now()).unwrap();
    let points = request.points.iter().map(|p| format!("{:?} {} {}\n", p.series, p.ts, p.value));
    let refused = request.refused.iter().map(|r| format!("refused {}: {}\n", r.index, r.reason));
    assert_eq!(points.chain(refused).collect::<String>(), expected);
}

#[track_caller]
fn check(body: &str, expected: &str) {
    check_at(Precision::Nanosecond, body.as_bytes(), expected);
}

#[test]
fn each_field_is_a_sample() {
    check(
        "cpu,host=web-1,service=web,core=0 usage=0.5,idle=99i,value=3u 1000\n",
        "cpu_usage{service=\"web\",host=\"web-1\",core=\"0\"} 1 0.5\n\
         cpu_idle{service=\"web\",host=\"web-1\",core=\"0\"} 1 99\n\
         cpu{service=\"web\",host=\"web-1\",core=\"0\"} 1 3\n",
    );
}

#[test]
fn every_kind_of_number_is_read() {
    for (text, value) in [
        ("1", "1"),
        ("-1.5e3", "-1500"),
        ("1e-3", "0.001"),
        ("-7i", "-7"),
        ("18446744073709551615u", "18446744073709552000"),
        ("t", "1"),
        ("FALSE", "0"),
    ] {
        check(&format!("m value={text} 1000"), &format!("m{{}} 1 {value}\n"));
    }
}

#[test]
fn what_is_no_number_is_refused() {
    for text in ["nan", "inf", "0x1", "1f", "9223372036854775808i", "-1u", "yes", "-"] {
        check(
            &format!("m x={text} 1000"),
            &format!(
                "refused 0: line 1: field `x` is {text}, \
                 expected a number like 1, 1i or 1u, or true or false\n"
            ),
        );
    }
}

#[test]
fn a_string_is_refused_and_its_siblings_are_taken() {
    check(
        "m a=\"one, two \\\" three\nfour\",b=1 1000\nn value=2 2000",
        "m_b{} 1 1\nn{} 2 2\n\
         refused 0: line 1: field `a` is a string, \
         expected a number like 1, 1i or 1u, or true or false\n",
    );
}

#[test]
fn escapes_are_undone() {
    check(
        r"my\ metric\,x,a\=b=c\,d\ e\=f,p=C:\dir fie\ ld=1 1000",
        "my metric,x_fie ld{a=b=\"c,d e=f\",p=\"C:\\\\dir\"} 1 1\n",
    );
}

#[test]
fn comments_blank_lines_and_carriage_returns_are_fine() {
    check("# hello \"\n\n  \r\nm value=1 1000\r\n", "m{} 1 1\n");
}

#[test]
fn a_bad_line_is_refused_by_its_number() {
    check(
        "m value=1 1000\nm\nm value=1 12.5\nm,x value=1 1\n,a=b value=1\nm =1\nm value=2 2000",
        "m{} 1 1\nm{} 2 2\n\
         refused 1: line 2: no fields, expected `measurement field=1`\n\
         refused 2: line 3: timestamp `12.5` is not a whole number that fits\n\
         refused 3: line 4: `x` is not a tag, expected `name=value`\n\
         refused 4: line 5: the measurement has no name\n\
         refused 5: line 6: `=1` is not a field, expected `name=value`\n",
    );
}

#[test]
fn a_string_that_never_ends_loses_only_its_line() {
    check(
        "m a=\"oops 1000\nm value=2 2000",
        "m{} 2 2\nrefused 0: line 1: the string of field `a` does not end\n",
    );
}

#[test]
fn a_line_without_a_timestamp_happened_now_and_has_no_fingerprint() {
    check("m value=1", "m{} 1700000000000000 1\n");
    assert_eq!(decode(b"m value=1", Precision::Auto, now()).unwrap().fingerprint, None);
    assert!(decode(b"m value=1 1", Precision::Auto, now()).unwrap().fingerprint.is_some());
}

#[test]
fn the_precision_scales_the_timestamp() {
    for (precision, ts) in [
        ("ns", "1700000000000000123"),
        ("us", "1700000000000000"),
        ("ms", "1700000000000"),
        ("s", "1700000000"),
        ("auto", "1700000000000"),
        ("auto", "1700000000"),
        ("nanosecond", "1700000000000000000"),
    ] {
        let precision = precision.parse().unwrap();
        let body = format!("m value=1 {ts}");
        check_at(precision, body.as_bytes(), "m{} 1700000000000000 1\n");
    }
    assert!("fortnight".parse::<Precision>().is_err());
}

#[test]
fn a_moment_that_does_not_fit_is_refused() {
    check_at(
        Precision::Hour,
        b"m value=1 9223372036854775807",
        "refused 0: line 1: timestamp `9223372036854775807` is not a whole number that fits\n",
    );
}

#[test]
fn tags_that_are_not_utf_8_refuse_their_line() {
    check_at(
        Precision::Nanosecond,
        b"m,a=\xff value=1 1\nm value=1 1000",
        "m{} 1 1\nrefused 0: line 1: a tag's value is not UTF-8\n",
    );
}

#[test]
fn a_huge_tag_is_refused_without_a_copy() {
    let body = format!("m,a={} value=1 1", "x".repeat(10_000_000));
    check(&body, "refused 0: line 1: the tags take more than 65536 bytes\n");
}

#[test]
fn repeated_lines_share_one_series() {
    let decoder = Decoder::default();
    let read = || decoder.decode(b"m,a=b value=1 1", Precision::Nanosecond, now()).unwrap();
    assert!(Arc::ptr_eq(&read().points[0].series, &read().points[0].series));
}

#[test]
fn fields_of_different_measurements_are_kept_apart() {
    check("a b=1 1000\na_b value=2 1000\nb a=3 1000", "a_b{} 1 1\na_b{} 1 2\nb_a{} 1 3\n");
}

#[test]
fn a_body_cut_anywhere_is_read_up_to_the_cut() {
    let body = b"cpu,host=web-1 usage=0.5,name=\"x\\\"y\" 1000\ncpu,host=web-2 usage=0.5 2000\n";
    for n in 0..body.len() {
        let request = decode(&body[..n], Precision::Nanosecond, now()).unwrap();
        assert!(request.points.len() <= 2);
    }
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes: Vec<u8>) {
        let _outcome = decode(&bytes, Precision::Auto, now());
    }

    #[test]
    fn almost_lines_never_panic(text in "[a-c,= \\\\\"\n#0-9it.-]{0,80}") {
        let _outcome = decode(text.as_bytes(), Precision::Nanosecond, now());
    }
}

#[test]
fn what_a_line_made_is_known_by_its_line() {
    let body = b"# comment\n\nm a=1,b=2 1000\nm a=\"text\",b=2 1000\nbroken\nm a=1,b=2 1000\n";
    let request = decode(body, Precision::Nanosecond, now()).unwrap();
    assert_eq!(request.places.points.iter().collect::<Vec<_>>(), [2, 2, 3, 5, 5]);
}
