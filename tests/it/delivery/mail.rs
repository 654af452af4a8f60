//! Mail, spoken with a server: a whole dialogue in the clear and under TLS, and what each refusal means.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::Utc;
use remediation::delivery::{
    Destination, Failure, Message, Outcome, Sender, Settings, guard::Guard, sign::Keys,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig, crypto,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

/// How a connection to the stand-in is secured.
#[derive(Clone, Copy, PartialEq)]
enum Security {
    None,
    StartTls,
    Tls,
}

/// A mail server that answers a command with what it was told to, and remembers what it heard.
struct Server {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `refuses` is a command and the answer to it.
    async fn start(security: Security, tls: Option<TlsAcceptor>, refuses: Refuses) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(vec![]));
        let told = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (told, tls) = (Arc::clone(&told), tls.clone());
                // A connection that ends in the middle is the other side's affair.
                tokio::spawn(async move {
                    match (security, tls) {
                        (Security::Tls, Some(tls)) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            drop(serve(stream, true, refuses, &told).await);
                        }
                        (_, tls) => {
                            let greeted = serve(stream, false, refuses, &told).await;
                            let (Ok(Some(stream)), Some(tls)) = (greeted, tls) else { return };
                            let Ok(stream) = tls.accept(stream).await else { return };
                            drop(talk(BufReader::new(stream), true, refuses, &told).await);
                        }
                    }
                });
            }
        });
        Self { address, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

type Refuses = Option<(&'static str, &'static str)>;
type Heard = Mutex<Vec<String>>;

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    is_secure: bool,
    refuses: Refuses,
    heard: &Heard,
) -> std::io::Result<Option<S>> {
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(b"220 mail.example ready\r\n").await?;
    talk(stream, is_secure, refuses, heard).await
}

/// Gives the stream back when it is to be secured.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: BufReader<S>,
    is_secure: bool,
    refuses: Refuses,
    heard: &Heard,
) -> std::io::Result<Option<S>> {
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let command = line.trim_end().to_owned();
        line.clear();
        heard.lock().unwrap().push(command.clone());
        let word = command.split([' ', ':']).next().unwrap_or_default();
        let answer = match refuses.filter(|(what, _)| *what == word) {
            Some((_, answer)) => answer,
            None if word == "EHLO" && is_secure => "250-mail.example\r\n250 AUTH PLAIN LOGIN",
            None if word == "EHLO" => "250-mail.example\r\n250 STARTTLS",
            None if word == "STARTTLS" => "220 go ahead",
            None if word == "AUTH" => "235 welcome",
            None if word == "DATA" => "354 go on",
            None if word == "QUIT" => "221 bye",
            None => "250 ok",
        };
        stream.get_mut().write_all(format!("{answer}\r\n").as_bytes()).await?;
        if word == "STARTTLS" && answer.starts_with('2') {
            return Ok(Some(stream.into_inner()));
        }
        if word == "DATA" && answer.starts_with('3') {
            while stream.read_line(&mut line).await? > 0 && line != ".\r\n" {
                heard.lock().unwrap().push(std::mem::take(&mut line).trim_end().to_owned());
            }
            line.clear();
            let answer =
                refuses.filter(|(what, _)| *what == ".").map_or("250 queued as 7", |it| it.1);
            stream.get_mut().write_all(format!("{answer}\r\n").as_bytes()).await?;
        }
    }
    Ok(None)
}

