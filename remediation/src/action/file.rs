//! Files under folders that `healing.allow_folders` names: rotated, compressed, removed.
//!
//! Neither `..` nor a link leads out of the allowed folders (`folder`); a file that is itself a link is left
//! alone. What takes the place of a file has its owner, mode and age.

mod folder;

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Component, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use async_trait::async_trait;
use flate2::{Compression, write::GzEncoder};
use serde::Deserialize;

use super::{Act, Allowed, Context, Done, has_names};
use crate::{playbook::glob, span::Span};
pub(super) use folder::{Folder, NO_LINK};

/// Files that one action touches at most.
const FILES_MAX: usize = 1_000;
/// Old ones of one file that stay at most.
const KEEP_MAX: usize = 1_000;

/// Renames a file to `….1`, older ones one further, and starts it anew.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateFile {
    path: PathBuf,
    /// So many old ones stay.
    #[serde(default = "five")]
    keep: usize,
    /// Copies and empties the file instead of renaming it, for a writer that keeps it open.
    #[serde(default)]
    copy: bool,
}

/// Compresses files that were not changed for a while.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CompressFiles {
    folder: PathBuf,
    older_than: Span,
    /// Names, with `*`.
    #[serde(default = "any")]
    names: String,
}

/// Removes files that were not changed for a while.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteFiles {
    folder: PathBuf,
    older_than: Span,
    /// Names, with `*`.
    #[serde(default = "any")]
    names: String,
}

#[async_trait]
impl Act for RotateFile {
    fn target(&self) -> String {
        format!("file:{}", self.path.display())
    }

    fn check(&self, allowed: &Allowed) -> Result<(), String> {
        if !(1..=KEEP_MAX).contains(&self.keep) {
            return Err(format!("`keep` is {}; it must lie between 1 and {KEEP_MAX}", self.keep));
        }
        without_dots("path", &self.path)?;
        allowed.folder(self.path.parent().unwrap_or(Path::new("/")))
    }

    async fn act(&self, context: &Context) -> Result<Done, String> {
        let (it, allowed) = (self.clone(), context.allowed.clone());
        blocking(move |stop| it.rotate(&allowed, stop)).await
    }
}

impl RotateFile {
    fn rotate(&self, allowed: &Allowed, stop: &Stop) -> Result<Done, String> {
        let folder = Folder::open(self.path.parent().ok_or("`path` is no file")?, allowed)?;
        let name = self.path.file_name().and_then(|it| it.to_str()).ok_or("`path` is no file")?;
        let mut options = File::options();
        let (file, found) = folder.ordinary(name, options.read(true).write(self.copy))?;
        // Whatever may fail, such as for want of room, comes before anything is moved.
        let mut part = folder.part(name)?;
        if self.copy {
            stop.copy(&file, &mut part.file)
                .and_then(|_| part.is_like(&found))
                .map_err(|error| folder.told(name, &error))?;
        } else {
            part.belongs_like(&found).map_err(|error| {
                format!("its owner cannot be kept, so use `copy`: {}", folder.told(name, &error))
            })?;
        }
        let numbered = |n: usize| format!("{name}.{n}");
        for n in (1..self.keep).rev().filter(|n| folder.entry(&numbered(*n)).is_some()) {
            folder.rename(&numbered(n), &numbered(n + 1))?;
        }
        if self.copy {
            part.finish(&numbered(1))?;
            file.set_len(0).map_err(|error| folder.told(name, &error))?;
        } else {
            folder.rename(name, &numbered(1))?;
            // Its writer may have begun it anew.
            if folder.entry(name).is_none() {
                part.finish(name)?;
            }
        }
        Ok(Done::new(format!("{} bytes are now {}.1", found.len(), self.path.display())))
    }
}

#[async_trait]
impl Act for CompressFiles {
    fn target(&self) -> String {
        format!("file:{}", self.folder.display())
    }

    fn check(&self, allowed: &Allowed) -> Result<(), String> {
        without_dots("folder", &self.folder)?;
        allowed.folder(&self.folder)
    }

    async fn act(&self, context: &Context) -> Result<Done, String> {
        let (it, allowed) = (self.clone(), context.allowed.clone());
        let work = move |stop: &Stop| {
            let (mut n, mut freed) = (0, 0);
            let folder = Folder::open(&it.folder, &allowed)?;
            let files = old(&folder, &it.names, it.older_than)?;
            for (name, _) in files.iter().filter(|(name, _)| !packed(name)) {
                freed += compress(&folder, name, stop)?;
                n += 1;
            }
            some(n, freed, "compressed")
        };
        blocking(work).await
    }
}

#[async_trait]
impl Act for DeleteFiles {
    fn target(&self) -> String {
        format!("file:{}", self.folder.display())
    }

    fn check(&self, allowed: &Allowed) -> Result<(), String> {
        without_dots("folder", &self.folder)?;
        allowed.folder(&self.folder)
    }

