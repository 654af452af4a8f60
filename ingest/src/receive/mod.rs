//! Wire formats: bytes from senders become a [`Request`](crate::Request).
//!
//! ```text
//! bytes ── body::inflate ── json | line_protocol | remote_write | otlp ── Request ── (admission)
//!                                                        Receipt or Error ── status ── answer
//! ```
//!
//! A decoder is a pure function of the bytes and of `now`. It refuses a bad entry and takes the
//! rest; only a body that cannot be read at all is an error. It never trusts a length that it was
//! told, so what it allocates is bounded by what it was sent and by the limits named here.
//!
//! A timestamp that the sender left out becomes `now`. The same bytes then mean new points the
//! next time, so such a request carries no fingerprint and is never taken for a repeated one.

pub mod body;
mod cache;
pub mod json;
mod lenient;
pub mod line_protocol;
pub mod otlp;
mod protobuf;
pub mod remote_write;
pub mod status;
pub(crate) mod time;

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Most entries (samples, fields, events) that one request may carry.
pub const MAX_ENTRIES: usize = 1_000_000;

/// Most bytes that the names and values of one series may take before admission even looks at it.
pub const MAX_SERIES_BYTES: usize = 64 * 1024;

/// Most labels that are read for one series.
pub const MAX_LABELS: usize = 1024;

/// Bytes of decoded series that one decoder remembers, over all of its shards.
pub const SERIES_CACHE_BYTES: usize = 256 * 1024 * 1024;

/// Which format a body was in: the same bytes mean different things in each.
#[derive(Clone, Copy, Debug)]
enum Format {
    Samples = 1,
    Events,
    RemoteWriteV1,
    RemoteWriteV2,
    OtlpMetrics,
    OtlpLogs,
    OtlpTraces,
    LineProtocol = 16,
}

/// Recognises a repeated body of the same format; `variant` tells settings apart that change its
/// meaning.
fn fingerprint(format: Format, variant: u8, body: &[u8]) -> u128 {
    xxh3_128_with_seed(body, (format as u64) << 8 | u64::from(variant))
}

fn too_many_entries() -> crate::Error {
    crate::Error::Malformed(format!("more than {MAX_ENTRIES} entries in one request, send fewer"))
}
