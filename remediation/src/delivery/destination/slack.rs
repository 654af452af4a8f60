//! Slack, and what understands its incoming webhooks (Mattermost, Rocket.Chat, Discord's `/slack`).
//!
//! A payload that is a message already (`text`, `blocks`, `attachments`, and nothing that the service does
//! not know) is sent as it is; of any other, its words.
//! <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>

use serde_json::{Value, json};
use url::Url;

use super::{is_message, own_template, told};
use crate::delivery::{
    fields::{Fields, Wrong},
    guard::Guard,
    template::Template,
};

const MAIN: [&str; 3] = ["text", "blocks", "attachments"];
const MORE: [&str; 12] = [
    "channel",
    "icon_emoji",
    "icon_url",
    "link_names",
    "metadata",
    "mrkdwn",
    "reply_broadcast",
    "response_type",
    "thread_ts",
    "unfurl_links",
    "unfurl_media",
    "username",
];

#[derive(Clone, Debug)]
pub(super) struct Slack {
    url: Url,
    template: Option<Template>,
}

pub(super) fn read(fields: &mut Fields, guard: &Guard) -> Result<Slack, Wrong> {
    Ok(Slack { url: super::url(fields, guard)?, template: own_template(fields)? })
}

impl Slack {
    pub(super) fn compose(&self, payload: &Value) -> (Url, Value) {
        let body = match is_message(payload, &MAIN, &MORE) {
            true => payload.clone(),
            // Slack reads these three signs as markup.
            false => {
                let text = told(self.template.as_ref(), payload);
                let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                json!({ "text": text })
            }
        };
        (self.url.clone(), body)
    }
}
