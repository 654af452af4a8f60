//! A log file, written as a service does that keeps it open.

use std::{
    fs::File,
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use chrono::{SecondsFormat, Utc};

/// Where lines go; nowhere without a file.
#[derive(Clone, Debug)]
pub(crate) struct Logbook(Option<Arc<Mutex<File>>>);

impl Logbook {
    pub(crate) fn open(path: Option<&str>) -> Result<Self> {
        let open = |path: &str| {
            let file = File::options().create(true).append(true).open(path);
            file.with_context(|| format!("open the log {path}"))
        };
        Ok(Self(path.map(open).transpose()?.map(|file| Arc::new(Mutex::new(file)))))
    }

    pub(crate) fn line(&self, level: &str, text: &str) {
        let Some(file) = &self.0 else { return };
        let at = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not end the service; the line is lost.
        drop(writeln!(file, "{at} {level} {text}"));
    }
}
