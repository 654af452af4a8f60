//! What is taken in, decided entry by entry: a bad one is refused with a reason, the rest go on.
//!
//! Two decisions worth knowing. A NaN is refused, since it would make every sum over it NaN; but
//! Prometheus' stale marker, a NaN with a meaning of its own, is dropped without complaint and
//! counted in [`Admitted::n_stale`]. The series of a tenant are counted per UTC day of arrival.

use std::{hash::BuildHasherDefault, ptr, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use data::{Event, Point, Series, Span};
use hashbrown::HashSet;

use crate::{
    hash::IsHash,
    request::{Refusal, Request},
};

/// Bytes of a metric's or an event's name.
pub const MAX_NAME: usize = 255;
/// Labels of one series.
pub const MAX_LABELS: usize = 64;
/// Attributes of one event or span.
pub const MAX_ATTRIBUTES: usize = 128;
/// Bytes of a label's key.
pub const MAX_KEY: usize = 128;
/// Bytes of a label's value, a host's or a service's name.
pub const MAX_VALUE: usize = 1024;
/// Bytes of an event's text, or of one of its attributes.
pub const MAX_BODY: usize = 256 * 1024;
/// How far ahead of us a sender's clock may be.
pub const MAX_AHEAD: TimeDelta = TimeDelta::minutes(10);

/// The oldest point of an import, 1900-01-01: what is older is no measurement but a mistake.
pub const HISTORY_BEGINS: DateTime<Utc> =
    DateTime::from_timestamp(-2_208_988_800, 0).expect("it is a moment");

/// The bit pattern with which Prometheus says that a series ended.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// What the settings decide.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How old a timestamp may be.
    pub past: TimeDelta,
    /// Different series that a tenant may send in a day.
    pub max_series: usize,
    /// Labels of one series.
    pub max_labels: usize,
    /// Bytes of a label's key.
    pub max_key: usize,
    /// Bytes of a label's value, a host's or a service's name.
    pub max_value: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            past: TimeDelta::days(400),
            max_series: 1_000_000,
            max_labels: MAX_LABELS,
            max_key: MAX_KEY,
            max_value: MAX_VALUE,
        }
    }
}

/// The series that a tenant has sent today. All of them passed the checks.
#[derive(Debug, Default)]
pub struct Known {
    day: i64,
    series: HashSet<i64, BuildHasherDefault<IsHash>>,
}

/// What is left of a request, and what is not.
#[derive(Debug, Default)]
pub struct Admitted {
    /// Points to write.
    pub points: Vec<Point>,
    /// Events to write; attributes sorted, keys unique.
    pub events: Vec<Event>,
    /// Spans to write; attributes sorted, keys unique.
    pub spans: Vec<Span>,
    /// Everything refused, that of the decoder included, in order.
    pub refused: Vec<Refusal>,
    /// Stale markers that were dropped.
    pub n_stale: usize,
    /// What was refused here, by its place among all points, then events, then spans of the request.
    pub refused_items: Vec<u32>,
    /// How many items were passed over since they are not among those asked for.
    pub n_known: usize,
}

