//! Google Chat: a space's incoming webhook.
//!
//! A payload that is a message already (`text`, `cards`, `cardsV2`) is sent as it is.
//! <https://developers.google.com/workspace/chat/quickstart/webhooks>

use serde_json::{Value, json};
use url::Url;

use super::{template, words};
use crate::delivery::{
    Message,
    fields::{Fields, Wrong},
    guard::Guard,
    template::Template,
};

#[derive(Clone, Debug)]
pub(super) struct GoogleChat {
    url: Url,
    template: Template,
}

pub(super) fn read(fields: &mut Fields, guard: &Guard) -> Result<GoogleChat, Wrong> {
    let template = template(fields, "template", "{{title}}\n{{summary}}\n{{description}}")?;
    Ok(GoogleChat { url: super::url(fields, guard)?, template })
}

impl GoogleChat {
    /// `requestId` lets the service recognise a repeat.
    pub(super) fn compose(&self, message: &Message<'_>, payload: &Value) -> (Url, Value) {
        let mut url = self.url.clone();
        if !url.query_pairs().any(|(name, _)| name == "requestId") {
            url.query_pairs_mut().append_pair("requestId", message.id);
        }
        let is_message = ["text", "cards", "cardsV2"].iter().any(|it| payload.get(it).is_some());
        let body = match is_message {
            true => payload.clone(),
            false => json!({"text": words(&self.template, payload)}),
        };
        (url, body)
    }
}
