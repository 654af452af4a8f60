//! A line of JSON in a file below `delivery.file_root`: for tests, for audits, and for hosts that are
//! read by something else.

use std::path::{Component, PathBuf};

use serde_json::{json, value::RawValue};

use super::Sending;
use crate::delivery::{
    Message,
    fields::{Fields, Wrong},
};

#[derive(Clone, Debug)]
pub(super) struct File {
    path: PathBuf,
}

pub(super) fn read(fields: &mut Fields) -> Result<File, Wrong> {
    let path = fields.needed("path")?;
    if path.contains(char::is_control) {
        return Err(Wrong::new("path", "holds a control character"));
    }
    let path = PathBuf::from(path);
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(Wrong::new("path", "must be relative and without `..`"));
    }
    Ok(File { path })
}

impl File {
    pub(super) fn compose(&self, message: &Message<'_>) -> Result<Sending, String> {
        let payload: &RawValue = serde_json::from_str(message.payload)
            .map_err(|e| format!("the payload is not JSON: {e}"))?;
        // A line break between tokens would end the line.
        let payload = payload.get().replace(['\n', '\r'], " ");
        let (id, at) = (json!(message.id), json!(message.now));
        let line = format!("{{\"id\":{id},\"at\":{at},\"payload\":{payload}}}");
        Ok(Sending::Append { path: self.path.clone(), line })
    }
}
