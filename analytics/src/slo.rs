//! Service level objectives: error budgets, and how fast they burn.
//!
//! A burn rate of 1 uses the budget up exactly by the end of its window. An alert needs a fast
//! burn over a long *and* a short window: the long one proves that it matters, the short one that
//! it still goes on (Google's Site Reliability Workbook, chapter 5).

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Every window that counts are needed for, the shortest first; the last one is the budget's own.
pub const WINDOWS: [Duration; 7] = [
    Duration::from_secs(5 * MINUTE),
    Duration::from_secs(30 * MINUTE),
    Duration::from_secs(HOUR),
    Duration::from_secs(6 * HOUR),
    Duration::from_secs(DAY),
    Duration::from_secs(3 * DAY),
    Duration::from_secs(30 * DAY),
];

/// When a burn is worth an alert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Place of the long window in [`WINDOWS`].
    pub long: usize,
    /// Place of the short one.
    pub short: usize,
    /// The burn rate from which both count.
    pub burn: f64,
    /// How bad it is.
    pub severity: Severity,
}

/// Fewest events of the long window for an alert: of a handful, one that fails says little.
pub const MIN_EVENTS: f64 = 10.0;

/// How bad a burn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A ticket will do.
    Warning,
    /// Somebody must look now.
    Critical,
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// The alerts, the most urgent first: 2 % of a month's budget in an hour, 5 % in six hours, 10 %
/// in three days.
pub const RULES: [Rule; 3] = [
    Rule { long: 2, short: 0, burn: 14.4, severity: Severity::Critical },
    Rule { long: 3, short: 1, burn: 6.0, severity: Severity::Critical },
    Rule { long: 5, short: 3, burn: 1.0, severity: Severity::Warning },
];

/// What was counted in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Events that were as they should be.
    pub good: f64,
    /// All events.
    pub total: f64,
}

impl Counts {
    /// The share of good events, 0 to 1; none without events.
    pub fn share(self) -> Option<f64> {
        let known = self.total.is_finite() && self.good.is_finite() && self.total > 0.0;
        known.then(|| (self.good / self.total).clamp(0.0, 1.0))
    }

    /// How fast the budget of `objective` (0 to 1, below 1) burns; none without events.
    pub fn burn(self, objective: f64) -> Option<f64> {
        Some((1.0 - self.share()?) / (1.0 - objective)).filter(|burn| burn.is_finite())
    }
}

/// How an objective stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Share of good events over the budget's window; none without events.
    pub achieved: Option<f64>,
    /// The share of the budget that is left, 1 when nothing was used, below 0 when overspent.
    pub budget_left: Option<f64>,
    /// Burn rates of [`WINDOWS`].
    pub burn: [Option<f64>; WINDOWS.len()],
    /// The most urgent rule that fires, as its place in [`RULES`].
    pub firing: Option<usize>,
    /// Whether nothing was counted in the short window of a more urgent rule whose long one burns, or in
    /// any: nobody knows whether it is over.
    pub silent: bool,
}

impl Standing {
    /// Whether it can be said if the budget burns too fast.
    pub fn is_known(&self) -> bool {
        self.achieved.is_some() && (self.firing.is_some() || !self.silent)
    }

    /// `unknown` without events, or when they ended while it burnt, `warning` or `critical` while it
    /// burns too fast, `exhausted` when nothing of the budget is left, or `ok`.
    pub fn state(&self) -> &'static str {
        match (self.is_known(), self.firing) {
            (false, _) => "unknown",
            (_, Some(rule)) => RULES[rule].severity.as_str(),
            (_, None) if self.budget_left.is_some_and(|left| left < 0.0) => "exhausted",
            _ => "ok",
        }
    }
}

