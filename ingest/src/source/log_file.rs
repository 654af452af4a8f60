//! Follows log files, through rotation and truncation, and across restarts.
//!
//! Every message is an event `log`: severity as the line says, several lines joined when they are
//! one message (indented, `Caused by`, a Python traceback), `log.file.path` as attribute. Its time
//! is the line's own when that names a zone, else the time of reading.
//!
//! | metric | unit | labels | kind |
//! |---|---|---|---|
//! | `log.lines` | {message} | `log`, `level`: trace, debug, info, warn, error, fatal, unknown | counter, since this collector started |
//! | `log.unread` | By | `log` | gauge, what is left after this round |
//! | `log.size` | By | `log` | gauge, of all files that the paths match |
//!
//! Where each file was read up to is kept in a small file, in two steps. Before a round is handed
//! over, its ranges are written down; once it is acknowledged they are done. A crash in between
//! makes the next round read exactly the same ranges, under the same fingerprint, by which the
//! receiving side recognises it.

mod files;
mod message;
mod state;

use std::{collections::BTreeMap, path::PathBuf};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use data::Event;
use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_128;

use self::{
    files::Files,
    message::{Message, Reader},
    state::State,
};
use super::{Batch, hostname};
use crate::{collector::Collector, request::Request};

/// Most files that one collector follows.
pub const MAX_FILES: usize = 256;
/// Most lines that are joined into one message.
pub const MAX_JOINED: usize = 500;

/// Which files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name in the samples and of the state file; letters, digits, `-` and `_`.
    pub name: String,
    /// Paths; the last part may hold `*` and `?`.
    pub paths: Vec<String>,
    /// Where the state file lives; the folder is created.
    pub state_dir: PathBuf,
    /// The service that writes the files; the name when absent.
    #[serde(default)]
    pub service: Option<String>,
    /// Read what is already there when the very first round begins.
    #[serde(default)]
    pub from_start: bool,
    /// A longer message is cut, in bytes.
    #[serde(default = "max_line")]
    pub max_line: usize,
    /// Most bytes that one round reads, shared evenly by the files; the next one goes on from there.
    #[serde(default = "max_read")]
    pub max_read: usize,
}

fn max_line() -> usize {
    64 * 1024
}

fn max_read() -> usize {
    1024 * 1024
}

/// Follows some files.
#[derive(Debug)]
pub struct LogFile {
    id: String,
    service: String,
    host: Option<String>,
    settings: Settings,
    reader: Reader,
    files: Files,
    state: State,
    counts: BTreeMap<&'static str, u64>,
    /// What the counts become when the round is acknowledged.
    pending: BTreeMap<&'static str, u64>,
}

/// A collector for some files.
///
/// # Errors
/// When the name is not a file name, a limit is zero, or the state cannot be read.
pub fn new(settings: Settings) -> Result<LogFile, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if settings.name.is_empty() || !settings.name.chars().all(is_plain) {
        return Err(format!("`{}` is not letters, digits, `-` and `_`", settings.name));
    }
    if settings.max_line == 0 || settings.max_read < settings.max_line {
        return Err("`max_line` must be above 0 and at most `max_read`".to_owned());
    }
    let state = State::load(&settings.state_dir, &settings.name)?;
    Ok(LogFile {
        id: format!("log_file:{}", settings.name),
        service: settings.service.clone().unwrap_or_else(|| settings.name.clone()),
        host: hostname(),
        reader: Reader::new(settings.max_line),
        files: Files::new(&settings.paths, settings.from_start)?,
        settings,
        state,
        counts: BTreeMap::new(),
        pending: BTreeMap::new(),
    })
}

#[async_trait]
impl Collector for LogFile {
    fn name(&self) -> &str {
        &self.id
    }

    async fn collect(&mut self, now: DateTime<Utc>) -> Result<Request, String> {
        let is_repeat = self.state.intent.is_some();
        let round = self.files.read(&mut self.state, &self.reader, self.settings.max_read)?;
        let mut batch = Batch::new(now, Some(&self.service), self.host.as_deref());
        self.pending = self.counts.clone();
        let mut events = vec![];
        for (path, message) in round.messages {
            let n = TimeDelta::microseconds(events.len() as i64); // Keeps their order.
            *self.pending.entry(message.level()).or_default() += 1;
            events.push(self.event(path, message, now + n));
        }
        if !events.is_empty() || is_repeat {
            self.state.save()?;
            let ranges = self.state.ranges();
            batch.request_mut().fingerprint =
                Some(xxh3_128(format!("{} {ranges}", self.id).as_bytes()));
        }
        batch.request_mut().events = events;
        let name = self.settings.name.as_str();
        for (level, count) in &self.pending {
            batch.add("log.lines", &[("log", name), ("level", level)], *count as f64);
        }
        batch.add("log.unread", &[("log", name)], round.unread as f64);
        batch.add("log.size", &[("log", name)], round.size as f64);
        Ok(batch.into_request())
    }

    async fn acknowledge(&mut self) {
        self.counts = std::mem::take(&mut self.pending);
        if self.state.finish()
            && let Err(reason) = self.state.save()
        {
            tracing::warn!(collector.name = self.id, "{reason}; a restart may repeat lines");
        }
    }
}

impl LogFile {
    fn event(&self, path: String, message: Message, now: DateTime<Utc>) -> Event {
        let mut attributes = vec![("log.file.path".to_owned(), path)];
        if message.is_cut {
            attributes.push(("log.truncated".to_owned(), "true".to_owned()));
        }
        Event {
            ts: message.ts.unwrap_or_else(|| now.timestamp_micros()),
            name: "log".to_owned(),
            severity: message.severity,
            service: Some(self.service.clone()),
            host: self.host.clone(),
            body: message.text,
            attributes,
            ..Event::default()
        }
    }
}

#[cfg(test)]
mod tests;
