//! Whether a trouble is still there, and whether what was done about it helped.

use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Action, Symptom};

use crate::{
    kind::{Kind, Severity},
    playbook::Verify,
};

/// What was foreseen is averted once the room to the limit has grown by this share.
const ROOM_SHARE: f64 = 0.1;

/// A change of less than this share counts as none when it is asked whether things got worse.
const WORSE_SHARE: f64 = 0.1;

/// How old a number may be that nothing has confirmed yet, if nothing says how often it is measured.
const FRESH: TimeDelta = TimeDelta::seconds(60);

/// A number is old when it is so many times as old as the time between two of them.
const USUAL_TIMES: i32 = 3;

/// What the measured metric says of an action.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The number; `None` when there was none.
    pub value: Option<f64>,
    /// Whether it is as it should be.
    pub good: bool,
    /// Whether a higher number is worse; `None` when that is not known.
    pub higher_is_worse: Option<bool>,
    /// How much it has grown by itself since the number before: an age does, whatever is done.
    pub drift: f64,
}

/// How recently a number was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// When it was last.
    pub latest: Option<DateTime<Utc>>,
    /// When it was the time before.
    pub before: Option<DateTime<Utc>>,
}

/// Whether a trouble that began at `since` is confirmed by what was measured from then on.
///
/// `is_bad` says so, `None` if nothing was. Then a further measurement is waited for until `patience`, and
/// after that one counts that is as fresh as can be expected: what is measured rarely is not waited for, and
/// what is measured no more is no reason to act.
///
/// # Errors
/// A sentence why nothing is done yet.
pub fn confirmed(
    is_bad: Option<bool>,
    since: DateTime<Utc>,
    patience: TimeDelta,
    fresh: Freshness,
    now: DateTime<Utc>,
) -> Result<(), String> {
    match is_bad {
        Some(true) => return Ok(()),
        Some(false) => return Err("what was measured since is well".to_owned()),
        None if now - since < patience => return Err("nothing was measured since".to_owned()),
        None => (),
    }
    let Some(latest) = fresh.latest else { return Err("nothing is measured any more".to_owned()) };
    let usual = fresh.before.map_or(TimeDelta::zero(), |before| latest - before);
    match now - latest <= (usual * USUAL_TIMES).max(patience * 2).max(FRESH) {
        true => Ok(()),
        false => Err(format!("nothing was measured since {}", latest.to_rfc3339())),
    }
}

/// How the looks since an action went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// None was good.
    Bad,
    /// They are good since then.
    GoodSince(DateTime<Utc>),
    /// They were good, and are bad again since then.
    BadAgainSince(DateTime<Utc>),
}

impl Looks {
    /// After one more.
    pub fn after(self, good: bool, now: DateTime<Utc>) -> Self {
        match (self, good) {
            (Self::GoodSince(_), true) => self,
            (_, true) => Self::GoodSince(now),
            (Self::GoodSince(_), false) => Self::BadAgainSince(now),
            (_, false) => self,
        }
    }
}

/// Judges an action that is done: `effective`, `no_effect`, `worse` or `unverified`.
///
/// `None` while it is too early. What was good and is bad again for as long as it should have stayed good is
/// judged before its time is up.
pub fn judge(
    action: &Action,
    verify: &Verify,
    measured: Measured,
    looks: Looks,
    now: DateTime<Utc>,
) -> Option<&'static str> {
    if action.verify_from.is_some_and(|from| now < from) {
        return None;
    }
    let hold = verify.hold.delta();
    if matches!(looks, Looks::GoodSince(since) if measured.good && now - since >= hold) {
        return Some("effective");
    }
    let is_back =
        matches!(looks, Looks::BadAgainSince(since) if !hold.is_zero() && now - since >= hold);
    let is_late = is_back || action.verify_until.is_none_or(|until| now >= until);
    if !is_late || measured.good {
        // Good at the end, but not for long enough: it gets the time it needs, and no more.
        let end = action.verify_until.unwrap_or(now) + verify.hold.delta() + TimeDelta::seconds(1);
        return (measured.good && now >= end).then_some("effective");
    }
    match (action.before, measured.value, measured.higher_is_worse) {
        (_, None, _) => Some("unverified"),
        (Some(before), Some(after), Some(higher)) => {
            let moved = if higher { after - before - measured.drift } else { before - after };
            let is_worse = moved > WORSE_SHARE * before.abs() && moved > 0.0;
            Some(if is_worse { "worse" } else { "no_effect" })
        }
        _ => Some("no_effect"),
    }
}

/// Whether what was foreseen is averted: the number is within its limit and has moved away from it, by more
/// than a little, since before the action.
///
/// Whether it will be reached all the same, the next forecast says.
pub fn is_averted(before: Option<f64>, value: f64, limit: f64, higher_is_worse: bool) -> bool {
    let room = |value: f64| if higher_is_worse { limit - value } else { value - limit };
    before.is_some_and(|before| {
        let gained = room(value) - room(before);
        room(value) > 0.0 && gained > 0.0 && gained >= ROOM_SHARE * room(before)
    })
}

/// What shows that an action has put its component out of work: it ran before, and does not since then.
/// Nobody waits for such an action to help.
pub fn outage_since<'a>(
    action: &Action,
    symptoms: &'a [Symptom],
    now: DateTime<Utc>,
) -> Option<&'a Symptom> {
    let is_outage = |kind: &str| kind.parse().is_ok_and(Kind::is_outage);
    let acted = action.acted_at?;
    if is_outage(&action.incident_kind) || action.verify_from.is_none_or(|from| now < from) {
        return None;
    }
    symptoms.iter().find(|it| {
        (it.bad && it.component == action.component && is_outage(&it.kind))
            && it.severity == Severity::Critical.as_str()
            && it.bad_since.is_some_and(|since| since > acted)
    })
}