/// How an objective (0 to 1) stands by the counts of the [`WINDOWS`].
pub fn standing(objective: f64, counts: &[Counts; WINDOWS.len()]) -> Standing {
    let burn = counts.map(|counts| counts.burn(objective));
    let beyond = |window: usize, rule: &Rule| burn[window].is_some_and(|burn| burn >= rule.burn);
    let burns = |rule: &Rule| counts[rule.long].total >= MIN_EVENTS && beyond(rule.long, rule);
    let fires = |rule: &Rule| burns(rule) && beyond(rule.short, rule);
    let is_silent = |rule: &Rule| burns(rule) && burn[rule.short].is_none();
    let firing = RULES.iter().position(fires);
    let urgent = &RULES[..firing.unwrap_or(RULES.len())];
    let nothing = burn[RULES[RULES.len() - 1].long].is_none();
    let [.., whole] = counts;
    Standing {
        achieved: whole.share(),
        budget_left: whole.burn(objective).map(|burn| 1.0 - burn),
        burn,
        firing,
        silent: nothing || urgent.iter().any(is_silent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shares of bad events per window, of a thousand; none where there were none.
    fn check(bad: [Option<f64>; 7], firing: Option<usize>) -> Standing {
        let counts = bad.map(|bad| {
            bad.map_or(Counts::default(), |bad| Counts { good: 1_000.0 - bad, total: 1_000.0 })
        });
        let standing = standing(0.999, &counts);
        assert_eq!(standing.firing, firing, "{standing:?}");
        standing
    }

    #[test]
    fn a_fast_burn_needs_both_windows() {
        check(
            [Some(15.0), Some(15.0), Some(15.0), Some(3.0), Some(1.0), Some(0.5), Some(0.1)],
            Some(0),
        );
        // Over: the short window is calm again.
        check([Some(0.0), Some(9.0), Some(15.0), Some(3.0), Some(1.0), Some(0.5), Some(0.1)], None);
        check(
            [Some(9.0), Some(9.0), Some(9.0), Some(7.0), Some(2.0), Some(0.5), Some(0.1)],
            Some(1),
        );
        check(
            [Some(1.0), Some(1.0), Some(1.0), Some(2.0), Some(2.0), Some(2.0), Some(0.1)],
            Some(2),
        );
    }

    #[test]
    fn a_budget_is_spent_by_what_went_wrong() {
        let standing = check(
            [Some(0.0), Some(0.0), Some(0.0), Some(0.0), Some(0.0), Some(0.0), Some(0.25)],
            None,
        );
        assert!((standing.budget_left.unwrap() - 0.75).abs() < 1e-9);
        let standing = check(
            [Some(0.0), Some(0.0), Some(0.0), Some(0.0), Some(0.0), Some(0.0), Some(2.0)],
            None,
        );
        assert!((standing.budget_left.unwrap() + 1.0).abs() < 1e-9);
    }

    #[test]
    fn one_of_a_handful_raises_no_alert() {
        let few = Counts { good: 0.0, total: MIN_EVENTS - 1.0 };
        assert_eq!(standing(0.999, &[few; 7]).firing, None);
        let enough = Counts { good: 0.0, total: MIN_EVENTS };
        assert_eq!(standing(0.999, &[enough; 7]).firing, Some(0));
    }

    #[test]
    fn silence_while_it_burnt_is_not_over() {
        let (bad, few) = (Some(1_000.0), Some(0.5));
        let silent = |bad, firing, state| {
            let standing = check(bad, firing);
            assert_eq!((standing.state(), standing.silent), (state, true), "{standing:?}");
        };
        silent([None, None, None, None, bad, bad, bad], None, "unknown");
        silent([None, None, bad, bad, few, few, few], None, "unknown");
        silent([None, None, None, None, None, None, bad], None, "unknown");
        // The slow rule still sees it, and whether the fast ones would is not known.
        silent([None, None, bad, bad, bad, bad, bad], Some(2), "warning");
        let calm = check([None, None, None, None, few, few, few], None);
        assert_eq!((calm.state(), calm.silent), ("ok", false));
    }

    #[test]
    fn without_events_nothing_is_known() {
        let standing = check([None; 7], None);
        assert_eq!((standing.achieved, standing.budget_left), (None, None));
        let nan = Counts { good: f64::NAN, total: 1.0 };
        assert_eq!(nan.burn(0.9), None);
    }
}
