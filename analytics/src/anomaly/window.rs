//! The last values, in order of time and in order of size.

use std::collections::VecDeque;

/// A sliding window whose quantiles are at hand.
#[derive(Clone, Debug)]
pub(super) struct Sorted {
    queue: VecDeque<f32>,
    sorted: Vec<f32>,
    size: usize,
}

impl Sorted {
    pub(super) fn new(size: usize) -> Self {
        Self { queue: VecDeque::with_capacity(size), sorted: Vec::with_capacity(size), size }
    }

    /// Bytes beside the value itself.
    pub(super) fn heap(&self) -> usize {
        (self.queue.capacity() + self.sorted.capacity()) * size_of::<f32>()
    }

    /// Takes in `value`; the oldest leaves when the window is full.
    pub(super) fn push(&mut self, value: f32) {
        if self.queue.len() == self.size
            && let Some(oldest) = self.queue.pop_front()
        {
            let place = self.sorted.partition_point(|it| *it < oldest);
            self.sorted.remove(place);
        }
        let place = self.sorted.partition_point(|it| *it < value);
        self.sorted.insert(place, value);
        self.queue.push_back(value);
    }

    /// The value that a share of the window does not exceed; zero when it is empty.
    pub(super) fn quantile(&self, share: f32) -> f32 {
        let last = self.sorted.len().saturating_sub(1);
        let place = (share * last as f32).round() as usize;
        self.sorted.get(place).copied().unwrap_or(0.0)
    }
}

/// A mean that forgets: like a plain one at first, with a fixed memory later.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    n: f32,
    value: f32,
}

impl Mean {
    pub(super) fn add(&mut self, value: f32, memory: f32) {
        self.n = (self.n + 1.0).min(memory);
        self.value += (value - self.value) / self.n;
    }

    /// As [`Self::add`], but nothing counts for more than `limit` times the mean once there
    /// is one, so that an outlier does not become the scale that hides the next.
    pub(super) fn add_limited(&mut self, value: f32, memory: f32, limit: f32) {
        let capped =
            if self.n >= 16.0 && self.value > 0.0 { value.min(limit * self.value) } else { value };
        self.add(capped, memory);
    }

    pub(super) fn get(&self) -> f32 {
        self.value
    }
}
