//! PagerDuty, Events API v2.
//!
//! A payload that is an event already (`event_action`) is sent as it is, with the routing key. Else the
//! payload's `status` says whether the trouble began or ended, and its `dedup_key` or `dedupe_key` which
//! trouble it is. <https://developer.pagerduty.com/docs/send-alert-event>

use serde_json::{Value, json};
use url::Url;

use super::{said, template, words};
use crate::delivery::{
    Message,
    fields::{Fields, Wrong},
    guard::Guard,
    template::Template,
};

const EVENTS: &str = "https://events.pagerduty.com/v2/enqueue";
/// Characters of a summary, and of a deduplication key: the service's own limits.
const SUMMARY_MAX: usize = 1024;
const DEDUP_KEY_MAX: usize = 255;

#[derive(Clone, Debug)]
pub(super) struct PagerDuty {
    url: Url,
    routing_key: String,
    template: Template,
}

pub(super) fn read(fields: &mut Fields, guard: &Guard) -> Result<PagerDuty, Wrong> {
    let url = fields.text("url")?;
    Ok(PagerDuty {
        url: super::checked(url.as_deref().unwrap_or(EVENTS), guard)?,
        routing_key: fields.needed("routing_key")?,
        template: template(fields, "template", "{{title}}")?,
    })
}

impl PagerDuty {
    pub(super) fn compose(&self, message: &Message<'_>, payload: &Value) -> (Url, Value) {
        if payload.get("event_action").is_some() {
            let mut event = payload.clone();
            event["routing_key"] = json!(self.routing_key);
            return (self.url.clone(), event);
        }
        let key = said(payload, &["dedup_key", "dedupe_key", "fingerprint"]);
        let key = key.unwrap_or(message.idempotency_key);
        let action = match said(payload, &["status", "state"]) {
            Some("resolved") => "resolve",
            Some("acknowledged") => "acknowledge",
            _ => "trigger",
        };
        let is_known = |it: &&str| ["critical", "error", "warning", "info"].contains(it);
        let severity = said(payload, &["severity"]).filter(is_known).unwrap_or("error");
        let source = said(payload, &["source", "component", "host"]).unwrap_or("pipenotify");
        let event = json!({
            "routing_key": self.routing_key,
            "event_action": action,
            "dedup_key": cut(key, DEDUP_KEY_MAX),
            "payload": {
                "summary": cut(&words(&self.template, payload), SUMMARY_MAX),
                "severity": severity,
                "source": source,
                "custom_details": payload,
            },
        });
        (self.url.clone(), event)
    }
}

fn cut(text: &str, n_characters: usize) -> String {
    text.chars().take(n_characters).collect()
}
