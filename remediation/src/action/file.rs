//! Files under folders that `healing.allow_folders` names: rotated, compressed, removed.
//!
//! A path is taken apart by the system first (`canonicalize`), so neither `..` nor a link leads out of
//! the allowed folders; a file that is itself a link is left alone.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use async_trait::async_trait;
use flate2::{Compression, write::GzEncoder};
use serde::Deserialize;

use super::{Act, Allowed, Context, Done, has_names};
use crate::{playbook::glob, span::Span};

/// Files that one action touches at most.
const FILES_MAX: usize = 1_000;

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
        if self.keep == 0 {
            return Err("`keep` must be at least 1".to_owned());
        }
        allowed.folder(self.path.parent().unwrap_or(Path::new("/")))
    }

    async fn act(&self, context: &Context) -> Result<Done, String> {
        let (it, allowed) = (self.clone(), context.allowed.clone());
        blocking(move || it.rotate(&allowed)).await
    }
}

impl RotateFile {
    fn rotate(&self, allowed: &Allowed) -> Result<Done, String> {
        let folder = within(self.path.parent().ok_or("`path` is no file")?, allowed)?;
        let name = self.path.file_name().and_then(|it| it.to_str()).ok_or("`path` is no file")?;
        let path = folder.join(name);
        let found = fs::symlink_metadata(&path).map_err(|error| told(&path, &error))?;
        if !found.is_file() {
            return Err(format!("{} is no ordinary file", path.display()));
        }
        let numbered = |n: usize| folder.join(format!("{name}.{n}"));
        for n in (1..self.keep).rev().filter(|n| numbered(*n).exists()) {
            fs::rename(numbered(n), numbered(n + 1)).map_err(|error| told(&numbered(n), &error))?;
        }
        let first = numbered(1);
        if self.copy {
            fs::copy(&path, &first).map_err(|error| told(&first, &error))?;
            sync(&first)?;
            let file = File::options().write(true).open(&path);
            file.and_then(|file| file.set_len(0)).map_err(|error| told(&path, &error))?;
        } else {
            fs::rename(&path, &first).map_err(|error| told(&path, &error))?;
            let mode = found.permissions();
            let new = File::create_new(&path).map_err(|error| told(&path, &error))?;
            new.set_permissions(mode).map_err(|error| told(&path, &error))?;
        }
        Ok(Done::new(format!("{} bytes are now {}", found.len(), first.display())))
    }
}

#[async_trait]
impl Act for CompressFiles {
    fn target(&self) -> String {
        format!("file:{}", self.folder.display())
    }

    fn check(&self, allowed: &Allowed) -> Result<(), String> {
        allowed.folder(&self.folder)
    }

