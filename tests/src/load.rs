//! The load of the tests and benches: hosts that report processor use, as in TSBS, by seed.

use std::fmt::Write as _;

use bytes::Bytes;
use prost::Message;
use rand::{Rng, SeedableRng, rngs::StdRng};

/// The metrics that each host reports at each step.
pub const METRICS: [&str; 10] = [
    "usage_user",
    "usage_system",
    "usage_idle",
    "usage_nice",
    "usage_iowait",
    "usage_irq",
    "usage_softirq",
    "usage_steal",
    "usage_guest",
    "usage_guest_nice",
];

/// Label that carries the host; a promoted column in the lake.
const HOST_LABEL: &str = "instance";

/// One value of one series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Which host, from 0.
    pub host: u16,
    /// Which of [`METRICS`].
    pub metric: u8,
    /// Milliseconds since the epoch.
    pub at: i64,
    /// A whole number from 0 to 100.
    pub value: f64,
}

impl Sample {
    /// Name of the host.
    pub fn host_name(&self) -> String {
        format!("host_{}", self.host)
    }
}

/// An endless walk over hosts and metrics: all series at one time, then the next time.
#[derive(Debug)]
pub struct Load {
    dice: StdRng,
    values: Vec<f64>,
    position: usize,
    at: i64,
    step: i64,
}

impl Load {
    /// A load of `hosts` × 10 series from time `start`, one step each `step`; both in milliseconds.
    pub fn new(seed: u64, hosts: u16, start: i64, step: i64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let series = usize::from(hosts) * METRICS.len();
        let values = (0..series).map(|_| dice.random_range(0.0_f64..100.0).round()).collect();
        Self { dice, values, position: 0, at: start, step }
    }

    /// The next `count` samples.
    pub fn take(&mut self, count: usize) -> Vec<Sample> {
        (0..count).map(|_| self.next_sample()).collect()
    }

    fn next_sample(&mut self) -> Sample {
        let series = self.position;
        let moved = self.values[series] + self.dice.random_range(-1.0_f64..=1.0).round();
        self.values[series] = moved.clamp(0.0, 100.0);
        let (host, metric) = (series / METRICS.len(), series % METRICS.len());
        let sample = Sample {
            host: host as u16,
            metric: metric as u8,
            at: self.at,
            value: self.values[series],
        };
        self.position += 1;
        if self.position == self.values.len() {
            self.position = 0;
            self.at += self.step;
        }
        sample
    }
}

/// A remote write 1.0 request, one sample per entry, compressed. Metrics are named `cpu_usage_user` etc.
pub fn remote_write(samples: &[Sample]) -> Bytes {
    let entry = |sample: &Sample| {
        let name = format!("cpu_{}", METRICS[usize::from(sample.metric)]);
        series(
            &[("__name__", &name), (HOST_LABEL, &sample.host_name()), ("job", "tsbs")],
            &[(sample.at, sample.value)],
        )
    };
    compressed(&WriteRequest { timeseries: samples.iter().map(entry).collect() })
}

/// One entry of a remote write request: labels and samples (milliseconds, value).
pub fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    let label =
        |(name, value): &(&str, &str)| Label { name: (*name).into(), value: (*value).into() };
    let sample = |(timestamp, value): &(i64, f64)| Point { value: *value, timestamp: *timestamp };
    TimeSeries {
        labels: labels.iter().map(label).collect(),
        samples: samples.iter().map(sample).collect(),
    }
}

/// The bytes that go over the wire: protobuf in one block of snappy.
pub fn compressed(request: &WriteRequest) -> Bytes {
    let plain = request.encode_to_vec();
    let packed = snap::raw::Encoder::new().compress_vec(&plain);
    packed.expect("snappy takes any input below 4 GiB").into()
}

/// The same samples as line protocol, one field per line, times in nanoseconds.
pub fn line_protocol(samples: &[Sample]) -> Bytes {
    let mut text = String::with_capacity(samples.len() * 64);
    for sample in samples {
        let (host, metric) = (sample.host, METRICS[usize::from(sample.metric)]);
        let (value, at) = (sample.value, sample.at * 1_000_000);
        writeln!(text, "cpu,host=host_{host},service=tsbs {metric}={value} {at}")
            .expect("writing to a string cannot fail");
    }
    text.into()
}

/// Prometheus remote write 1.0.
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    /// The entries.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

/// Samples of one series.
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// Its labels, the name among them.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Its samples.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Point>,
}

/// A label.
#[derive(Clone, PartialEq, Message)]
pub struct Label {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A sample on the wire.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Point {
    /// The value.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds since the epoch.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}
