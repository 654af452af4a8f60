//! The scoring rule of the Numenta Anomaly Benchmark, version 1.1 (Lavin and Ahmad 2015).
//!
//! An alarm inside a window that a person marked earns the more the earlier it comes, once for
//! each window; one outside costs the more the further it is behind the last window; a window
//! without alarm costs. The first 15 % of a file (at most 750 rows) are not scored. A detector
//! that never speaks has 0, a perfect one 100.

/// What alarms cost and earn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// What people call it.
    pub name: &'static str,
    /// Price of a false alarm.
    pub false_positive: f64,
    /// Price of a window without alarm.
    pub false_negative: f64,
}

/// The three published profiles: standard, few false alarms wanted, few misses wanted.
pub const PROFILES: [Profile; 3] = [
    Profile { name: "standard", false_positive: 0.11, false_negative: 1.0 },
    Profile { name: "low_fp", false_positive: 0.22, false_negative: 1.0 },
    Profile { name: "low_fn", false_positive: 0.11, false_negative: 2.0 },
];

/// Share of a file that is not scored, and of how many rows at most.
const PROBATION: (f64, usize) = (0.15, 5_000);

/// What one file brings: the sum of prices and earnings, and how many windows it has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Earned less paid.
    pub raw: f64,
    /// Windows marked.
    pub windows: usize,
    /// Windows in which an alarm came.
    pub found: usize,
    /// Alarms outside of windows.
    pub false_alarms: usize,
}

impl Tally {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            raw: self.raw + other.raw,
            windows: self.windows + other.windows,
            found: self.found + other.found,
            false_alarms: self.false_alarms + other.false_alarms,
        }
    }

    /// On the scale of silence = 0, perfect = 100; `None` without windows.
    pub fn score(self, profile: &Profile) -> Option<f64> {
        let windows = self.windows as f64;
        let silent = -profile.false_negative * windows;
        (self.windows > 0).then(|| 100.0 * (self.raw - silent) / (windows - silent))
    }
}

/// Scores `alarms`, one for each row, against `windows` (first and last row of each, ascending,
/// apart from each other).
pub fn tally(alarms: &[bool], windows: &[(usize, usize)], profile: &Profile) -> Tally {
    let rows = alarms.len();
    let probation = (PROBATION.0 * rows.min(PROBATION.1) as f64) as usize;
    let best = sigmoid(-1.0);
    let mut tally = Tally { windows: windows.len(), ..Tally::default() };
    for &(first, last) in windows.iter().filter(|(_, last)| *last >= probation) {
        let width = (last - first + 1) as f64;
        let seen = (first.max(probation)..=last.min(rows.saturating_sub(1))).find(|n| alarms[*n]);
        match seen {
            Some(row) => {
                tally.found += 1;
                tally.raw += sigmoid(-((last - row + 1) as f64) / width) / best;
            }
            None => tally.raw -= profile.false_negative,
        }
    }
    for row in (probation..rows).filter(|row| alarms[*row]) {
        if windows.iter().any(|(first, last)| (*first..=*last).contains(&row)) {
            continue;
        }
        tally.false_alarms += 1;
        let before = windows.iter().rev().find(|(_, last)| *last < row);
        let position = before.map_or(f64::INFINITY, |(first, last)| {
            (row - last) as f64 / (last - first).max(1) as f64
        });
        tally.raw += sigmoid(position) * profile.false_positive;
    }
    tally
}

/// From 1 at -∞ through 0 at the window's end to -1.
fn sigmoid(position: f64) -> f64 {
    if position > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * position).exp()) - 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(alarms: &[usize], windows: &[(usize, usize)], expected: f64) {
        let rows: Vec<_> = (0..1_000).map(|row| alarms.contains(&row)).collect();
        let score = tally(&rows, windows, &PROFILES[0]).score(&PROFILES[0]).unwrap();
        assert!((score - expected).abs() < 0.01, "{score} instead of {expected}");
    }

    #[test]
    fn silence_is_zero_and_the_first_row_of_each_window_a_hundred() {
        check(&[], &[(300, 399), (600, 699)], 0.0);
        check(&[300, 600], &[(300, 399), (600, 699)], 100.0);
        check(&[300], &[(300, 399), (600, 699)], 50.0);
    }

    #[test]
    fn only_the_first_alarm_in_a_window_counts() {
        check(&[300, 310, 320], &[(300, 399)], 100.0);
    }

    #[test]
    fn a_late_alarm_earns_less_and_a_false_one_costs() {
        // sigmoid(-0.01) / sigmoid(-1) = 0.02533; (1 + 0.02533) / 2.
        check(&[399], &[(300, 399)], 51.27);
        check(&[200], &[(300, 399)], -5.5);
        // One window behind: 0.9866 of the price.
        check(&[498], &[(300, 399)], -5.43);
    }

    #[test]
    fn probation_is_not_scored() {
        check(&[10], &[(300, 399)], 0.0);
        check(&[10], &[(20, 60), (300, 399)], 25.0);
    }
}
