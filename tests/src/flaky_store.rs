//! An object store on which one call fails, before or after it has done its work, and every call takes
//! its time.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt, TryFutureExt, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// When a failing call does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fails {
    /// Never: the call fails at once.
    Before,
    /// It does, and only the answer is lost.
    After,
}

/// A store that fails as it is told.
#[derive(Clone, Debug)]
pub struct FlakyStore {
    inner: Arc<dyn ObjectStore>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    n_calls: u64,
    failing: Option<(u64, Fails)>,
    dice: StdRng,
    delay_ms_max: u64,
}

impl FlakyStore {
    /// A store that works, and waits up to `delay_ms_max` milliseconds before and after each call.
    pub fn new(inner: Arc<dyn ObjectStore>, seed: u64, delay_ms_max: u64) -> Self {
        let dice = StdRng::seed_from_u64(seed);
        let state = State { n_calls: 0, failing: None, dice, delay_ms_max };
        Self { inner, state: Arc::new(Mutex::new(state)) }
    }

    /// Lets call number `n` fail, counted from 0 over the life of the store.
    pub fn fail(&self, n: u64, fails: Fails) {
        self.lock().failing = Some((n, fails));
    }

    /// Calls so far.
    pub fn n_calls(&self) -> u64 {
        self.lock().n_calls
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Fails> {
        let mut state = self.lock();
        state.n_calls += 1;
        state.failing.filter(|(n, _)| *n + 1 == state.n_calls).map(|(_, fails)| fails)
    }

    async fn wait(&self) {
        let delay = {
            let mut state = self.lock();
            let max = state.delay_ms_max;
            if max == 0 { 0 } else { state.dice.random_range(0..=max) }
        };
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
    }

    async fn call<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let fails = self.next();
        if fails == Some(Fails::Before) {
            return Err(failed());
        }
        self.wait().await;
        let done = work.await;
        self.wait().await;
        if fails == Some(Fails::After) { Err(failed()) } else { done }
    }
}

fn failed() -> Error {
    Error::Generic { store: "flaky", source: "the call failed, as asked".into() }
}

impl fmt::Display for FlakyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flaky {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FlakyStore {
    async fn put_opts(
        &self,
        to: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.call(self.inner.put_opts(to, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.call(self.inner.put_multipart_opts(to, options)).await
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        self.call(self.inner.get_opts(from, options)).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |path: Result<Path>| {
            let store = store.clone();
            async move {
                let path = futures::stream::iter([path]).boxed();
                let mut deleted = store.inner.delete_stream(path);
                let first = async { deleted.next().await.expect("one path, one answer") };
                store.call(first).await
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.inner.list(prefix).collect::<Vec<_>>();
        let store = self.clone();
        let all = async move {
            let listed = store.call(listed.map(Ok)).await?;
            Ok(futures::stream::iter(listed))
        };
        all.try_flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.call(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.call(self.inner.copy_opts(from, to, options)).await
    }
}
