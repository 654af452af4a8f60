//! Whether the last values look like anything before: a left matrix profile that forgets.

/// How far back is looked, in values: a day and a half of five-minute values, two weeks and a
/// half of hourly ones.
const LAGS: usize = 448;

/// The nearest past that counts; closer ones resemble the present trivially.
const NEAREST: usize = 24;

/// About how many of the last values are a shape: three lengths, as events differ.
const MEMORY: [f32; 3] = [8.0, 16.0, 32.0];

/// Values beyond the inverse of this many times the unit are compressed, so that how high a spike was
/// matters less than where it was.
const ZOOM: f32 = 0.3;

/// By how much the unit may change before the past is brought to the new one.
const TOLERANCE: f32 = 1.1;

/// How far off a value is where nothing is known to be usual.
const UNKNOWN: f32 = 1e3;

/// Values kept beyond those that are needed, so that moving them is rare.
const SLACK: usize = 128;

/// For every lag the squared distance of the present to the past that far back, exponentially
/// weighted over the last values. Unlike exact subsequence distances it needs one pass over the
/// lags for each value, no second look at the values that leave, and rounding errors fade.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// The newest value last.
    past: Vec<f32>,
    /// The unit of what is compressed; zero before it is known.
    unit: f32,
    squares: [Vec<f32>; MEMORY.len()],
    /// The same to what is usual at this time of the day and week.
    from_usual: [f32; MEMORY.len()],
    best: Option<usize>,
}

/// How far the present course is from others, for each length.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Distance {
    /// From any past one; zero while there is too little past.
    pub(super) from_past: [f32; MEMORY.len()],
    /// From any past one and from what is usual, whichever is nearer.
    pub(super) unexplained: [f32; MEMORY.len()],
}

impl Shape {
    pub(super) fn new() -> Self {
        let past = Vec::with_capacity(LAGS + NEAREST + SLACK);
        let squares = std::array::from_fn(|_| vec![0.0; LAGS]);
        Self { past, unit: 0.0, squares, from_usual: [0.0; MEMORY.len()], best: None }
    }

    /// Bytes beside the value itself.
    pub(super) fn heap(&self) -> usize {
        let squares: usize = self.squares.iter().map(Vec::capacity).sum();
        (self.past.capacity() + squares) * size_of::<f32>()
    }

    /// The value that came after the past course that is most like the present one.
    pub(super) fn analog(&self) -> Option<f32> {
        let place = self.past.len().checked_sub(self.best? + NEAREST)?;
        self.past.get(place).map(|small| small.sinh() * self.unit / ZOOM)
    }

    /// Takes in `value`, where `usual` is known to be usual and `unit` is the scale of what is off.
    pub(super) fn push(&mut self, value: f32, usual: Option<f32>, unit: f32) -> Distance {
        self.measure_in(unit);
        let value = self.compressed(value);
        let usual = usual.map(|it| self.compressed(it));
        let end = self.past.len().saturating_sub(NEAREST - 1);
        let n = end.min(LAGS);
        let past = &self.past[end - n..end];
        let mut distance = Distance::default();
        let mut least = [0.0; MEMORY.len()];
        for (k, (squares, memory)) in self.squares.iter_mut().zip(MEMORY).enumerate() {
            let keep = 1.0 - 1.0 / memory;
            for (square, past) in squares.iter_mut().zip(past.iter().rev()) {
                let off = value - past;
                *square = keep * *square + (1.0 - keep) * off * off;
            }
            least[k] = nearest(&squares[..n]);
            let off = usual.map_or(UNKNOWN, |it| value - it);
            self.from_usual[k] = keep * self.from_usual[k] + (1.0 - keep) * off * off;
            distance.from_past[k] = least[k].sqrt();
            distance.unexplained[k] = least[k].min(self.from_usual[k]).sqrt();
        }
        self.best = self.squares[1][..n].iter().position(|it| *it == least[1]);
        if self.past.len() == LAGS + NEAREST + SLACK {
            self.past.drain(..SLACK);
        }
        self.past.push(value);
        distance
    }

    fn compressed(&self, value: f32) -> f32 {
        if self.unit > 0.0 { (ZOOM * value / self.unit).asinh() } else { 0.0 }
    }

    /// The unit settles as a series becomes known. A past in another unit would be unlike the
    /// present for no other reason.
    fn measure_in(&mut self, unit: f32) {
        let change = self.unit / unit;
        if unit > 0.0 && !(1.0 / TOLERANCE..TOLERANCE).contains(&change) {
            if self.unit > 0.0 {
                self.past.iter_mut().for_each(|it| *it = (it.sinh() * change).asinh());
            }
            self.unit = unit;
        }
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