/// Sorts a request into what is taken and what is refused. Only those items are looked at that are
/// `missing`, which is in order and by their place among all; everything if it is absent.
pub fn admit(
    request: Request,
    missing: Option<&[u32]>,
    known: &mut Known,
    limits: &Limits,
    now: DateTime<Utc>,
) -> Admitted {
    let today = now.timestamp().div_euclid(86_400);
    if known.day != today {
        *known = Known { day: today, ..Known::default() };
    }
    let window = Window::new(limits, now, request.history);
    let Request { mut points, mut events, mut spans, refused: mut before, places, .. } = request;
    before.sort_by_key(|refusal| refusal.index);
    let mut index = Index { before: &before, next: 0 };
    let (mut of_points, mut of_events, mut of_spans) =
        (places.points.iter(), places.events.iter(), places.spans.iter());
    // What happened during a span comes with it.
    let event_of = if spans.is_empty() { "" } else { "an event of the span: " };

    let mut items = Items { missing, n: 0, n_known: 0, refused: vec![] };
    let (mut last, mut refused, mut n_stale) = (ptr::null(), vec![], 0);
    points.retain(|point| {
        let is_asked = items.next();
        let at = of_points.next().unwrap_or_else(|| index.next());
        if is_stale(point) {
            n_stale += 1;
            return false;
        }
        if !is_asked {
            return items.pass_over();
        }
        let outcome = window
            .check("ts", point.ts)
            .and_then(|()| check_value(point.value))
            .and_then(|()| check_once(point, &mut last, known, limits));
        items.judge(outcome, at, &mut refused)
    });
    events.retain_mut(|event| {
        let is_asked = items.next();
        let at = of_events.next().unwrap_or_else(|| index.next());
        if !is_asked {
            return items.pass_over();
        }
        tidy(&mut event.attributes);
        let outcome = window.check("ts", event.ts).and_then(|()| check_event(event));
        let outcome = outcome.map_err(|reason| format!("{event_of}{reason}"));
        items.judge(outcome, at, &mut refused)
    });
    spans.retain_mut(|span| {
        let is_asked = items.next();
        let at = of_spans.next().unwrap_or_else(|| index.next());
        if !is_asked {
            return items.pass_over();
        }
        tidy(&mut span.attributes);
        let outcome = window.check("ts", span.ts).and_then(|()| check_span(span));
        items.judge(outcome, at, &mut refused)
    });
    refused.append(&mut before);
    refused.sort_by_key(|refusal| refusal.index);
    let Items { n_known, refused: refused_items, .. } = items;
    Admitted { points, events, spans, refused, n_stale, refused_items, n_known }
}

/// Which item of a request is looked at, and what became of those before it.
struct Items<'a> {
    missing: Option<&'a [u32]>,
    n: u32,
    n_known: usize,
    refused: Vec<u32>,
}

impl Items<'_> {
    /// Whether the next item is asked for.
    fn next(&mut self) -> bool {
        self.n += 1;
        self.missing.is_none_or(|missing| missing.binary_search(&(self.n - 1)).is_ok())
    }

    fn pass_over(&mut self) -> bool {
        self.n_known += 1;
        false
    }

    /// Whether the item stays.
    fn judge(&mut self, outcome: Result<(), String>, index: usize, to: &mut Vec<Refusal>) -> bool {
        let Err(reason) = outcome else { return true };
        self.refused.push(self.n - 1);
        to.push(Refusal { index, reason });
        false
    }
}

/// Whether the point only says that its series ended.
pub fn is_stale(point: &Point) -> bool {
    point.value.to_bits() == STALE
}

/// The sender's index of each entry where the decoder did not tell: each made one thing, and those
/// that it refused are passed over.
struct Index<'a> {
    before: &'a [Refusal],
    next: usize,
}

impl Index<'_> {
    fn next(&mut self) -> usize {
        while let Some((first, rest)) = self.before.split_first()
            && first.index <= self.next
        {
            self.next += usize::from(first.index == self.next);
            self.before = rest;
        }
        self.next += 1;
        self.next - 1
    }
}

/// Which timestamps are taken.
struct Window {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    from_us: i64,
    to_us: i64,
}

impl Window {
    fn new(limits: &Limits, now: DateTime<Utc>, history: bool) -> Self {
        let from = if history { HISTORY_BEGINS } else { now - limits.past };
        let to = now + MAX_AHEAD;
        Self { from, to, from_us: from.timestamp_micros(), to_us: to.timestamp_micros() }
    }

    fn check(&self, field: &str, ts: i64) -> Result<(), String> {
        if (self.from_us..=self.to_us).contains(&ts) {
            return Ok(());
        }
        let (from, to) = (self.from.to_rfc3339(), self.to.to_rfc3339());
        Err(format!("`{field}` must lie between {from} and {to}"))
    }
}

fn check_value(value: f64) -> Result<(), String> {
    match value.is_finite() {
        true => Ok(()),
        false => Err(format!("`value` must be a finite number, not {value}")),
    }
}

/// Consecutive points often share their series, and most series were seen before. The series that
/// `last` points to is kept alive by the point that was taken last.
fn check_once(
    point: &Point,
    last: &mut *const Series,
    known: &mut Known,
    limits: &Limits,
) -> Result<(), String> {
    let series = &point.series;
    if ptr::eq(*last, Arc::as_ptr(series)) {
        return Ok(());
    }
    if !known.series.contains(&series.id()) {
        check_series(series, limits)?;
        if known.series.len() >= limits.max_series {
            let max = limits.max_series;
            return Err(format!(
                "`labels` would make a new series, and at most {max} are taken in a day: \
                 send labels with fewer different values"
            ));
        }
        known.series.insert(series.id());
    }
    *last = Arc::as_ptr(series);
    Ok(())
}

