//! A signed webhook: the payload as it was handed over, with the headers of Standard Webhooks.

use url::Url;

use crate::delivery::{
    fields::{Fields, Wrong},
    guard::Guard,
};

#[derive(Clone, Debug)]
pub(super) struct Webhook {
    pub(super) url: Url,
}

pub(super) fn read(fields: &mut Fields, guard: &Guard) -> Result<Webhook, Wrong> {
    Ok(Webhook { url: super::url(fields, guard)? })
}
