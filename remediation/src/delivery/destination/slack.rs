//! Slack, and what understands its incoming webhooks (Mattermost, Rocket.Chat, Discord's `/slack`).
//!
//! A payload that is a message already (`text`, `blocks`, `attachments`) is sent as it is.
//! <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>

use serde_json::{Value, json};
use url::Url;

use super::{template, words};
use crate::delivery::{
    fields::{Fields, Wrong},
    guard::Guard,
    template::Template,
};

#[derive(Clone, Debug)]
pub(super) struct Slack {
    url: Url,
    template: Template,
}

pub(super) fn read(fields: &mut Fields, guard: &Guard) -> Result<Slack, Wrong> {
    let template = template(fields, "template", "{{title}}\n{{summary}}\n{{description}}")?;
    Ok(Slack { url: super::url(fields, guard)?, template })
}

impl Slack {
    pub(super) fn compose(&self, payload: &Value) -> (Url, Value) {
        let is_message =
            ["text", "blocks", "attachments"].iter().any(|it| payload.get(it).is_some());
        let body = match is_message {
            true => payload.clone(),
            // Slack reads these three signs as markup.
            false => {
                let text = words(&self.template, payload);
                let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                json!({ "text": text })
            }
        };
        (self.url.clone(), body)
    }
}