/// A certificate for `localhost` that the sender trusts by `file`.
fn certificate(file: &Path) -> TlsAcceptor {
    let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let signed = parameters.self_signed(&key).unwrap();
    std::fs::write(file, signed.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = config.with_single_cert(vec![signed.der().clone()], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Sends one mail.
async fn send(server: &Server, ca_file: Option<&Path>, more: Value) -> Outcome {
    let guard = Guard { allow_private: true, allow: vec![] };
    let mut settings = json!({
        "host": "localhost", "port": server.address.port(),
        "from": "Pipenotify <alerts@shop.example>", "to": ["ann@shop.example", "bob@shop.example"],
    });
    for (name, value) in more.as_object().unwrap() {
        settings[name] = value.clone();
    }
    let settings = settings.as_object().unwrap().clone();
    let destination = Destination::read("email", settings, &guard).unwrap();
    let payload = json!({"title": "disk", "text": ".it fills"}).to_string();
    let message = Message { id: "m1", idempotency_key: "m1", payload: &payload, now: Utc::now() };
    let sending = destination.compose(&message, &Keys::default()).unwrap();
    let sender = Sender::new(Settings {
        guard,
        timeout: Duration::from_secs(10),
        ca_file: ca_file.map(Path::to_owned),
        file_root: None,
    });
    sender.unwrap().send(&sending, Utc::now()).await
}

fn in_the_clear() -> Value {
    json!({"security": "none"})
}

fn with_password(security: &str) -> Value {
    json!({"security": security, "user": "ann", "password": "s3cret"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_handed_over_in_one_dialogue() {
    let server = Server::start(Security::None, None, None).await;
    let outcome = send(&server, None, in_the_clear()).await;
    assert_eq!((outcome.failure, outcome.status), (None, Some(250)), "{outcome:?}");
    assert!(outcome.detail.contains("queued as 7"), "{outcome:?}");
    let heard = server.heard();
    let commands = [
        "EHLO pipenotify",
        "MAIL FROM:<alerts@shop.example>",
        "RCPT TO:<ann@shop.example>",
        "RCPT TO:<bob@shop.example>",
        "DATA",
    ];
    assert_eq!(heard[..5], commands);
    assert!(heard.contains(&"Subject: disk".to_owned()), "{heard:#?}");
    assert!(heard.contains(&"Message-ID: <m1@shop.example>".to_owned()), "{heard:#?}");
    assert!(heard.contains(&"..it fills".to_owned()), "a dot at the beginning: {heard:#?}");
    assert_eq!(heard.last().unwrap(), "QUIT");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mail_server_refuses_for_now_is_tried_again_and_for_good_is_not() {
    let check = async |refuses: (&'static str, &'static str), status: u16, failure: Failure| {
        let server = Server::start(Security::None, None, Some(refuses)).await;
        let outcome = send(&server, None, in_the_clear()).await;
        assert_eq!((outcome.failure, outcome.status), (Some(failure), Some(status)), "{refuses:?}");
        assert!(outcome.detail.contains(refuses.1), "{}", outcome.detail);
    };
    check(("RCPT", "450 mailbox busy"), 450, Failure::Transient).await;
    check((".", "451 try again later"), 451, Failure::Transient).await;
    check(("EHLO", "421 closing"), 421, Failure::Transient).await;
    check(("RCPT", "550 no such user"), 550, Failure::Refused).await;
    check(("MAIL", "530 authentication required"), 530, Failure::Misdirected).await;
    check((".", "554 it looks like spam"), 554, Failure::Refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_goes_only_over_a_secured_connection() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    // Base64 of `\0ann\0s3cret`.
    let proof = "AGFubgBzM2NyZXQ=";
    for (security, name) in [(Security::Tls, "tls"), (Security::StartTls, "starttls")] {
        let server = Server::start(security, Some(certificate(&ca)), None).await;
        let outcome = send(&server, Some(&ca), with_password(name)).await;
        assert_eq!((outcome.failure, outcome.status), (None, Some(250)), "{name}");
        let heard = server.heard();
        let at = heard.iter().position(|it| *it == format!("AUTH PLAIN {proof}")).unwrap();
        let greeted = heard.iter().rposition(|it| it == "EHLO pipenotify").unwrap();
        assert_eq!(at, greeted + 1, "after the greeting that is secured: {heard:#?}");
    }
    // Without STARTTLS nothing is said that others must not hear.
    let refuses = Some(("STARTTLS", "502 not here"));
    let server = Server::start(Security::StartTls, Some(certificate(&ca)), refuses).await;
    let outcome = send(&server, Some(&ca), with_password("starttls")).await;
    assert_eq!((outcome.failure, outcome.status), (Some(Failure::Refused), Some(502)));
    assert_eq!(server.heard(), ["EHLO pipenotify", "STARTTLS"]);
    // Nor to somebody whose certificate is not trusted, or who does not take the password.
    let server = Server::start(Security::Tls, Some(certificate(&ca)), None).await;
    let outcome = send(&server, None, with_password("tls")).await;
    assert_eq!(outcome.failure, Some(Failure::Transient), "{outcome:?}");
    assert_eq!(server.heard(), Vec::<String>::new());
    let refuses = Some(("AUTH", "535 wrong password"));
    let server = Server::start(Security::Tls, Some(certificate(&ca)), refuses).await;
    let outcome = send(&server, Some(&ca), with_password("tls")).await;
    assert_eq!((outcome.failure, outcome.status), (Some(Failure::Misdirected), Some(535)));
    assert!(!outcome.detail.contains(proof), "{}", outcome.detail);
}
