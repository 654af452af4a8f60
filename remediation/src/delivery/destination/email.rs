//! E-mail over SMTP: TLS from the start (`smtps`), STARTTLS, or, when it is asked for, in the clear.

use lettre::{
    Address, Message as Letter,
    message::{Mailbox, SinglePart, header::ContentType},
};
use serde_json::Value;

use super::{Sending, template, words};
use crate::delivery::{
    Message,
    fields::{Fields, Wrong},
    guard::Guard,
    template::Template,
};

/// People that one destination reaches.
const TO_MAX: usize = 100;
/// Characters of a subject.
const SUBJECT_MAX: usize = 200;

/// How a connection to a mail server is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// From the first byte.
    Tls,
    /// After a command in the clear; without it nothing is sent.
    StartTls,
    /// Not at all.
    None,
}

/// To whom a mail is handed.
#[derive(Clone)]
pub struct Server {
    /// Its name, which its certificate must show.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is secured.
    pub security: Security,
    /// User and password.
    pub login: Option<(String, String)>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Server");
        shown.field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

/// A mail with its envelope.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Who sends it.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
    /// Headers and body.
    pub bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(super) struct Email {
    server: Server,
    from: Mailbox,
    to: Vec<Mailbox>,
    subject: Template,
    template: Template,
}

pub(super) fn read(fields: &mut Fields, guard: &Guard) -> Result<Email, Wrong> {
    let security = match fields.text("security")?.as_deref() {
        Some("tls") => Security::Tls,
        None | Some("starttls") => Security::StartTls,
        Some("none") => Security::None,
        Some(_) => return Err(Wrong::new("security", "must be tls, starttls or none")),
    };
    let host = fields.needed("host")?;
    match url::Host::parse(&host) {
        Ok(url::Host::Ipv4(address)) => guard.check(address.into()),
        Ok(url::Host::Ipv6(address)) => guard.check(address.into()),
        Ok(url::Host::Domain(_)) => Ok(()),
        Err(error) => Err(format!("is no host: {error}")),
    }
    .map_err(|why| Wrong::new("host", why))?;
    let port = fields.count("port", u32::from(u16::MAX))?.and_then(|port| u16::try_from(port).ok());
    let default = match security {
        Security::Tls => 465,
        Security::StartTls => 587,
        Security::None => 25,
    };
    let login = match (fields.text("user")?, fields.text("password")?) {
        (None, None) => None,
        (Some(user), Some(password)) => Some((user, password)),
        (Some(_), None) => return Err(Wrong::new("password", "is missing beside `user`")),
        (None, Some(_)) => return Err(Wrong::new("user", "is missing beside `password`")),
    };
    if login.is_some() && security == Security::None {
        return Err(Wrong::new("password", "must not be sent without `security`"));
    }
    let mailbox = |field: &str, text: &str| {
        let wrong = |e| Wrong::new(field, format!("holds `{text}`, which is no address: {e}"));
        text.parse::<Mailbox>().map_err(wrong)
    };
    let from = mailbox("from", &fields.needed("from")?)?;
    let to = fields.texts("to")?;
    if to.is_empty() || to.len() > TO_MAX {
        return Err(Wrong::new("to", format!("must name 1 to {TO_MAX} addresses")));
    }
    Ok(Email {
        server: Server { host, port: port.unwrap_or(default), security, login },
        from,
        to: to.iter().map(|text| mailbox("to", text)).collect::<Result<_, _>>()?,
        subject: template(fields, "subject", "{{title}}")?,
        template: template(fields, "template", "{{text}}\n\n{{summary}}\n\n{{description}}")?,
    })
}

impl Email {
    /// `html` in the payload makes an HTML mail; everything else becomes text. The identifier of the
    /// mail stays the same in every attempt, so that a mail program shows a repeat once.
    pub(super) fn compose(
        &self,
        message: &Message<'_>,
        payload: &Value,
    ) -> Result<Sending, String> {
        let subject = self.subject.render(payload);
        let subject: String = subject
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(SUBJECT_MAX)
            .collect();
        let subject = if subject.trim().is_empty() { "Pipenotify".to_owned() } else { subject };
        let id = format!("<{}@{}>", message.id, self.from.email.domain());
        let mut letter = Letter::builder()
            .from(self.from.clone())
            .subject(subject)
            .date(message.now.into())
            .message_id(Some(id));
        for to in &self.to {
            letter = letter.to(to.clone());
        }
        let part = match payload.get("html").and_then(Value::as_str) {
            Some(html) => (ContentType::TEXT_HTML, html.to_owned()),
            None => (ContentType::TEXT_PLAIN, words(&self.template, payload)),
        };
        let part = SinglePart::builder().header(part.0).body(part.1);
        let letter =
            letter.singlepart(part).map_err(|e| format!("no mail can be made of it: {e}"))?;
        let plain = |address: &Address| address.to_string();
        let mail = Mail {
            from: plain(&self.from.email),
            to: self.to.iter().map(|to| plain(&to.email)).collect(),
            bytes: letter.formatted(),
        };
        Ok(Sending::Mail { server: self.server.clone(), mail })
    }
}
