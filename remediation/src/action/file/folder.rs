//! A folder that is held open: whatever others rename or link meanwhile, files are opened in it and nowhere
//! else. They are reached through `/proc/self/fd`, and a link in place of a file is never followed.

use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    },
    path::{Path, PathBuf},
};

use crate::action::Allowed;

/// Opens no link, and does not wait for whoever is at the other end of a pipe.
pub(in crate::action) const NO_LINK: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

/// Rights of the owner alone.
const OWNER_ONLY: u32 = 0o700;

/// An open folder under an allowed one.
#[derive(Debug)]
pub(in crate::action) struct Folder {
    open: File,
    path: PathBuf,
}

impl Folder {
    /// Opens it, if it lies under an allowed one. One action at a time works in a folder, also when the one
    /// before was not waited for to the end.
    ///
    /// # Errors
    /// A sentence that says where to allow it, or that somebody is at work there.
    pub(in crate::action) fn open(folder: &Path, allowed: &Allowed) -> Result<Self, String> {
        let open = File::options().read(true).custom_flags(libc::O_DIRECTORY).open(folder);
        let open = open.map_err(|error| told(folder, &error))?;
        // As the system knows it, whatever links led here.
        let path = fs::read_link(fd(&open)).map_err(|error| told(folder, &error))?;
        let roots = allowed.roots.iter().filter_map(|root| root.canonicalize().ok());
        // The whole file system is not a folder to allow.
        let mut roots = roots.filter(|root| root.parent().is_some());
        if !roots.any(|root| path.starts_with(root)) {
            return Err(format!("`{}` lies outside of `healing.allow_folders`", path.display()));
        }
        match open.try_lock() {
            Err(TryLockError::WouldBlock) => {
                Err(format!("an action before is still at work in `{}`", path.display()))
            }
            // A file system without locks has `part`.
            _ => Ok(Self { open, path }),
        }
    }

    /// Where a file of this folder is reached.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        fd(&self.open).join(name)
    }

    /// An error about a file of this folder.
    pub(super) fn told(&self, name: &str, error: &io::Error) -> String {
        told(&self.path.join(name), error)
    }

    /// The names in it, with what is known about each; of the entries themselves, links are not followed.
    pub(super) fn entries(&self) -> Result<Vec<(String, Metadata)>, String> {
        let all = fs::read_dir(fd(&self.open)).map_err(|error| told(&self.path, &error))?;
        let known = all.flatten().filter_map(|it| {
            let name = it.file_name().into_string().ok()?;
            let found = self.entry(&name)?;
            Some((name, found))
        });
        Ok(known.collect())
    }

    /// What is known about an entry itself.
    pub(super) fn entry(&self, name: &str) -> Option<Metadata> {
        fs::symlink_metadata(self.at(name)).ok()
    }

    /// Opens an ordinary file.
    pub(in crate::action) fn ordinary(
        &self,
        name: &str,
        options: &mut OpenOptions,
    ) -> Result<(File, Metadata), String> {
        let open = options.custom_flags(NO_LINK).open(self.at(name));
        let open = open.and_then(|file| {
            let found = file.metadata()?;
            Ok((file, found))
        });
        match open {
            Ok((file, found)) if found.is_file() => Ok((file, found)),
            Err(error) if error.raw_os_error() != Some(libc::ELOOP) => Err(self.told(name, &error)),
            _ => Err(format!("{} is no ordinary file", self.path.join(name).display())),
        }
    }

    /// Begins a file that becomes `name` when it is whole. What an interrupted action left is removed.
    pub(super) fn part(&self, name: &str) -> Result<Part<'_>, String> {
        let part = format!("{name}.part");
        let left = fs::remove_file(self.at(&part));
        let file = match left {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => File::options().write(true).create_new(true).mode(0o600).open(self.at(&part)),
        };
        let file = file.map_err(|error| self.told(&part, &error))?;
        Ok(Part { folder: self, file, name: part, whole: false })
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), String> {
        fs::rename(self.at(from), self.at(to)).map_err(|error| self.told(from, &error))
    }
}

/// A file that is not whole yet; it goes if it never is.
#[derive(Debug)]
pub(super) struct Part<'a> {
    folder: &'a Folder,
    pub(super) file: File,
    name: String,
    whole: bool,
}

impl Part<'_> {
    /// Gives it the owner and the mode of another file.
    ///
    /// # Errors
    /// When only the administrator could.
    pub(super) fn belongs_like(&self, like: &Metadata) -> io::Result<()> {
        let found = self.file.metadata()?;
        if (found.uid(), found.gid()) != (like.uid(), like.gid()) {
            fchown(&self.file, Some(like.uid()), Some(like.gid()))?;
        }
        self.file.set_permissions(Permissions::from_mode(like.mode() & 0o7777))
    }

    /// Gives it owner, mode and age of another file. Where the owner cannot be kept, others get no rights
    /// that they did not have.
    pub(super) fn is_like(&self, like: &Metadata) -> io::Result<()> {
        if self.belongs_like(like).is_err() {
            self.file.set_permissions(Permissions::from_mode(like.mode() & OWNER_ONLY))?;
        }
        like.modified().and_then(|it| self.file.set_modified(it))
    }

    /// Puts it, once it is on disk, in its place.
    pub(super) fn finish(mut self, to: &str) -> Result<(), String> {
        self.file.sync_all().map_err(|error| self.folder.told(&self.name, &error))?;
        self.folder.rename(&self.name, to)?;
        self.whole = true;
        Ok(())
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if !self.whole {
            drop(fs::remove_file(self.folder.at(&self.name)));
        }
    }
}

fn fd(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

fn told(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
