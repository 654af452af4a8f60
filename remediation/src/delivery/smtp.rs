//! As much of SMTP as it takes to hand over one mail: STARTTLS or TLS, AUTH PLAIN, and one dialogue.
//!
//! RFC 5321, RFC 3207 (STARTTLS), RFC 4954 (AUTH). The mail itself is built by `lettre`.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufStream},
    time::timeout,
};
use url::Host;

use super::{
    Failure, Outcome,
    destination::email::{Mail, Security, Server},
    http::{Connector, Error},
};

/// Bytes of one line of an answer.
const LINE_MAX: u64 = 4096;
/// How long a farewell may take, beyond the time of an attempt.
const FAREWELL: Duration = Duration::from_secs(1);
/// Lines of one answer.
const LINES_MAX: usize = 64;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

type Wire = BufStream<Box<dyn Stream>>;

/// Hands over a mail; `None` if it was not taken within `limit`.
pub(super) async fn send(
    connector: &Connector,
    server: &Server,
    mail: &Mail,
    limit: Duration,
) -> Option<Outcome> {
    Some(match timeout(limit, dialogue(connector, server, mail)).await.ok()? {
        Ok((said, mut wire)) => {
            // It is theirs now, whatever becomes of the farewell.
            drop(timeout(FAREWELL, say(&mut wire, "QUIT", 221)).await);
            Outcome::delivered(Some(said.code), said.text)
        }
        Err(outcome) => outcome,
    })
}

/// Says all but the farewell.
async fn dialogue(
    connector: &Connector,
    server: &Server,
    mail: &Mail,
) -> Result<(Said, Wire), Outcome> {
    let mut wire = open(connector, server).await?;
    let mut can = say(&mut wire, "EHLO pipenotify", 250).await?;
    if server.security == Security::StartTls {
        say(&mut wire, "STARTTLS", 220).await?;
        let plain = wire.into_inner();
        let secured = connector.secure(plain, &server.host).await.map_err(not_asked)?;
        wire = BufStream::new(Box::new(secured));
        can = say(&mut wire, "EHLO pipenotify", 250).await?;
    }
    if let Some((user, password)) = &server.login {
        let proof = BASE64.encode(format!("\0{user}\0{password}"));
        if !can.text.to_ascii_uppercase().contains("PLAIN") {
            let why = "the mail server offers no AUTH PLAIN on this connection";
            return Err(Outcome::failed(Failure::Misdirected, None, why));
        }
        say(&mut wire, &format!("AUTH PLAIN {proof}"), 235).await?;
    }
    say(&mut wire, &format!("MAIL FROM:<{}>", mail.from), 250).await?;
    for to in &mail.to {
        say(&mut wire, &format!("RCPT TO:<{to}>"), 250).await?;
    }
    say(&mut wire, "DATA", 354).await?;
    wire.write_all(&stuffed(&mail.bytes)).await.map_err(|e| broken(&e))?;
    let taken = say(&mut wire, ".", 250).await?;
    Ok((taken, wire))
}

async fn open(connector: &Connector, server: &Server) -> Result<Wire, Outcome> {
    let host = Host::parse(&server.host).map_err(|e| {
        Outcome::failed(Failure::Misdirected, None, format!("`{}`: {e}", server.host))
    })?;
    let borrowed = match &host {
        Host::Domain(name) => Host::Domain(name.as_str()),
        Host::Ipv4(address) => Host::Ipv4(*address),
        Host::Ipv6(address) => Host::Ipv6(*address),
    };
    let plain = connector.connect(borrowed, server.port).await.map_err(not_asked)?;
    let stream: Box<dyn Stream> = match server.security {
        Security::Tls => Box::new(connector.secure(plain, &server.host).await.map_err(not_asked)?),
        Security::StartTls | Security::None => Box::new(plain),
    };
    let mut wire = BufStream::new(stream);
    hear(&mut wire, 220).await?;
    Ok(wire)
}

/// What the server said.
struct Said {
    code: u16,
    text: String,
}

async fn say(wire: &mut Wire, line: &str, expected: u16) -> Result<Said, Outcome> {
    let line = format!("{line}\r\n");
    wire.write_all(line.as_bytes()).await.map_err(|e| broken(&e))?;
    wire.flush().await.map_err(|e| broken(&e))?;
    hear(wire, expected).await
}

async fn hear(wire: &mut Wire, expected: u16) -> Result<Said, Outcome> {
    use tokio::io::AsyncReadExt;
    let mut all = String::new();
    for _ in 0..LINES_MAX {
        let mut line = Vec::new();
        let mut limited = (&mut *wire).take(LINE_MAX);
        let n = limited.read_until(b'\n', &mut line).await.map_err(|e| broken(&e))?;
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
        let Some(code) = code.filter(|_| n > 0) else {
            let why = format!("the mail server said `{line}`, which is no answer");
            return Err(Outcome::failed(Failure::Transient, None, why));
        };
        all.push_str(&line);
        if line.as_bytes().get(3) == Some(&b'-') {
            all.push('\n');
            continue;
        }
        if code == expected || (expected == 250 && code == 251) {
            return Ok(Said { code, text: all });
        }
        return Err(Outcome {
            answer: super::excerpt(all.as_bytes()),
            ..Outcome::failed(refusal(code), Some(code), format!("the mail server said: {line}"))
        });
    }
    Err(Outcome::failed(Failure::Transient, None, "the mail server does not stop talking"))
}

/// 4xx may pass; 53x is about who we are, the rest about this mail.
fn refusal(code: u16) -> Failure {
    match code {
        530..=539 => Failure::Misdirected,
        500..=599 => Failure::Refused,
        _ => Failure::Transient,
    }
}

/// A line that begins with a dot gets another one; the last one ends.
fn stuffed(mail: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(mail.len() + 16);
    for line in mail.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn not_asked(error: Error) -> Outcome {
    match error {
        Error::Forbidden(why) => Outcome::failed(Failure::Misdirected, None, why),
        Error::Failed(why) => Outcome::failed(Failure::Transient, None, why),
        Error::Late => Outcome::failed(Failure::Transient, None, "it did not answer in time"),
    }
}

fn broken(error: &std::io::Error) -> Outcome {
    Outcome::failed(Failure::Transient, None, format!("the connection broke: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_at_the_beginning_of_a_line_does_not_end_a_mail() {
        assert_eq!(stuffed(b"a\r\n.\r\n..b"), b"a\r\n..\r\n...b\r\n");
    }
}
