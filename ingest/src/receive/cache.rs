//! Remembers the series behind the label bytes that a sender repeats with every request.

use std::{
    fmt,
    hash::BuildHasherDefault,
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use data::Series;
use hashbrown::HashMap;

use crate::hash::IsHash;

/// How many locks; more than the cores that decode at the same time.
const SHARDS: usize = 32;

/// Bytes of a cached series besides its texts: the map's slot, the struct, string headers.
const OVERHEAD: usize = 256;
const LABEL_OVERHEAD: usize = 48;

/// A bounded map from a 128-bit hash of raw label bytes to the series they spell.
///
/// Each shard has two generations. A full young one becomes the old one, and the old one is
/// forgotten; what is asked for again moves to the young one. So a series in steady use stays, at
/// the cost of one lookup and no bookkeeping per hit.
///
/// The hash is not checked against the bytes: by chance, two label sets collide once in 2^64 sets.
pub(super) struct SeriesCache {
    shards: Box<[Mutex<Shard>]>,
    bytes_per_generation: usize,
}

#[derive(Default)]
struct Shard {
    young: Generation,
    old: Generation,
    young_bytes: usize,
}

type Generation = HashMap<u128, Arc<Series>, BuildHasherDefault<IsHash>>;

impl SeriesCache {
    /// A cache that keeps about `bytes` of series.
    pub(super) fn new(bytes: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, bytes_per_generation: bytes / SHARDS / 2 }
    }

    /// The series for `key`; asks `build` when it is not known, and remembers the answer.
    pub(super) fn get<E>(
        &self,
        key: u128,
        build: impl FnOnce() -> Result<Series, E>,
    ) -> Result<Arc<Series>, E> {
        let shard = &self.shards[(key >> 64) as usize % SHARDS];
        let known = lock(shard).find(key, self.bytes_per_generation);
        if let Some(series) = known {
            return Ok(series);
        }
        let series = Arc::new(build()?);
        lock(shard).insert(key, Arc::clone(&series), self.bytes_per_generation);
        Ok(series)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let len = |shard: &Shard| shard.young.len() + shard.old.len();
        self.shards.iter().map(|shard| len(&lock(shard))).sum()
    }
}

impl Shard {
    fn find(&mut self, key: u128, limit: usize) -> Option<Arc<Series>> {
        if let Some(series) = self.young.get(&key) {
            return Some(Arc::clone(series));
        }
        let series = self.old.remove(&key)?;
        self.insert(key, Arc::clone(&series), limit);
        Some(series)
    }

    /// A series too big for the limit is handed out but not kept.
    fn insert(&mut self, key: u128, series: Arc<Series>, limit: usize) {
        let bytes = series.n_bytes() + series.labels().len() * LABEL_OVERHEAD + OVERHEAD;
        if bytes > limit {
            return;
        }
        if self.young_bytes + bytes > limit {
            self.old = mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        self.young.insert(key, series);
    }
}

/// A panic elsewhere cannot leave a shard half changed in a way that matters: it is only a cache.
fn lock(shard: &Mutex<Shard>) -> std::sync::MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for SeriesCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeriesCache")
            .field("bytes_per_generation", &self.bytes_per_generation)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use xxhash_rust::xxh3::xxh3_128;

    use super::*;

    fn series(n: usize) -> Result<Series, Infallible> {
        Ok(Series::new(format!("m{n}"), None, None, vec![]))
    }

    #[test]
    fn a_known_key_is_not_built_again() {
        let cache = SeriesCache::new(1 << 20);
        let first = cache.get(7, || series(1)).unwrap();
        let second = cache.get(7, || series(2)).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn a_million_series_do_not_grow_it_beyond_its_limit() {
        let cache = SeriesCache::new(1 << 20);
        for n in 0..100_000_usize {
            cache.get(xxh3_128(&n.to_le_bytes()), || series(n)).unwrap();
        }
        assert!(cache.len() <= (1 << 20) / OVERHEAD, "{}", cache.len());
    }

    #[test]
    fn what_is_in_use_survives_a_flood() {
        let cache = SeriesCache::new(1 << 20);
        let kept = cache.get(7, || series(0)).unwrap();
        for n in 1..100_000_usize {
            cache.get(xxh3_128(&n.to_le_bytes()), || series(n)).unwrap();
            if n % 1000 == 0 {
                assert!(Arc::ptr_eq(&kept, &cache.get(7, || series(0)).unwrap()));
            }
        }
    }
}
