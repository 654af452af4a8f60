//! Destinations: what each kind needs to be told, and how it wants to hear. One file each.

mod alertmanager;
pub mod email;
mod file;
mod google_chat;
mod pagerduty;
mod slack;
mod webhook;

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use serde_json::{Map, Value};
use url::Url;

use super::{
    Message,
    fields::{Fields, Wrong},
    guard::Guard,
    sign::Keys,
    template::Template,
};

/// All kinds, by the word for them.
pub const KINDS: [&str; 7] =
    ["webhook", "google_chat", "slack", "email", "pagerduty", "alertmanager", "file"];

/// Attempts at one destination at once, unless it says otherwise.
const CONCURRENCY: u32 = 16;
/// The most that it may say.
const CONCURRENCY_MAX: u32 = 256;

/// What goes over the wire, or to the disk.
#[derive(Clone, Debug)]
pub enum Sending {
    /// An HTTP request.
    Post {
        /// Where.
        url: Url,
        /// In addition to `host`.
        headers: Vec<(String, String)>,
        /// What.
        body: Bytes,
        /// A text that an answer has when the receiver took it; any answer does without.
        expect: Option<String>,
    },
    /// A mail.
    Mail {
        /// To whom it is handed.
        server: email::Server,
        /// The mail.
        mail: email::Mail,
    },
    /// A line for a file.
    Append {
        /// The file, below the allowed folder.
        path: PathBuf,
        /// The line.
        line: String,
    },
}

/// A destination that can work, as far as that can be told without trying.
#[derive(Clone, Debug)]
pub struct Destination {
    kind: Kind,
    headers: Vec<(String, String)>,
    expect: Option<String>,
    /// Attempts at once.
    pub concurrency: u32,
    /// Attempts a second.
    pub rate: Option<f64>,
    /// How long it may stay unconfirmed before somebody hears of it; the general setting without.
    pub confirm_within: Option<Duration>,
    /// Whether it is probed.
    pub is_probed: bool,
    /// Secrets that were chosen by the one who configured it.
    pub secrets: Vec<String>,
}

#[derive(Clone, Debug)]
enum Kind {
    Webhook(webhook::Webhook),
    GoogleChat(google_chat::GoogleChat),
    Slack(slack::Slack),
    Email(Box<email::Email>),
    PagerDuty(pagerduty::PagerDuty),
    Alertmanager(alertmanager::Alertmanager),
    File(file::File),
}

impl Destination {
    /// Reads settings; the first field that cannot work is named.
    pub fn read(kind: &str, settings: Map<String, Value>, guard: &Guard) -> Result<Self, Wrong> {
        let mut fields = Fields::new(settings);
        let kind = match kind {
            "webhook" => Kind::Webhook(webhook::read(&mut fields, guard)?),
            "google_chat" => Kind::GoogleChat(google_chat::read(&mut fields, guard)?),
            "slack" => Kind::Slack(slack::read(&mut fields, guard)?),
            "email" => Kind::Email(Box::new(email::read(&mut fields, guard)?)),
            "pagerduty" => Kind::PagerDuty(pagerduty::read(&mut fields, guard)?),
            "alertmanager" => Kind::Alertmanager(alertmanager::read(&mut fields, guard)?),
            "file" => Kind::File(file::read(&mut fields)?),
            other => {
                let why = format!("is `{other}`; there are {}", KINDS.join(", "));
                return Err(Wrong::new("kind", why));
            }
        };
        let read = Self {
            kind,
            headers: headers(&mut fields)?,
            expect: fields.text("expect")?,
            concurrency: fields.count("concurrency", CONCURRENCY_MAX)?.unwrap_or(CONCURRENCY),
            rate: fields.number("rate")?,
            confirm_within: fields.period("confirm_within")?,
            is_probed: match fields.value("probe") {
                None => true,
                Some(Value::Bool(yes)) => yes,
                Some(_) => return Err(Wrong::new("probe", "must be true or false")),
            },
            secrets: fields.texts("secret")?,
        };
        for secret in &read.secrets {
            super::sign::check(secret).map_err(|why| Wrong::new("secret", why))?;
        }
        fields.done()?;
        Ok(read)
    }

    /// Whether what it gets is signed.
    pub fn is_signed(&self) -> bool {
        matches!(self.kind, Kind::Webhook(_))
    }

    /// What a message becomes here; says why it can become nothing.
    pub fn compose(&self, message: &Message<'_>, keys: &Keys) -> Result<Sending, String> {
        let payload = || -> Result<Value, String> {
            serde_json::from_str(message.payload)
                .map_err(|e| format!("the payload is not JSON: {e}"))
        };
        let (url, body) = match &self.kind {
            Kind::Webhook(kind) => return Ok(self.signed(kind, message, keys)),
            Kind::File(kind) => return kind.compose(message),
            Kind::Email(kind) => return kind.compose(message, &payload()?),
            Kind::GoogleChat(kind) => kind.compose(message, &payload()?),
            Kind::Slack(kind) => kind.compose(&payload()?),
            Kind::PagerDuty(kind) => kind.compose(message, &payload()?),
            Kind::Alertmanager(kind) => kind.compose(message, &payload()?),
        };
        Ok(self.post(url, Bytes::from(body.to_string()), vec![]))
    }