    async fn act(&self, context: &Context) -> Result<Done, String> {
        let (it, allowed) = (self.clone(), context.allowed.clone());
        let work = move |stop: &Stop| {
            let (mut n, mut freed) = (0, 0);
            let folder = Folder::open(&it.folder, &allowed)?;
            for (name, bytes) in old(&folder, &it.names, it.older_than)? {
                stop.check()
                    .and_then(|()| fs::remove_file(folder.at(&name)))
                    .map_err(|error| folder.told(&name, &error))?;
                freed += bytes;
                n += 1;
            }
            some(n, freed, "removed")
        };
        blocking(work).await
    }
}

fn some(n: usize, freed: u64, what: &str) -> Result<Done, String> {
    match n {
        0 => Err("no file is old enough".to_owned()),
        n => Ok(Done::new(format!("{n} files {what}, {freed} bytes freed"))),
    }
}

impl Allowed {
    /// Whether files in `folder` may be changed, as far as can be said before it is there.
    ///
    /// # Errors
    /// A sentence that says where to allow it.
    pub(super) fn folder(&self, folder: &Path) -> Result<(), String> {
        let is_open = self.any || has_names(&folder.display().to_string());
        if is_open || self.roots.iter().any(|root| folder.starts_with(root)) {
            return Ok(());
        }
        let folder = folder.display();
        Err(format!("`{folder}` may not be changed; add it to `healing.allow_folders`"))
    }
}

/// The lexical check of allowed folders looks at the path as it is written.
///
/// # Errors
/// A sentence when it has `..`.
pub(super) fn without_dots(setting: &str, path: &Path) -> Result<(), String> {
    match path.components().any(|it| it == Component::ParentDir) {
        true => Err(format!("`{setting}` is `{}`; write it without `..`", path.display())),
        false => Ok(()),
    }
}

/// The path with something behind its name.
pub(super) fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(end);
    path.into()
}

/// Ordinary files of the folder itself that are old enough, the oldest first, with their size in bytes.
fn old(folder: &Folder, names: &str, older_than: Span) -> Result<Vec<(String, u64)>, String> {
    let fits = |(name, found): (String, fs::Metadata)| {
        let changed = found.modified().ok()?;
        let fits = found.is_file() && glob(names, &name) && age(changed) >= older_than.0;
        fits.then_some((changed, name, found.len()))
    };
    let mut found: Vec<_> = folder.entries()?.into_iter().filter_map(fits).collect();
    found.sort();
    found.truncate(FILES_MAX);
    Ok(found.into_iter().map(|(_, name, bytes)| (name, bytes)).collect())
}

/// Against the clock of the files: the age is about the disk, not about a decision.
fn age(changed: SystemTime) -> std::time::Duration {
    changed.elapsed().unwrap_or_default()
}

fn packed(name: &str) -> bool {
    [".gz", ".zst", ".xz", ".bz2"].iter().any(|end| name.ends_with(end))
}

/// The original goes once the copy is on disk.
fn compress(folder: &Folder, name: &str, stop: &Stop) -> Result<u64, String> {
    let failed = |error: io::Error| folder.told(name, &error);
    let packed = format!("{name}.gz");
    if folder.entry(&packed).is_some() {
        return Err(format!("{packed} is there already"));
    }
    let (from, before) = folder.ordinary(name, File::options().read(true))?;
    let mut part = folder.part(&packed)?;
    let mut to = GzEncoder::new(&mut part.file, Compression::default());
    stop.copy(&from, &mut to).map_err(failed)?;
    to.finish().map_err(failed)?;
    part.is_like(&before).map_err(failed)?;
    let after = part.file.metadata().map_err(failed)?.len();
    let same = |it: &fs::Metadata| {
        (it.len(), it.modified().ok()) == (before.len(), before.modified().ok())
    };
    if !from.metadata().is_ok_and(|it| same(&it)) {
        return Err(format!("{name} is still written to"));
    }
    part.finish(&packed)?;
    fs::remove_file(folder.at(name)).map_err(failed)?;
    Ok(before.len().saturating_sub(after))
}

/// Says to work on a thread of its own that nobody waits for it any longer.
#[derive(Clone, Debug, Default)]
struct Stop(Arc<AtomicBool>);

impl Stop {
    fn check(&self) -> io::Result<()> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(io::Error::other("it took too long and was stopped")),
            false => Ok(()),
        }
    }

    fn copy(&self, from: &File, to: &mut impl io::Write) -> io::Result<u64> {
        io::copy(&mut Until { from, stop: self }, to)
    }
}

/// When whoever waits is gone, however that came.
struct Waits(Stop);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// A file that is read until it is enough.
struct Until<'a> {
    from: &'a File,
    stop: &'a Stop,
}

impl Read for Until<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stop.check()?;
        self.from.read(into)
    }
}

async fn blocking(
    work: impl FnOnce(&Stop) -> Result<Done, String> + Send + 'static,
) -> Result<Done, String> {
    let stop = Stop::default();
    let waits = Waits(stop.clone());
    let done = tokio::task::spawn_blocking(move || work(&stop)).await;
    drop(waits);
    done.map_err(|error| error.to_string())?
}

fn five() -> usize {
    5
}

fn any() -> String {
    "*".to_owned()
}

#[cfg(test)]
mod tests;