    async fn act(&self, context: &Context) -> Result<Done, String> {
        let (it, allowed) = (self.clone(), context.allowed.clone());
        let work = move || {
            let (mut n, mut freed) = (0, 0);
            let files = old(&it.folder, &it.names, it.older_than, &allowed)?;
            for path in files.iter().filter(|it| !packed(it)) {
                freed += compress(path)?;
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
        allowed.folder(&self.folder)
    }

    async fn act(&self, context: &Context) -> Result<Done, String> {
        let (it, allowed) = (self.clone(), context.allowed.clone());
        let work = move || {
            let (mut n, mut freed) = (0, 0);
            for path in old(&it.folder, &it.names, it.older_than, &allowed)? {
                freed += fs::metadata(&path).map_or(0, |found| found.len());
                fs::remove_file(&path).map_err(|error| told(&path, &error))?;
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

/// The folder as the system knows it, if it lies under an allowed one.
pub(super) fn within(folder: &Path, allowed: &Allowed) -> Result<PathBuf, String> {
    let real = folder.canonicalize().map_err(|error| told(folder, &error))?;
    let roots = allowed.roots.iter().filter_map(|root| root.canonicalize().ok());
    // The whole file system is not a folder to allow.
    let mut roots = roots.filter(|root| root.parent().is_some());
    match roots.any(|root| real.starts_with(root)) {
        true => Ok(real),
        false => Err(format!("`{}` lies outside of `healing.allow_folders`", real.display())),
    }
}

/// Ordinary files of the folder itself that are old enough, the oldest first.
fn old(
    folder: &Path,
    names: &str,
    older_than: Span,
    allowed: &Allowed,
) -> Result<Vec<PathBuf>, String> {
    let folder = within(folder, allowed)?;
    let mut found = vec![];
    for entry in fs::read_dir(&folder).map_err(|error| told(&folder, &error))?.flatten() {
        // Of the entry itself: links are not followed.
        let Ok(data) = fs::symlink_metadata(entry.path()) else { continue };
        let fits = entry.file_name().to_str().is_some_and(|name| glob(names, name));
        let (true, Ok(changed)) = (fits && data.is_file(), data.modified()) else { continue };
        if age(changed) >= older_than.0 {
            found.push((changed, entry.path()));
        }
    }
    found.sort();
    found.truncate(FILES_MAX);
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Against the clock of the files: the age is about the disk, not about a decision.
fn age(changed: SystemTime) -> std::time::Duration {
    changed.elapsed().unwrap_or_default()
}

fn packed(path: &Path) -> bool {
    path.extension().is_some_and(|it| ["gz", "zst", "xz", "bz2"].iter().any(|known| it == *known))
}

/// The original goes once the copy is on disk.
fn compress(path: &Path) -> Result<u64, String> {
    let failed = |error: io::Error| told(path, &error);
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    let (packed, part) = (PathBuf::from(&name), PathBuf::from(name).with_extension("gz.part"));
    if packed.exists() {
        return Err(format!("{} is there already", packed.display()));
    }
    let mut from = File::open(path).map_err(failed)?;
    let mut to = GzEncoder::new(File::create(&part).map_err(failed)?, Compression::default());
    let before = io::copy(&mut from, &mut to).map_err(failed)?;
    to.finish().and_then(|file| file.sync_all()).map_err(failed)?;
    fs::rename(&part, &packed).map_err(failed)?;
    fs::remove_file(path).map_err(failed)?;
    let after = fs::metadata(&packed).map_or(0, |found| found.len());
    Ok(before.saturating_sub(after))
}

fn sync(path: &Path) -> Result<(), String> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| told(path, &error))
}

fn told(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

async fn blocking(
    work: impl FnOnce() -> Result<Done, String> + Send + 'static,
) -> Result<Done, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

fn five() -> usize {
    5
}

fn any() -> String {
    "*".to_owned()
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, time::Duration};

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("pipenotify-{name}-{}", std::process::id()));
            drop(fs::remove_dir_all(&path));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn context(&self) -> Context {
            let roots = vec![self.0.clone()];
            let allowed = Allowed { roots, ..Allowed::default() };
            Context::new("k", allowed, Duration::from_secs(5), Default::default())
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<_> =
                entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[tokio::test]
    async fn a_log_is_rotated_and_so_many_old_ones_stay() {
        let folder = Folder::new("rotate");
        let path = folder.0.join("log");
        for (n, copy) in [false, true, false].into_iter().enumerate() {
            fs::write(&path, format!("{n}")).unwrap();
            let it = RotateFile { path: path.clone(), keep: 2, copy };
            super::super::run(&it, &folder.context()).await.unwrap();
        }
        assert_eq!(folder.names(), ["log", "log.1", "log.2"]);
        assert_eq!(fs::read(folder.0.join("log.1")).unwrap(), b"2");
        assert_eq!(fs::read(folder.0.join("log")).unwrap(), b"");
    }

    #[tokio::test]
    async fn old_files_are_compressed_and_removed_and_links_are_left_alone() {
        let (folder, elsewhere) = (Folder::new("old"), Folder::new("elsewhere"));
        let secret = elsewhere.0.join("kept");
        fs::write(&secret, "x").unwrap();
        fs::write(folder.0.join("a.log"), "a".repeat(10_000)).unwrap();
        symlink(&secret, folder.0.join("link.log")).unwrap();
        let older_than = Span(Duration::ZERO);
        let compress =
            CompressFiles { folder: folder.0.clone(), older_than, names: "*.log".into() };
        super::super::run(&compress, &folder.context()).await.unwrap();
        assert_eq!(folder.names(), ["a.log.gz", "link.log"]);
        let delete = DeleteFiles { folder: folder.0.clone(), older_than, names: "*".into() };
        super::super::run(&delete, &folder.context()).await.unwrap();
        assert_eq!(folder.names(), ["link.log"]);
        assert!(secret.exists());
        // A link to a folder, or `..`, leads nowhere.
        symlink(&elsewhere.0, folder.0.join("out")).unwrap();
        let out = DeleteFiles { folder: folder.0.join("out"), older_than, names: "*".into() };
        let error = super::super::run(&out, &folder.context()).await.unwrap_err();
        assert!(error.contains("lies outside"), "{error}");
        assert!(secret.exists());
    }
}
