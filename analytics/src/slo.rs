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

/// More good events than all, by more than this share, are a contradiction: two counters are not read
/// in the same instant, so a little more is not.
const EXCESS: f64 = 0.2;

/// Windows shorter than this may end between the two readings.
const CLEAR: Duration = Duration::from_secs(HOUR);

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
    /// All events of which it was counted whether they were good.
    pub total: f64,
    /// Events of which nobody counted that: a count of good ones that is missing is not zero.
    pub unjudged: f64,
}

/// Why it is not known how an objective stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// There were no events.
    Nothing,
    /// There were, but nobody counted the good ones.
    GoodMissing,
    /// There were more good ones than there were.
    GoodAboveTotal,
    /// There were none lately, after the budget burnt.
    Silent,
}

impl Doubt {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "no events were counted",
            Self::GoodMissing => "events were counted, but the good ones among them were not",
            Self::GoodAboveTotal => "more good events were counted than events",
            Self::Silent => "no events were counted since the budget burnt",
        }
    }
}

impl Counts {
    /// Why they say nothing about the share of good events, if they do not.
    pub fn doubt(self) -> Option<Doubt> {
        match self.total > 0.0 {
            _ if self.contradicts() => Some(Doubt::GoodAboveTotal),
            true => None,
            false if self.unjudged > 0.0 => Some(Doubt::GoodMissing),
            false => Some(Doubt::Nothing),
        }
    }

    fn contradicts(self) -> bool {
        self.good - self.total > MIN_EVENTS.max(EXCESS * self.total)
    }

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
    /// Why it is not known how it stands, if it is not.
    pub doubt: Option<Doubt>,
}

impl Standing {
    fn unknown(doubt: Doubt) -> Self {
        let burn = [None; WINDOWS.len()];
        let doubt = Some(doubt);
        Self { achieved: None, budget_left: None, burn, firing: None, silent: true, doubt }
    }

    /// Whether it can be said if the budget burns too fast.
    pub fn is_known(&self) -> bool {
        self.achieved.is_some() && (self.firing.is_some() || !self.silent)
    }

    /// `unknown` without events, when they ended while it burnt, or when the good ones are not counted
    /// or cannot be, `warning` or `critical` while it
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
    let mut clear = counts.iter().zip(WINDOWS).filter(|(_, window)| *window >= CLEAR);
    if clear.any(|(counts, _)| counts.contradicts()) {
        return Standing::unknown(Doubt::GoodAboveTotal);
    }
    let burn = counts.map(|counts| counts.burn(objective));
    let beyond = |window: usize, rule: &Rule| burn[window].is_some_and(|burn| burn >= rule.burn);
    let burns = |rule: &Rule| counts[rule.long].total >= MIN_EVENTS && beyond(rule.long, rule);
    let fires = |rule: &Rule| burns(rule) && beyond(rule.short, rule);
    let is_silent = |rule: &Rule| burns(rule) && burn[rule.short].is_none();
    let firing = RULES.iter().position(fires);
    let urgent = &RULES[..firing.unwrap_or(RULES.len())];
    let nothing = burn[RULES[RULES.len() - 1].long].is_none();
    let [.., whole] = counts;
    // The shortest window that has any events has the latest.
    let latest = counts.iter().find(|it| it.total + it.unjudged > 0.0);
    let missing = latest.is_some_and(|it| it.doubt() == Some(Doubt::GoodMissing));
    let silent = missing || nothing || urgent.iter().any(is_silent);
    let doubt = match whole.share() {
        _ if missing => Some(Doubt::GoodMissing),
        None => Some(Doubt::Nothing),
        Some(_) => silent.then_some(Doubt::Silent),
    };
    Standing {
        achieved: whole.share(),
        budget_left: whole.burn(objective).map(|burn| 1.0 - burn),
        burn,
        firing,
        silent,
        doubt: doubt.filter(|_| firing.is_none() || whole.share().is_none()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shares of bad events per window, of a thousand; none where there were none.
    fn check(bad: [Option<f64>; 7], firing: Option<usize>) -> Standing {
        let counts = bad.map(|bad| {
            bad.map_or(Counts::default(), |bad| Counts {
                good: 1_000.0 - bad,
                total: 1_000.0,
                unjudged: 0.0,
            })
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
        let few = Counts { total: MIN_EVENTS - 1.0, ..Counts::default() };
        assert_eq!(standing(0.999, &[few; 7]).firing, None);
        let enough = Counts { total: MIN_EVENTS, ..Counts::default() };
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
    fn a_missing_count_of_good_events_is_not_zero() {
        let of = |good, total, unjudged| Counts { good, total, unjudged };
        let check = |counts: &dyn Fn(usize) -> Counts, state, achieved, doubt| {
            let standing = standing(0.99, &std::array::from_fn(counts));
            let found = (standing.state(), standing.achieved, standing.doubt);
            assert_eq!(found, (state, achieved, doubt), "{standing:?}");
        };
        let missing = Some(Doubt::GoodMissing);
        check(&|_| of(0.0, 0.0, 100.0), "unknown", None, missing);
        // A counter that is there and stands still says that none was good.
        check(&|_| of(0.0, 100.0, 0.0), "critical", Some(0.0), None);
        // It ceased an hour ago; what was before is known.
        let ceased = |n| if n < 3 { of(0.0, 0.0, 50.0) } else { of(500.0, 500.0, 50.0) };
        check(&ceased, "unknown", Some(1.0), missing);
        // It begins: what was before is not known, and need not be.
        let began = |n| of(90.0, 90.0, if n < 3 { 0.0 } else { 400.0 });
        check(&began, "ok", Some(1.0), None);
        // Both ceased: that is silence.
        let both = |n| if n < 3 { Counts::default() } else { of(500.0, 500.0, 50.0) };
        check(&both, "ok", Some(1.0), None);
    }

    #[test]
    fn more_good_events_than_all_are_refused() {
        let check = |good, state, doubt| {
            let standing = standing(0.99, &[Counts { good, total: 100.0, unjudged: 0.0 }; 7]);
            assert_eq!((standing.state(), standing.doubt), (state, doubt), "{standing:?}");
        };
        check(100.0, "ok", None);
        check(110.0, "ok", None);
        check(200.0, "unknown", Some(Doubt::GoodAboveTotal));
    }

    #[test]
    fn without_events_nothing_is_known() {
        let standing = check([None; 7], None);
        assert_eq!((standing.achieved, standing.budget_left), (None, None));
        let nan = Counts { good: f64::NAN, total: 1.0, unjudged: 0.0 };
        assert_eq!(nan.burn(0.9), None);
    }
}
