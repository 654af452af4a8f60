//! What may be in hand at once: requests that carry a body, the bytes of these bodies, and how long one may
//! take to arrive.
//!
//! Over HTTP and OTLP over gRPC together, so that many senders, or slow ones, cost no more
//! memory than the configuration says. What only asks, such as `/healthz`, always gets through.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody as _},
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use futures::{StreamExt, stream};
use ingest::{Error, receive::otlp::grpc};
use tokio::time::{Instant, timeout_at};

use super::receive;
use crate::config::Http;

/// What a sender is told to wait when too much is in hand.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Counts what is in hand.
#[derive(Debug)]
pub struct Gate {
    requests_max: usize,
    bytes_max: usize,
    body_timeout: Duration,
    requests: AtomicUsize,
    bytes: AtomicUsize,
    turned_away: AtomicUsize,
}

impl Gate {
    /// An open one.
    pub fn new(config: &Http) -> Self {
        Self {
            requests_max: config.requests_max,
            bytes_max: config.bodies_bytes_max.max(config.body_bytes_max),
            body_timeout: config.body_timeout.0,
            requests: AtomicUsize::default(),
            bytes: AtomicUsize::default(),
            turned_away: AtomicUsize::default(),
        }
    }

    /// Requests in hand that carry a body, their bytes, and how many were turned away since the start.
    pub fn counts(&self) -> [usize; 3] {
        [&self.requests, &self.bytes, &self.turned_away].map(|it| it.load(Ordering::Relaxed))
    }

    fn enter(self: &Arc<Self>) -> Option<Arc<Held>> {
        // What was one too many is given back when it is dropped.
        let before = self.requests.fetch_add(1, Ordering::Relaxed);
        let held = Held::new(self);
        (before < self.requests_max).then(|| Arc::new(held))
    }

    fn turn_away(&self) -> Error {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        Error::Busy { retry_after: RETRY_AFTER }
    }
}

/// The share of one request; given back when it is answered, or its sender is gone.
#[derive(Debug)]
struct Held {
    gate: Arc<Gate>,
    bytes: AtomicUsize,
    is_crowded: AtomicBool,
    is_late: AtomicBool,
}

impl Held {
    fn new(gate: &Arc<Gate>) -> Self {
        let (is_crowded, is_late) = (AtomicBool::default(), AtomicBool::default());
        Self { gate: Arc::clone(gate), bytes: AtomicUsize::default(), is_crowded, is_late }
    }

    /// Counts bytes that arrived; false when they are too many.
    fn add(&self, n: usize) -> bool {
        self.bytes.fetch_add(n, Ordering::Relaxed);
        let before = self.gate.bytes.fetch_add(n, Ordering::Relaxed);
        let fits = before + n <= self.gate.bytes_max;
        self.is_crowded.fetch_or(!fits, Ordering::Relaxed);
        fits
    }

    /// Why the body was cut off, if it was.
    fn fault(&self) -> Option<Error> {
        if self.is_crowded.load(Ordering::Relaxed) {
            return Some(self.gate.turn_away());
        }
        let limit = self.gate.body_timeout;
        self.is_late.load(Ordering::Relaxed).then_some(Error::TooSlow { limit })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gate.requests.fetch_sub(1, Ordering::Relaxed);
        self.gate.bytes.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

/// For HTTP: turns away in the words of the protocol that the address is for.
pub(super) async fn http(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
    let passed = pass(&gate, request, next).await;
    passed.unwrap_or_else(|error| receive::turned_away(&path, &headers, error))
}

/// For OTLP over gRPC.
pub(crate) async fn grpc(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let passed = pass(&gate, request, next).await;
    passed.unwrap_or_else(|error| grpc::failed(&error).into_http())
}

/// The answer, unless the request is one too many or its body was cut off.
async fn pass(gate: &Arc<Gate>, request: Request, next: Next) -> Result<Response, Error> {
    if request.body().is_end_stream() {
        return Ok(next.run(request).await);
    }
    let Some(held) = gate.enter() else { return Err(gate.turn_away()) };
    let timed = request.map(|body| timed(body, Arc::clone(&held)));
    let response = next.run(timed).await;
    held.fault().map_or(Ok(response), Err)
}

/// The same body, cut off when it takes too long or too much is in hand.
fn timed(body: Body, held: Arc<Held>) -> Body {
    let deadline = Instant::now() + held.gate.body_timeout;
    let frames = body.into_data_stream();
    Body::from_stream(stream::unfold(Some((frames, held)), move |state| async move {
        let (mut frames, held) = state?;
        let Ok(frame) = timeout_at(deadline, frames.next()).await else {
            held.is_late.store(true, Ordering::Relaxed);
            return Some((Err(cut_off("it took too long")), None));
        };
        let frame: Bytes = match frame? {
            Ok(frame) => frame,
            Err(error) => return Some((Err(error), None)),
        };
        match held.add(frame.len()) {
            true => Some((Ok(frame), Some((frames, held)))),
            false => Some((Err(cut_off("too much is in hand")), None)),
        }
    }))
}

fn cut_off(why: &'static str) -> axum::Error {
    axum::Error::new(std::io::Error::other(why))
}

#[cfg(test)]
mod tests;