fn check_series(series: &Series, limits: &Limits) -> Result<(), String> {
    check_len("metric", series.metric(), 1, MAX_NAME)?;
    check_len("service", series.service().unwrap_or_default(), 0, limits.max_value)?;
    check_len("host", series.host().unwrap_or_default(), 0, limits.max_value)?;
    check_pairs("labels", series.labels(), limits.max_labels, limits.max_key, limits.max_value)
}

fn check_event(event: &Event) -> Result<(), String> {
    check_len("name", &event.name, 1, MAX_NAME)?;
    check_optional("service", event.service.as_deref())?;
    check_optional("host", event.host.as_deref())?;
    check_len("body", &event.body, 0, MAX_BODY)?;
    if event.severity.is_some_and(|severity| !(1..=24).contains(&severity)) {
        return Err("`severity` must lie between 1 and 24".to_owned());
    }
    check_pairs("attributes", &event.attributes, MAX_ATTRIBUTES, MAX_KEY, MAX_BODY)?;
    event.trace_id.as_deref().map_or(Ok(()), |id| check_hex("trace_id", id, 32))?;
    event.span_id.as_deref().map_or(Ok(()), |id| check_hex("span_id", id, 16))
}

fn check_span(span: &Span) -> Result<(), String> {
    check_hex("trace_id", &span.trace_id, 32)?;
    check_hex("span_id", &span.span_id, 16)?;
    span.parent_span_id.as_deref().map_or(Ok(()), |id| check_hex("parent_span_id", id, 16))?;
    check_len("name", &span.name, 0, MAX_VALUE)?;
    if span.duration_ns < 0 {
        return Err("`duration_ns` must not be negative".to_owned());
    }
    check_optional("service", span.service.as_deref())?;
    check_optional("host", span.host.as_deref())?;
    check_pairs("attributes", &span.attributes, MAX_ATTRIBUTES, MAX_KEY, MAX_BODY)
}

fn check_pairs(
    field: &str,
    pairs: &[(String, String)],
    max_pairs: usize,
    max_key: usize,
    max_value: usize,
) -> Result<(), String> {
    if pairs.len() > max_pairs {
        return Err(format!("`{field}` must have at most {max_pairs} keys, not {}", pairs.len()));
    }
    for (key, value) in pairs {
        check_len(&format!("{field} key"), key, 1, max_key)?;
        if value.len() > max_value {
            return Err(format!("`{field}.{key}` must have at most {max_value} bytes"));
        }
    }
    Ok(())
}

fn check_optional(field: &str, text: Option<&str>) -> Result<(), String> {
    text.map_or(Ok(()), |text| check_len(field, text, 0, MAX_VALUE))
}

fn check_len(field: &str, text: &str, min: usize, max: usize) -> Result<(), String> {
    if (min..=max).contains(&text.len()) {
        return Ok(());
    }
    Err(format!("`{field}` must have {min} to {max} bytes, not {}", text.len()))
}

fn check_hex(field: &str, text: &str, n: usize) -> Result<(), String> {
    if text.len() == n && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    Err(format!("`{field}` must be {n} hexadecimal digits"))
}

