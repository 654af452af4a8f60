//! Whether the last values look like anything before: a left matrix profile that forgets.

/// How far back is looked, in values: a day and a half of five-minute values, two weeks and a
/// half of hourly ones.
const LAGS: usize = 448;

/// The nearest past that counts; closer ones resemble the present trivially.
const NEAREST: usize = 24;

/// About how many of the last values are a shape: three lengths, as events differ.
const MEMORY: [f32; 3] = [8.0, 16.0, 32.0];

/// Values kept beyond those that are needed, so that moving them is rare.
const SLACK: usize = 128;

/// For every lag the squared distance of the present to the past that far back, exponentially
/// weighted over the last values. Unlike exact subsequence distances it needs one pass over the
/// lags for each value, no second look at the values that leave, and rounding errors fade.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// The newest value last.
    past: Vec<f32>,
    squares: [Vec<f32>; MEMORY.len()],
    best: Option<usize>,
}

impl Shape {
    pub(super) fn new() -> Self {
        let past = Vec::with_capacity(LAGS + NEAREST + SLACK);
        Self { past, squares: std::array::from_fn(|_| vec![0.0; LAGS]), best: None }
    }

    /// Bytes beside the value itself.
    pub(super) fn heap(&self) -> usize {
        let squares: usize = self.squares.iter().map(Vec::capacity).sum();
        (self.past.capacity() + squares) * size_of::<f32>()
    }

    /// The value that came after the past course that is most like the present one.
    pub(super) fn analog(&self) -> Option<f32> {
        let place = self.past.len().checked_sub(self.best? + NEAREST)?;
        self.past.get(place).copied()
    }

    /// Takes in `value` and returns how far the present course is from any past one, for each
    /// length; zero while there is too little past.
    pub(super) fn push(&mut self, value: f32) -> [f32; MEMORY.len()] {
        let end = self.past.len().saturating_sub(NEAREST - 1);
        let n = end.min(LAGS);
        let past = &self.past[end - n..end];
        let mut least = [0.0; MEMORY.len()];
        for ((squares, memory), least) in self.squares.iter_mut().zip(MEMORY).zip(&mut least) {
            let keep = 1.0 - 1.0 / memory;
            for (square, past) in squares.iter_mut().zip(past.iter().rev()) {
                let off = value - past;
                *square = keep * *square + (1.0 - keep) * off * off;
            }
            *least = nearest(&squares[..n]);
        }
        let middle = &self.squares[1][..n];
        self.best = middle.iter().position(|it| *it == least[1]);
        let least = least.map(f32::sqrt);
        if self.past.len() == LAGS + NEAREST + SLACK {
            self.past.drain(..SLACK);
        }
        self.past.push(value);
        least
    }
}

/// The least of values ≥ 0, zero if there are none. Several at a time, since this is where the time
/// goes: one running minimum would wait for itself at each step.
fn nearest(squares: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut least = [f32::INFINITY; LANES];
    let chunks = squares.chunks_exact(LANES);
    let rest = chunks.remainder().iter().copied().fold(f32::INFINITY, f32::min);
    for chunk in chunks {
        for (least, square) in least.iter_mut().zip(chunk) {
            *least = if *square < *least { *square } else { *least };
        }
    }
    let all = least.into_iter().fold(rest, f32::min);
    if all.is_finite() { all } else { 0.0 }
}
