use proptest::prelude::*;
use prost::Message as _;

use super::*;

/// The messages as the field's own definition has them, to compare with what is read by hand.
mod v1 {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        pub timeseries: Vec<TimeSeries>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        pub labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub exemplars: Vec<Sample>,
        #[prost(message, repeated, tag = "4")]
        pub histograms: Vec<Histogram>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Label {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(string, tag = "2")]
        pub value: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Sample {
        #[prost(double, tag = "1")]
        pub value: f64,
        #[prost(int64, tag = "2")]
        pub timestamp: i64,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Histogram {
        #[prost(uint64, tag = "1")]
        pub count: u64,
        #[prost(double, tag = "3")]
        pub sum: f64,
        #[prost(int64, tag = "15")]
        pub timestamp: i64,
    }
}

mod v2 {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Request {
        #[prost(string, repeated, tag = "4")]
        pub symbols: Vec<String>,
        #[prost(message, repeated, tag = "5")]
        pub timeseries: Vec<TimeSeries>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TimeSeries {
        #[prost(uint32, repeated, tag = "1")]
        pub labels_refs: Vec<u32>,
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<super::v1::Sample>,
        #[prost(message, repeated, tag = "3")]
        pub histograms: Vec<super::v1::Histogram>,
    }
}

const LIMIT: usize = 1 << 24;

fn pack(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).unwrap()
}

fn decode(message: &[u8], version: Version) -> Result<Request, Error> {
    Decoder::new(LIMIT).decode(&pack(message), version)
}

fn time_series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> v1::TimeSeries {
    let label =
        |&(name, value): &(&str, &str)| v1::Label { name: name.into(), value: value.into() };
    let sample = |&(timestamp, value): &(i64, f64)| v1::Sample { value, timestamp };
    v1::TimeSeries {
        labels: labels.iter().map(label).collect(),
        samples: samples.iter().map(sample).collect(),
        ..Default::default()
    }
}

fn request(timeseries: Vec<v1::TimeSeries>) -> Vec<u8> {
    v1::WriteRequest { timeseries }.encode_to_vec()
}

/// Points and refusals, one a line.
fn print(request: &Request) -> String {
    let points = request.points.iter().map(|p| format!("{:?} {} {}\n", p.series, p.ts, p.value));
    let refused = request.refused.iter().map(|r| format!("refused {}: {}\n", r.index, r.reason));
    points.chain(refused).collect()
}

#[track_caller]
fn check(timeseries: Vec<v1::TimeSeries>, expected: &str) {
    assert_eq!(print(&decode(&request(timeseries), Version::V1).unwrap()), expected);
}

#[test]
fn name_job_and_instance_are_promoted() {
    let labels = [("__name__", "up"), ("instance", "web-1:9100"), ("job", "web"), ("zone", "a")];
    check(
        vec![time_series(&labels, &[(1000, 1.0), (2000, 0.0)])],
        "up{service=\"web\",host=\"web-1:9100\",zone=\"a\"} 1000000 1\n\
         up{service=\"web\",host=\"web-1:9100\",zone=\"a\"} 2000000 0\n",
    );
}

#[test]
fn an_empty_label_is_no_label() {
    check(vec![time_series(&[("__name__", "up"), ("a", "")], &[(1, 1.0)])], "up{} 1000 1\n");
}

#[test]
fn a_bad_series_is_refused_and_the_rest_is_taken() {
    check(
        vec![
            time_series(&[("job", "web")], &[(1, 1.0), (2, 1.0)]),
            time_series(&[("__name__", "up")], &[(i64::MAX, 1.0), (1, 2.0)]),
        ],
        "up{} 1000 2\n\
         refused 0: label `__name__` is missing\n\
         refused 1: label `__name__` is missing\n\
         refused 2: `timestamp` 9223372036854775807 is outside of what can be stored\n",
    );
}

#[test]
fn a_huge_label_is_refused_without_a_copy() {
    let huge = "x".repeat(10_000_000);
    check(
        vec![time_series(&[("__name__", "up"), ("a", &huge)], &[(1, 1.0)])],
        "refused 0: the labels take more than 65536 bytes\n",
    );
}

#[test]
fn a_label_that_is_not_utf_8_refuses_its_series() {
    let mut message = request(vec![time_series(&[("__name__", "u?")], &[(1, 1.0)])]);
    let at = message.iter().position(|&byte| byte == b'?').unwrap();
    message[at] = 0xff;
    let request = decode(&message, Version::V1).unwrap();
    assert_eq!(print(&request), "refused 0: label `__name__` is not UTF-8\n");
}

#[test]
fn a_stale_marker_is_skipped_and_another_nan_is_passed_on() {
    let samples = [(1, f64::from_bits(STALE_NAN)), (2, f64::NAN)];
    check(vec![time_series(&[("__name__", "up")], &samples)], "up{} 2000 NaN\n");
}

#[test]
fn the_years_1_and_9999_are_taken() {
    let samples = [(-62_135_596_800_000, 1.0), (253_402_300_799_000, 2.0)];
    check(
        vec![time_series(&[("__name__", "up")], &samples)],
        "up{} -62135596800000000 1\nup{} 253402300799000000 2\n",
    );
}

#[test]
fn a_native_histogram_is_its_count_and_sum() {
    let mut series = time_series(&[("__name__", "latency")], &[]);
    series.histograms = vec![v1::Histogram { count: 7, sum: 1.5, timestamp: 3 }];
    check(vec![series], "latency_count{} 3000 7\nlatency_sum{} 3000 1.5\n");
}

#[test]
fn labels_in_pieces_are_read_as_one() {
    let whole = time_series(&[("__name__", "up"), ("a", "1")], &[(1, 1.0)]);
    let name = v1::TimeSeries { labels: whole.labels[..1].to_vec(), ..whole.clone() };
    let rest = v1::TimeSeries { labels: whole.labels[1..].to_vec(), samples: vec![], ..whole };
    let series = [name.encode_to_vec(), rest.encode_to_vec()].concat();
    let mut message = vec![];
    put_bytes(&mut message, 1, &series);
    assert_eq!(print(&decode(&message, Version::V1).unwrap()), "up{a=\"1\"} 1000 1\n");
}

#[test]
fn repeated_series_share_one_pointer_across_requests() {
    let decoder = Decoder::new(LIMIT);
    let body = pack(&request(vec![time_series(&[("__name__", "up")], &[(1, 1.0)])]));
    let first = decoder.decode(&body, Version::V1).unwrap();
    let second = decoder.decode(&body, Version::V1).unwrap();
    assert!(Arc::ptr_eq(&first.points[0].series, &second.points[0].series));
    assert_eq!(first.fingerprint, second.fingerprint);
}

#[test]
fn a_truncated_message_is_malformed_or_a_prefix() {
    let labels = [("__name__", "up"), ("instance", "web-1")];
    let message =
        request(vec![time_series(&labels, &[(1000, 1.0)]), time_series(&labels, &[(2, 2.0)])]);
    for n in 0..message.len() {
        let by_hand = decode(&message[..n], Version::V1).map(|request| request.points.len());
        let by_prost = v1::WriteRequest::decode(&message[..n]).map(|r| r.timeseries.len());
        assert_eq!(by_hand.ok(), by_prost.ok(), "{n}");
    }
}

#[test]
fn symbols_spell_the_same_series_as_labels() {
    let decoder = Decoder::new(LIMIT);
    let labels = [("__name__", "up"), ("instance", "web-1"), ("zone", "a")];
    let v1 = request(vec![time_series(&labels, &[(1, 1.0)])]);
    let message = v2::Request {
        symbols: ["", "__name__", "up", "instance", "web-1", "zone", "a"].map(String::from).into(),
        timeseries: vec![v2::TimeSeries {
            labels_refs: vec![1, 2, 3, 4, 5, 6],
            samples: vec![v1::Sample { value: 1.0, timestamp: 1 }],
            histograms: vec![v1::Histogram { count: 2, sum: 3.0, timestamp: 4 }],
        }],
    };
    let v1 = decoder.decode(&pack(&v1), Version::V1).unwrap();
    let (v2, sent) = decoder.decode_counted(&pack(&message.encode_to_vec()), Version::V2).unwrap();
    assert!(Arc::ptr_eq(&v1.points[0].series, &v2.points[0].series));
    assert_eq!(v2.points.len(), 3);
    assert_eq!(sent, Sent { samples: 1, histograms: 1, stale: 0 });
}

#[test]
fn a_reference_to_no_symbol_refuses_its_series() {
    for (refs, reason) in [
        (vec![0, 9], "`labels_refs` points at symbol 9 of 1"),
        (vec![0], "`labels_refs` has a name without a value"),
    ] {
        let sample = v1::Sample { value: 1.0, timestamp: 1 };
        let series =
            v2::TimeSeries { labels_refs: refs, samples: vec![sample], ..Default::default() };
        let message = v2::Request { symbols: vec![String::new()], timeseries: vec![series] };
        let request = decode(&message.encode_to_vec(), Version::V2).unwrap();
        assert_eq!(print(&request), format!("refused 0: {reason}\n"));
    }
}

#[test]
fn one_big_symbol_referred_to_often_is_not_copied_often() {
    let series = v2::TimeSeries {
        labels_refs: vec![0; 100_000],
        samples: vec![v1::Sample { value: 1.0, timestamp: 1 }],
        ..Default::default()
    };
    let message = v2::Request { symbols: vec!["x".repeat(50_000)], timeseries: vec![series] };
    let request = decode(&message.encode_to_vec(), Version::V2).unwrap();
    assert_eq!(print(&request), "refused 0: the labels take more than 65536 bytes\n");
}

#[test]
fn the_content_type_tells_the_version() {
    let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    assert_eq!(Version::of("application/x-protobuf").unwrap(), Version::V1);
    assert_eq!(Version::of(v2).unwrap(), Version::V2);
    assert!(matches!(Version::of("application/json"), Err(Error::Unsupported(_))));
}

fn any_series() -> impl Strategy<Value = v1::TimeSeries> {
    let labels = prop::collection::vec(("[a-z]{1,8}", ".{0,8}"), 0..5);
    let samples = prop::collection::vec((-1_000_000_i64..1_000_000, any::<f64>()), 0..4);
    (labels, samples).prop_map(|(labels, samples)| {
        let labels: Vec<_> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        time_series(&[&[("__name__", "m")], labels.as_slice()].concat(), &samples)
    })
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes: Vec<u8>) {
        for version in [Version::V1, Version::V2] {
            let _raw = Decoder::new(LIMIT).decode(&bytes, version);
            let _packed = decode(&bytes, version);
        }
    }

