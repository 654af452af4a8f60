use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::delivery::destination::email::{Mail, Security, Server};

/// How long an attempt may take.
const LIMIT: Duration = Duration::from_secs(3);

fn sender() -> Sender {
    let guard = Guard { allow_private: true, allow: vec![] };
    Sender::new(Settings { guard, timeout: LIMIT, ca_file: None, file_root: None }).unwrap()
}

/// Answers the first request with these words and then says nothing more, for as long as it is asked.
async fn answering(words: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _n = stream.read(&mut request).await.unwrap();
        stream.write_all(words.as_bytes()).await.unwrap();
        hang(stream).await;
    });
    port
}

async fn hang(mut stream: TcpStream) {
    let mut rest = vec![];
    drop(stream.read_to_end(&mut rest).await);
}

async fn post(words: &'static str, expect: Option<&str>) -> Outcome {
    let url = format!("http://127.0.0.1:{}/", answering(words).await).parse().unwrap();
    let (headers, body) = (vec![], "{}".into());
    let sending = Sending::Post { url, headers, body, expect: expect.map(str::to_owned) };
    sender().send(&sending, DateTime::UNIX_EPOCH).await
}

#[tokio::test]
async fn a_status_counts_although_the_rest_of_the_answer_never_comes() {
    let outcome = post("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nbeg", None).await;
    assert_eq!((outcome.failure, outcome.status), (None, Some(200)), "{}", outcome.detail);
    assert_eq!(outcome.answer.as_deref(), Some("beg"));
    let outcome = post("HTTP/1.1 410 Gone\r\ncontent-length: 50\r\n\r\n", None).await;
    assert_eq!(outcome.status, Some(410));
}

#[tokio::test]
async fn without_a_status_in_time_it_is_tried_again() {
    let outcome = post("HTTP/1.1 200 OK\r\n", None).await;
    assert_eq!((outcome.failure, outcome.status), (Some(Failure::Transient), None));
    assert_eq!(outcome.detail, "no answer in 3s");
    // What is to confirm it did not come either.
    let outcome = post("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n", Some("ok")).await;
    assert_eq!((outcome.failure, outcome.status), (Some(Failure::Transient), Some(200)));
}

#[tokio::test]
async fn what_a_receiver_repeats_of_our_secrets_is_not_kept() {
    let words = "HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\ntoken=SEKRET123";
    let outcome = post(words, None).await;
    assert_eq!(outcome.answer.as_deref(), Some("token=redacted"));
}

#[tokio::test]
async fn a_mail_that_was_taken_is_theirs_although_nobody_says_goodbye() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for said in ["220 hi", "250 ok", "250 ok", "250 ok", "354 go on", "250 queued"] {
            stream.write_all(format!("{said}\r\n").as_bytes()).await.unwrap();
            let _n = stream.read(&mut [0; 4096]).await.unwrap();
        }
        hang(stream).await;
    });
    let host = "127.0.0.1".to_owned();
    let server = Server { host, port, security: Security::None, login: None };
    let (from, to) = ("a@example.org".to_owned(), vec!["b@example.org".to_owned()]);
    let mail = Mail { from, to, bytes: b"Subject: x\r\n\r\nx\r\n".to_vec() };
    let outcome = sender().send(&Sending::Mail { server, mail }, DateTime::UNIX_EPOCH).await;
    assert_eq!((outcome.failure, outcome.detail.as_str()), (None, "250 queued"));
}
