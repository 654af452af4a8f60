//! Work spread over threads, results in the order of the work.

use std::{
    num::NonZero,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Calls `work` with each number below `n`, on at most `threads` threads (0: one per core).
pub(super) fn map<R: Send>(n: usize, threads: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let cores = || thread::available_parallelism().map_or(1, NonZero::get);
    let threads = if threads == 0 { cores() } else { threads }.min(n);
    if threads <= 1 {
        return (0..n).map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(n));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    if place >= n {
                        break;
                    }
                    let result = work(place);
                    // A thread that panicked ends the whole scope, so nothing is lost by going on.
                    done.lock().unwrap_or_else(|poison| poison.into_inner()).push((place, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(|poison| poison.into_inner());
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order() {
        for threads in [0, 1, 3] {
            assert_eq!(map(100, threads, |n| n * n), (0..100).map(|n| n * n).collect::<Vec<_>>());
        }
        assert!(map(0, 0, |n| n).is_empty());
    }
}
