//! Things that happened: log events and spans.

/// One log line or event, as it was received.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// When, in microseconds since the epoch, UTC.
    pub ts: i64,
    /// What kind of event, in dotted lower case: `log`, `deploy`, `process.exit`.
    pub name: String,
    /// OpenTelemetry severity number, 1 (trace) to 24 (fatal); absent when nobody said.
    pub severity: Option<i32>,
    /// The service it concerns.
    pub service: Option<String>,
    /// The host it happened on.
    pub host: Option<String>,
    /// The text.
    pub body: String,
    /// Everything else; keys sorted and unique once admitted.
    pub attributes: Vec<(String, String)>,
    /// Hex trace id, when the event belongs to a trace.
    pub trace_id: Option<String>,
    /// Hex span id, when the event belongs to a span.
    pub span_id: Option<String>,
}

/// One timed piece of work within a trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    /// Start, in microseconds since the epoch, UTC.
    pub ts: i64,
    /// How long it took, in nanoseconds.
    pub duration_ns: i64,
    /// Hex, 32 digits.
    pub trace_id: String,
    /// Hex, 16 digits.
    pub span_id: String,
    /// Hex, 16 digits; absent on a root span.
    pub parent_span_id: Option<String>,
    /// What was done.
    pub name: String,
    /// `internal`, `server`, `client`, `producer` or `consumer`.
    pub kind: String,
    /// `unset`, `ok` or `error`.
    pub status: String,
    /// The service that did it.
    pub service: Option<String>,
    /// The host it ran on.
    pub host: Option<String>,
    /// Everything else; keys sorted and unique once admitted.
    pub attributes: Vec<(String, String)>,
}
