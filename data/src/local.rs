//! Local files as an object store whose writes are on disk when they return.
//!
//! Reading and listing are `object_store`'s own; what changes the disk is ours, because there a
//! returned `put` says nothing about what a loss of power leaves behind.

mod cached;

use std::{
    collections::HashSet,
    fmt, io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt, stream::BoxStream};
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result, UploadPart, local::LocalFileSystem, path::Path,
};

use crate::{disk::Disk, verify::Verified};

/// A folder as an object store.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    inner: Arc<LocalFileSystem>,
    disk: Arc<dyn Disk>,
    temporary: Arc<AtomicU64>,
    /// Folders whose names are known to be on disk.
    folders: Arc<Mutex<HashSet<PathBuf>>>,
    verified: Arc<Verified>,
}

impl Local {
    /// The store of everything under `root`, which is created if it is missing.
    pub(crate) fn new(
        root: &std::path::Path,
        disk: Arc<dyn Disk>,
        verified: Arc<Verified>,
    ) -> Result<Self> {
        disk.create_dir(root).map_err(generic)?;
        let inner = Arc::new(LocalFileSystem::new_with_prefix(root)?);
        // Names of stores that share the folder must not collide.
        let first = rand::random::<u64>() >> 1;
        let temporary = Arc::new(AtomicU64::new(first));
        Ok(Self { inner, disk, temporary, folders: Arc::default(), verified })
    }

    /// Writes under a temporary name, syncs, and only then gives the file its name.
    async fn write(&self, location: &Path, parts: Vec<Bytes>, create: bool) -> Result<PutResult> {
        let to = self.inner.path_to_filesystem(location)?;
        let n = self.temporary.fetch_add(1, Ordering::Relaxed);
        let mut name = to.clone().into_os_string();
        // The local store hides names of this form from listings.
        name.push(format!("#{n}"));
        let from = PathBuf::from(name);
        let (disk, folders) = (Arc::clone(&self.disk), Arc::clone(&self.folders));
        let path = location.to_string();
        let written = tokio::task::spawn_blocking(move || {
            let written = make_folder(&*disk, &folders, &to)
                .and_then(|()| place(&*disk, &from, &to, &parts, create));
            if written.is_err() {
                // Best effort: a file that stays is invisible and harmless.
                disk.remove(&from).ok();
            }
            written
        });
        written.await?.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => Error::AlreadyExists { path, source: source.into() },
            _ => generic(source),
        })?;
        self.verified.is_sound(location);
        let meta = self.inner.head(location).await?;
        Ok(PutResult { e_tag: meta.e_tag, version: None })
    }

    /// Not synced: a file that comes back with the power is deleted again.
    async fn remove(self, location: Path) -> Result<Path> {
        let path = self.inner.path_to_filesystem(&location)?;
        let disk = Arc::clone(&self.disk);
        let removed = tokio::task::spawn_blocking(move || disk.remove(&path)).await?;
        removed.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => {
                Error::NotFound { path: location.to_string(), source: source.into() }
            }
            _ => generic(source),
        })?;
        self.verified.forget(&location);
        Ok(location)
    }

    /// Returns once it is known that the bytes at `location` are the ones that were written.
    async fn verify(&self, location: &Path) -> Result<()> {
        if !self.verified.is_due(location) {
            return Ok(());
        }
        let file = self.inner.path_to_filesystem(location)?;
        let (verified, path) = (Arc::clone(&self.verified), location.clone());
        let read = tokio::task::spawn_blocking(move || verified.read_through(&path, &file));
        match read.await? {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.verified.missing(location);
                Err(Error::NotFound { path: location.to_string(), source: error.into() })
            }
            read => read.map_err(generic),
        }
    }
}

/// The folder that `path` lies in; the disk is asked once for each.
fn make_folder(
    disk: &dyn Disk,
    known: &Mutex<HashSet<PathBuf>>,
    path: &std::path::Path,
) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| std::path::Path::new(""));
    let known = || known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !known().contains(folder) {
        disk.create_dir(folder)?;
        known().insert(folder.to_owned());
    }
    Ok(())
}

fn place(
    disk: &dyn Disk,
    from: &std::path::Path,
    to: &std::path::Path,
    parts: &[Bytes],
    create: bool,
) -> io::Result<()> {
    let dir = to.parent().unwrap_or_else(|| std::path::Path::new(""));
    let mut file = disk.create(from)?;
    for part in parts {
        file.append(part)?;
    }
    file.sync()?;
    drop(file);
    if create {
        let linked = disk.link(from, to);
        if linked.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
            // Whoever reads what was first builds upon it, so it must stay.
            disk.sync_dir(dir)?;
        }
        linked?;
        disk.remove(from)?;
    } else {
        disk.rename(from, to)?;
    }
    disk.sync_dir(dir)
}

fn generic(source: io::Error) -> Error {
    Error::Generic { store: "local disk", source: source.into() }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "synced {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Local {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let create = match options.mode {
            PutMode::Overwrite => false,
            PutMode::Create => true,
            PutMode::Update(_) => {
                return Err(Error::NotImplemented {
                    operation: "conditional update".into(),
                    implementer: self.to_string(),
                });
            }
        };
        self.write(location, payload.into_iter().collect(), create).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let parts = Arc::default();
        Ok(Box::new(Upload { store: self.clone(), location: location.clone(), parts, n_parts: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if !options.head {
            self.verify(location).await?;
        }
        let got = self.inner.get_opts(location, options).await;
        if matches!(got, Err(Error::NotFound { .. })) {
            self.verified.missing(location);
        }
        got
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[std::ops::Range<u64>],
    ) -> Result<Vec<Bytes>> {
        self.verify(location).await?;
        match cached::read(&self.inner.path_to_filesystem(location)?, ranges) {
            Some(parts) => Ok(parts),
            None => self.inner.get_ranges(location, ranges).await,
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        // One after the other: what is deleted from the front of a log must not leave a gap.
        locations.and_then(move |path| store.clone().remove(path)).boxed()
    }

    /// Sorted, as network stores do it and as readers of a Delta log rely on.
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let all = self.inner.list(prefix);
        async move {
            let mut all: Vec<_> = all.try_collect().await?;
            all.sort_by(|a: &ObjectMeta, b| a.location.cmp(&b.location));
            Ok(futures::stream::iter(all.into_iter().map(Ok)))
        }
        .try_flatten_stream()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let bytes = self.inner.get(from).await?.bytes().await?;
        let create = matches!(options.mode, CopyMode::Create);
        self.write(to, vec![bytes], create).await.map(drop)
    }
}

/// Parts are kept in memory until the end: what we upload in parts is bounded by our own files.
#[derive(Debug)]
struct Upload {
    store: Local,
    location: Path,
    parts: Arc<Mutex<Vec<(usize, Bytes)>>>,
    n_parts: usize,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let n = self.n_parts;
        self.n_parts += 1;
        let parts = Arc::clone(&self.parts);
        async move {
            let mut parts = parts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            parts.extend(data.into_iter().map(|bytes| (n, bytes)));
            Ok(())
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let mut parts = {
            let mut parts = self.parts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            std::mem::take(&mut *parts)
        };
        parts.sort_by_key(|(n, _)| *n);
        let parts = parts.into_iter().map(|(_, bytes)| bytes).collect();
        self.store.write(&self.location, parts, false).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        Ok(())
    }
}