    #[test]
    fn bent_messages_never_panic(series in prop::collection::vec(any_series(), 1..4), at: usize, bit in 0..8_u8) {
        let mut message = request(series);
        let at = at % message.len();
        message[at] ^= 1_u8 << bit;
        let _v1 = decode(&message, Version::V1);
        let _v2 = decode(&message, Version::V2);
    }

    #[test]
    fn what_prost_encodes_is_read(series in prop::collection::vec(any_series(), 0..6)) {
        let decoded = decode(&request(series.clone()), Version::V1).unwrap();
        let expected: Vec<_> = series.iter().flat_map(|s| &s.samples).collect();
        prop_assert_eq!(decoded.points.len(), expected.len());
        for (point, sample) in decoded.points.iter().zip(expected) {
            prop_assert_eq!(point.ts, sample.timestamp * 1000);
            // prost leaves out -0.0, as if it were 0.0.
            prop_assert_eq!(point.value, sample.value);
        }
    }
}

#[test]
fn a_native_histogram_is_one_entry_and_a_stale_marker_takes_a_place() {
    let stale = f64::from_bits(STALE_NAN);
    let mut series = time_series(&[("__name__", "m")], &[(1, stale), (2, 1.0), (3, 1.0)]);
    series.histograms = vec![v1::Histogram { count: 2, sum: 3.0, timestamp: 4 }];
    let request = decode(&request(vec![series]), Version::V1).unwrap();
    assert_eq!(request.places.points.iter().collect::<Vec<_>>(), [1, 2, 3, 3]);
}
