use std::sync::Arc;

use chrono::Datelike;
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::source::tests::show;

/// A server that gives `answers` in turn, one connection each.
async fn serve(answers: &[&str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answers: Vec<String> = answers.iter().map(|&text| text.to_owned()).collect();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            if answer.is_empty() {
                std::future::pending::<()>().await;
            }
        }
    });
    format!("http://{address}/x?y=1")
}

async fn probe(url: &str, more: Value) -> Request {
    let mut settings = json!({"name": "p", "url": url, "timeout_ms": 1000});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut probe = new(serde_json::from_value(settings).unwrap()).unwrap();
    probe.collect(Utc::now()).await.unwrap()
}

/// `up`, and why not.
#[track_caller]
fn check(request: &Request, up: u8, reason: &str) {
    let shown = show(request);
    assert!(shown.contains(&format!("http.probe.up probe=p {up}\n")), "{shown}");
    let body = request.events.first().map_or("", |event| event.body.as_str());
    assert!(body.contains(reason), "{body}");
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

#[tokio::test]
async fn an_answer_is_timed_and_searched() {
    let url = serve(&[HELLO]).await;
    let request = probe(&url, json!({"contains": "ell", "matches": "^h.*o$"})).await;
    check(&request, 1, "");
    let shown = show(&request);
    assert!(shown.contains("http.probe.status_code probe=p 200\n"), "{shown}");
    assert!(shown.contains("http.probe.body.size probe=p 5\n"), "{shown}");
    assert!(shown.contains("http.probe.body_match probe=p 1\n"), "{shown}");
    for phase in ["dns", "connect", "first_byte", "total"] {
        assert!(shown.contains(&format!("phase={phase} ")), "{phase} in {shown}");
    }
    assert!(!shown.contains("phase=tls") && !shown.contains("certificate"), "{shown}");
}

#[tokio::test]
async fn what_is_not_as_expected_is_down_and_says_why() {
    let error = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    for (answer, settings, reason) in [
        (HELLO, json!({"contains": "bye"}), "the body does not contain `bye`"),
        (HELLO, json!({"matches": "^e"}), "the body does not match `^e`"),
        (HELLO, json!({"status": [204]}), "the status is 200 OK"),
        (error, json!({}), "the status is 503 Service Unavailable"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", json!({}), "broke off"),
        ("nonsense\r\n\r\n", json!({}), "invalid HTTP"),
    ] {
        let url = serve(&[answer]).await;
        check(&probe(&url, settings).await, 0, reason);
    }
}

#[tokio::test]
async fn whether_the_body_matched_is_told_apart_from_the_status() {
    let error = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 5\r\n\r\nhello";
    for (answer, settings, matched) in [
        (error, json!({"contains": "ell"}), Some(1)),
        (HELLO, json!({"contains": "ell", "matches": "^e"}), Some(0)),
        (HELLO, json!({}), None),
        ("nonsense\r\n\r\n", json!({"contains": "ell"}), None),
    ] {
        let url = serve(&[answer]).await;
        let shown = show(&probe(&url, settings).await);
        let line = shown.lines().find(|line| line.starts_with("http.probe.body_match"));
        let expected = matched.map(|matched| format!("http.probe.body_match probe=p {matched}"));
        assert_eq!(line, expected.as_deref(), "{shown}");
    }
}

#[tokio::test]
async fn an_answer_that_never_comes_is_waited_for_no_longer_than_allowed() {
    let url = serve(&[""]).await;
    let request = probe(&url, json!({"timeout_ms": 100})).await;
    check(&request, 0, "no answer within");
    let shown = show(&request);
    assert!(shown.contains("phase=connect") && !shown.contains("phase=total"), "{shown}");
    assert!(!shown.contains("status_code"), "{shown}");
}

#[tokio::test]
async fn a_body_is_read_no_further_than_allowed() {
    let url = serve(&[HELLO]).await;
    let request = probe(&url, json!({"body_limit": 3})).await;
    assert!(show(&request).contains("http.probe.body.size probe=p 3\n"));
}

#[tokio::test]
async fn redirects_are_followed_only_when_asked_and_only_at_home() {
    let home = "HTTP/1.1 302 Found\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n";
    let away = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    for (answers, follow, status, redirects) in [
        (&[home, HELLO][..], true, 200, 1),
        (&[home][..], false, 302, 0),
        (&[away][..], true, 302, 0),
    ] {
        let url = serve(answers).await;
        let shown = show(&probe(&url, json!({"follow_redirects": follow})).await);
        assert!(shown.contains(&format!("http.probe.status_code probe=p {status}\n")), "{shown}");
        assert!(shown.contains(&format!("http.probe.redirects probe=p {redirects}\n")), "{shown}");
    }
}

/// A server with a certificate of its own that ends in `days`, which says hello over TLS, and the
/// certificate as PEM.
async fn serve_tls(days: i64) -> (String, String) {
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let end = Utc::now() + chrono::TimeDelta::days(days);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(end.year(), end.month() as u8, end.day() as u8);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that trusts nobody leaves in the middle of the handshake, or right after it.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut buffer = [0; 4096];
            if stream.read(&mut buffer).await.is_ok() {
                stream.write_all(HELLO.as_bytes()).await.ok();
                stream.shutdown().await.ok();
            }
        }
    });
    (url, certificate.pem())
}

#[tokio::test]
async fn a_certificate_says_for_how_long_it_is_good_and_whether_it_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let trusting = async |url: &str, pem: &str| {
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, pem).unwrap();
        probe(url, json!({"ca_file": path, "contains": "hello"})).await
    };
    let days_left = |request: &Request| {
        let is = |point: &&data::Point| point.series.metric() == "http.probe.certificate.days_left";
        request.points.iter().find(is).expect("days are told").value
    };
    let trusted = |request: &Request, trusted: u8| {
        let shown = show(request);
        let line = format!("http.probe.certificate.trusted probe=p {trusted}\n");
        assert!(shown.contains(&line), "{shown}");
    };

    let (url, pem) = serve_tls(10).await;
    let request = trusting(&url, &pem).await;
    check(&request, 1, "");
    trusted(&request, 1);
    assert!(show(&request).contains("phase=tls "), "{}", show(&request));
    assert!((8.9..10.1).contains(&days_left(&request)), "{}", days_left(&request));

    let request = probe(&url, json!({})).await;
    check(&request, 0, "certificate");
    trusted(&request, 0);
    assert!((8.9..10.1).contains(&days_left(&request)), "{}", days_left(&request));
    let request = probe(&url, json!({"allow_untrusted": true})).await;
    check(&request, 1, "");
    trusted(&request, 0);

    let (url, pem) = serve_tls(-3).await;
    let request = trusting(&url, &pem).await;
    check(&request, 0, "expired");
    trusted(&request, 0);
    assert!((-4.1..-2.9).contains(&days_left(&request)), "{}", days_left(&request));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for (settings, reason) in [
        (json!({"url": "ftp://x"}), "`ftp` is not supported"),
        (json!({"url": "x"}), "`x` is not an address"),
        (json!({"url": "http://x", "headers": {"a b": "c"}}), "`a b` is not a header"),
        (json!({"url": "http://x", "matches": "("}), "unclosed group"),
    ] {
        let mut all = json!({"name": "p"});
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let error = new(serde_json::from_value(all).unwrap()).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    let unknown = json!({"name": "p", "url": "http://x", "uri": 1});
    assert!(serde_json::from_value::<Settings>(unknown).is_err());
}
