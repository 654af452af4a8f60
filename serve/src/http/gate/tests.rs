use axum::{
    Router,
    http::{StatusCode, header},
    middleware::from_fn_with_state,
    routing::post,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tower::ServiceExt;

use super::*;
use crate::config::Period;

const MIB: usize = 1 << 20;

/// An application whose addresses say how long the body was.
fn app(config: &Http) -> (Arc<Gate>, Router) {
    let gate = Arc::new(Gate::new(config));
    let length = post(async |body: Bytes| body.len().to_string());
    let app = Router::new()
        .route("/api/v1/samples", length.clone())
        .route("/api/v2/write", length)
        .layer(from_fn_with_state(Arc::clone(&gate), http));
    (gate, app)
}

/// A body that comes as it is sent to the other end.
fn slow() -> (mpsc::Sender<Result<Bytes, std::io::Error>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Body::from_stream(ReceiverStream::new(receiver)))
}

async fn send(app: &Router, path: &str, body: Body) -> Response {
    app.clone().oneshot(Request::post(path).body(body).unwrap()).await.unwrap()
}

#[track_caller]
fn check(response: &Response, status: StatusCode) {
    assert_eq!(response.status(), status);
    assert!(response.headers().contains_key(header::RETRY_AFTER), "{response:?}");
}

/// Waits until so many requests are in hand.
async fn in_hand(gate: &Gate, n: usize) {
    while gate.counts()[0] != n {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn one_request_too_many_hears_when_to_come_again_and_gets_in_later() {
    let (gate, app) = app(&Http { requests_max: 1, ..Http::default() });
    let (sender, body) = slow();
    let other = app.clone();
    let first = tokio::spawn(async move { send(&other, "/api/v2/write", body).await });
    in_hand(&gate, 1).await;
    check(&send(&app, "/api/v1/samples", "x".into()).await, StatusCode::TOO_MANY_REQUESTS);
    check(&send(&app, "/api/v2/write", "x".into()).await, StatusCode::SERVICE_UNAVAILABLE);
    let empty = send(&app, "/api/v2/write", Body::empty()).await;
    assert_eq!(empty.status(), StatusCode::OK);
    drop(sender);
    assert_eq!(first.await.unwrap().status(), StatusCode::OK);
    assert_eq!(send(&app, "/api/v2/write", "x".into()).await.status(), StatusCode::OK);
    assert_eq!(gate.counts(), [0, 0, 2]);
}

#[tokio::test]
async fn a_body_that_takes_too_long_is_cut_off() {
    let body_timeout = Period(Duration::from_millis(20));
    let (gate, app) = app(&Http { body_timeout, ..Http::default() });
    for (path, status) in [
        ("/api/v1/samples", StatusCode::REQUEST_TIMEOUT),
        ("/api/v2/write", StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let (sender, body) = slow();
        sender.send(Ok("begun".into())).await.unwrap();
        check(&send(&app, path, body).await, status);
    }
    assert_eq!(gate.counts(), [0, 0, 0]);
}

#[tokio::test]
async fn bodies_hold_no_more_bytes_than_they_may_and_give_them_back() {
    let config = Http { body_bytes_max: MIB, bodies_bytes_max: 2 * MIB, ..Http::default() };
    let (gate, app) = app(&config);
    let mut waiting = vec![];
    for n in 1..=2 {
        let (sender, body) = slow();
        let app = app.clone();
        let answer = tokio::spawn(async move { send(&app, "/api/v2/write", body).await });
        sender.send(Ok(vec![0; MIB].into())).await.unwrap();
        while gate.counts()[1] != n * MIB {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        waiting.push((sender, answer));
    }
    check(&send(&app, "/api/v2/write", "x".into()).await, StatusCode::SERVICE_UNAVAILABLE);
    for (sender, answer) in waiting {
        drop(sender);
        assert_eq!(answer.await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(send(&app, "/api/v2/write", "x".into()).await.status(), StatusCode::OK);
    assert_eq!(gate.counts(), [0, 0, 1]);
}

#[tokio::test]
async fn a_sender_that_leaves_gives_its_place_back() {
    let (gate, app) = app(&Http { requests_max: 1, ..Http::default() });
    let (_sender, body) = slow();
    let leaving = tokio::spawn(async move { send(&app, "/api/v2/write", body).await });
    in_hand(&gate, 1).await;
    leaving.abort();
    in_hand(&gate, 0).await;
}