/// Sorts by key; of equal keys the last one stays.
fn tidy(pairs: &mut Vec<(String, String)>) {
    pairs.reverse();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs.dedup_by(|later, kept| later.0 == kept.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn point(metric: &str, seconds: i64, value: f64) -> Point {
        let series = Arc::new(Series::new(metric, None, None, vec![]));
        Point { series, ts: seconds * 1_000_000, value }
    }

    #[track_caller]
    fn check(point: Point, reason: Option<&str>) {
        let request = Request { points: vec![point], ..Request::default() };
        let admitted = admit(request, None, &mut Known::default(), &Limits::default(), NOW);
        let found = admitted.refused.first().map(|refusal| refusal.reason.as_str());
        match reason {
            None => assert_eq!(found, None),
            Some(reason) => assert!(found.unwrap().contains(reason), "{found:?}"),
        }
    }

    #[test]
    fn a_point_is_refused_with_the_field_that_is_wrong() {
        check(point("m", 0, 1.0), None);
        check(point("m", 600, 1.0), None);
        check(point("m", 601, 1.0), Some("`ts`"));
        check(point("m", -401 * 86_400, 1.0), Some("`ts`"));
        check(point("m", 0, f64::NAN), Some("`value`"));
        check(point("m", 0, f64::NEG_INFINITY), Some("`value`"));
        check(point("", 0, 1.0), Some("`metric`"));
        check(point(&"m".repeat(256), 0, 1.0), Some("`metric`"));
    }

    #[test]
    fn history_may_be_old_but_not_from_before_anything_was_measured() {
        let points = vec![point("m", -1_000 * 86_400, 1.0), point("m", -40_000 * 86_400, 1.0)];
        let request = Request { points, history: true, ..Request::default() };
        let admitted = admit(request, None, &mut Known::default(), &Limits::default(), NOW);
        assert_eq!((admitted.points.len(), admitted.refused[0].index), (1, 1));
    }

    #[test]
    fn limits_on_labels_are_the_settings() {
        let limits = Limits { max_labels: 1, max_key: 3, max_value: 5, ..Limits::default() };
        let check = |labels: &[(&str, &str)], reason: &str| {
            let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let series = Arc::new(Series::new("m", None, None, labels));
            let points = vec![Point { series, ts: 0, value: 1.0 }];
            let request = Request { points, ..Request::default() };
            let admitted = admit(request, None, &mut Known::default(), &limits, NOW);
            assert!(admitted.refused[0].reason.contains(reason), "{:?}", admitted.refused);
        };
        check(&[("a", "1"), ("b", "1")], "at most 1 keys");
        check(&[("long", "1")], "1 to 3 bytes");
        check(&[("a", "123456")], "at most 5 bytes");
    }

    #[test]
    fn of_a_repeated_request_only_what_is_missing_is_looked_at() {
        let points = [0, 700, 800].map(|at| point("m", at, 1.0)).to_vec();
        let request = Request { points, events: vec![Event::default()], ..Request::default() };
        let (limits, later) = (Limits::default(), NOW + TimeDelta::seconds(150));
        let first = admit(request.clone(), None, &mut Known::default(), &limits, NOW);
        assert_eq!((first.points.len(), first.refused_items.as_slice()), (1, [1, 2, 3].as_slice()));
        let missing = Some(first.refused_items.as_slice());
        let again = admit(request, missing, &mut Known::default(), &limits, later);
        assert_eq!((again.points[0].ts, again.points.len()), (700_000_000, 1));
        assert_eq!((again.n_known, again.refused_items), (1, vec![2, 3]));
    }

    #[test]
    fn a_stale_marker_is_neither_taken_nor_refused() {
        let points = vec![point("m", 0, f64::from_bits(STALE))];
        let request = Request { points, ..Request::default() };
        let admitted = admit(request, None, &mut Known::default(), &Limits::default(), NOW);
        assert_eq!((admitted.points.len(), admitted.refused.len(), admitted.n_stale), (0, 0, 1));
    }

    #[test]
    fn one_series_too_many_is_refused_and_the_others_go_on() {
        let limits = Limits { max_series: 1, ..Limits::default() };
        let points = vec![point("a", 0, 1.0), point("b", 0, 1.0), point("a", 1, 1.0)];
        let request = Request { points, ..Request::default() };
        let admitted = admit(request, None, &mut Known::default(), &limits, NOW);
        assert_eq!((admitted.points.len(), admitted.refused[0].index), (2, 1));
    }

    #[test]
    fn an_index_is_the_senders_even_after_the_decoder_refused_some() {
        let refused = [0, 2].map(|index| Refusal { index, reason: String::new() }).to_vec();
        let points = vec![point("a", 0, 1.0), point("", 0, 1.0)];
        let request = Request { points, refused, ..Request::default() };
        let admitted = admit(request, None, &mut Known::default(), &Limits::default(), NOW);
        assert_eq!(admitted.refused.iter().map(|r| r.index).collect::<Vec<_>>(), [0, 2, 3]);
    }
}