    fn signed(&self, kind: &webhook::Webhook, message: &Message<'_>, keys: &Keys) -> Sending {
        let body = Bytes::copy_from_slice(message.payload.as_bytes());
        let mut headers = vec![
            ("webhook-id".to_owned(), message.id.to_owned()),
            ("webhook-timestamp".to_owned(), message.now.timestamp().to_string()),
        ];
        if let Some(signature) = keys.sign(message.id, &body, message.now) {
            headers.push(("webhook-signature".to_owned(), signature));
        }
        self.post(kind.url.clone(), body, headers)
    }

    fn post(&self, url: Url, body: Bytes, more: Vec<(String, String)>) -> Sending {
        let own = [("content-type", "application/json"), ("user-agent", "pipenotify")];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        // What is ours comes last: a configured header must not stand in for a signature.
        let headers = own.into_iter().chain(self.headers.clone()).chain(more).collect();
        Sending::Post { url, headers, body, expect: self.expect.clone() }
    }
}

/// Additional headers, of which none can be one that frames the request.
fn headers(fields: &mut Fields) -> Result<Vec<(String, String)>, Wrong> {
    const FIXED: [&str; 4] = ["host", "content-length", "transfer-encoding", "connection"];
    let headers = fields.headers("headers")?;
    for (name, value) in &headers {
        let is_fixed = FIXED.contains(&name.to_ascii_lowercase().as_str());
        let is_valid = http::HeaderName::try_from(name.as_str()).is_ok()
            && http::HeaderValue::try_from(value.as_str()).is_ok();
        if is_fixed || !is_valid {
            return Err(Wrong::new("headers", format!("cannot hold `{name}`")));
        }
    }
    Ok(headers)
}

/// An address that may be called, as far as that can be told without asking for its name.
fn url(fields: &mut Fields, guard: &Guard) -> Result<Url, Wrong> {
    checked(&fields.needed("url")?, guard)
}

fn checked(text: &str, guard: &Guard) -> Result<Url, Wrong> {
    let wrong = |why: String| Wrong::new("url", why);
    let url = Url::parse(text).map_err(|e| wrong(format!("is no address: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(format!("must begin with http:// or https://, not {}:", url.scheme())));
    }
    match url.host() {
        Some(url::Host::Ipv4(address)) => guard.check(address.into()).map_err(wrong)?,
        Some(url::Host::Ipv6(address)) => guard.check(address.into()).map_err(wrong)?,
        Some(url::Host::Domain(_)) => (),
        None => return Err(wrong("names no host".into())),
    }
    Ok(url)
}

fn template(fields: &mut Fields, field: &'static str, default: &str) -> Result<Template, Wrong> {
    let text = fields.text(field)?;
    Template::parse(text.as_deref().unwrap_or(default)).map_err(|why| Wrong::new(field, why))
}

/// A text for people: that of the template, or the payload itself when the template found nothing.
fn words(template: &Template, payload: &Value) -> String {
    let text = template.render(payload);
    let text = text.trim();
    if !text.is_empty() {
        return text.to_owned();
    }
    match payload {
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    }
}

/// A text for people: that of a template that somebody chose, else the payload's `text`, else what it
/// has of title, summary and description.
fn told(template: Option<&Template>, payload: &Value) -> String {
    match (template, said(payload, &["text"])) {
        (Some(template), _) => words(template, payload),
        (None, Some(text)) => text.to_owned(),
        (None, None) => {
            let parts = ["title", "summary", "description"];
            let parts: Vec<_> = parts.iter().filter_map(|it| said(payload, &[*it])).collect();
            match parts.is_empty() {
                true => serde_json::to_string_pretty(payload).unwrap_or_default(),
                false => parts.join("\n"),
            }
        }
    }
}

/// Whether a payload is a message of the service already: it has one of the `main` fields, and no field
/// that the service does not know and would refuse.
fn is_message(payload: &Value, main: &[&str], more: &[&str]) -> bool {
    let Value::Object(fields) = payload else { return false };
    fields.keys().any(|it| main.contains(&it.as_str()))
        && fields.keys().all(|it| main.contains(&it.as_str()) || more.contains(&it.as_str()))
}

fn own_template(fields: &mut Fields) -> Result<Option<Template>, Wrong> {
    let text = fields.text("template")?;
    let read = |text: String| Template::parse(&text).map_err(|why| Wrong::new("template", why));
    text.map(read).transpose()
}

/// The first of these fields that is a text.
fn said<'a>(payload: &'a Value, fields: &[&str]) -> Option<&'a str> {
    fields.iter().find_map(|field| payload.get(field)?.as_str()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
