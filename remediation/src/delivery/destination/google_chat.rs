//! Google Chat: a space's incoming webhook.
//!
//! A payload that is a message already (`text`, `cards`, `cardsV2`, and nothing that the service does not
//! know) is sent as it is; of any other, its words.
//! <https://developers.google.com/workspace/chat/quickstart/webhooks>

use serde_json::{Value, json};
use url::Url;

use super::{is_message, own_template, told};
use crate::delivery::{
    Message,
    fields::{Fields, Wrong},
    guard::Guard,
    template::Template,
};

/// Fields of a message; one that is not among them makes the service refuse it.
const MAIN: [&str; 3] = ["text", "cards", "cardsV2"];
const MORE: [&str; 4] = ["thread", "fallbackText", "accessoryWidgets", "actionResponse"];
/// Characters of a text: the service's limit.
const TEXT_MAX: usize = 4_096;

#[derive(Clone, Debug)]
pub(super) struct GoogleChat {
    url: Url,
    template: Option<Template>,
}

pub(super) fn read(fields: &mut Fields, guard: &Guard) -> Result<GoogleChat, Wrong> {
    Ok(GoogleChat { url: super::url(fields, guard)?, template: own_template(fields)? })
}

impl GoogleChat {
    /// `requestId` lets the service recognise a repeat.
    pub(super) fn compose(&self, message: &Message<'_>, payload: &Value) -> (Url, Value) {
        let mut url = self.url.clone();
        if !url.query_pairs().any(|(name, _)| name == "requestId") {
            url.query_pairs_mut().append_pair("requestId", message.id);
        }
        let body = match is_message(payload, &MAIN, &MORE) {
            true => payload.clone(),
            false => {
                let text = told(self.template.as_ref(), payload);
                json!({"text": text.chars().take(TEXT_MAX).collect::<String>()})
            }
        };
        (url, body)
    }
}
