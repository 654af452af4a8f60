//! What follows an attempt: nothing, another one, another destination, or a person.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Delivery, Finished};

use super::{Failure, Outcome};

/// When to try again, when to go elsewhere, and when to give up.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The longest wait after the first failure; doubles with each further one.
    pub retry_base: Duration,
    /// The longest wait after any failure.
    pub retry_max: Duration,
    /// Failures of one delivery at one destination.
    pub attempts_max: u32,
    /// How long a delivery is tried.
    pub give_up_after: Duration,
    /// Failures after which the next destination of a route is tried.
    pub fallback_failures: u32,
    /// Time after which the next destination of a route is tried.
    pub fallback_after: Duration,
}

impl Default for Policy {
    /// Two days: an outage of the receiver over a night, or a day, loses nothing.
    fn default() -> Self {
        Self {
            retry_base: Duration::from_secs(5),
            retry_max: Duration::from_secs(4 * 3600),
            attempts_max: 100,
            give_up_after: Duration::from_secs(48 * 3600),
            fallback_failures: 5,
            fallback_after: Duration::from_secs(15 * 60),
        }
    }
}

/// Decides what follows `outcome`.
///
/// Waits are drawn evenly between nearly nothing and the full backoff ("full jitter", after M. Brooker,
/// Exponential Backoff and Jitter, 2015), so that what failed together does not come back together.
/// `jitter` between 0 and 1 is the dice, which the caller throws.
pub fn after(
    policy: &Policy,
    delivery: &Delivery,
    outcome: &Outcome,
    jitter: f64,
    now: DateTime<Utc>,
) -> Finished {
    let Some(failure) = outcome.failure else { return Finished::Delivered };
    let n_failures = delivery.failures.saturating_add(1);
    let age = (now - delivery.begun_at).to_std().unwrap_or_default();
    if let Some(next) = next_of_route(delivery) {
        let is_enough = n_failures >= policy.fallback_failures || age >= policy.fallback_after;
        if failure.is_permanent() || is_enough {
            return Finished::Elsewhere(next.to_owned(), now);
        }
    }
    if failure.is_permanent() {
        return Finished::Dead(outcome.detail.clone());
    }
    let at = now + wait(policy, n_failures, failure, jitter);
    if n_failures >= policy.attempts_max || age >= policy.give_up_after {
        let hours = age.as_secs_f64() / 3600.0;
        let why =
            format!("gave up after {n_failures} failures in {hours:.1} h; {}", outcome.detail);
        return Finished::Dead(why);
    }
    match delivery.expires_at {
        Some(end) if end <= at => Finished::Dead(format!("expired; {}", outcome.detail)),
        _ => Finished::Again(at),
    }
}

/// The destination after the present one.
pub fn next_of_route(delivery: &Delivery) -> Option<&str> {
    let here = delivery.route.iter().position(|name| *name == delivery.destination)?;
    delivery.route.get(here + 1).map(String::as_str)
}

fn wait(policy: &Policy, n_failures: u32, failure: Failure, jitter: f64) -> TimeDelta {
    let doublings = n_failures.saturating_sub(1).min(31);
    let full = policy.retry_base.saturating_mul(1 << doublings).min(policy.retry_max);
    // A tenth of the base keeps a throw of zero from being no wait at all.
    let least = policy.retry_base / 10;
    let wait = least + full.saturating_sub(least).mul_f64(jitter.clamp(0.0, 1.0));
    let wait = match failure {
        Failure::Throttled(asked) => wait.max(asked + asked.mul_f64(0.1 * jitter.clamp(0.0, 1.0))),
        _ => wait,
    };
    TimeDelta::from_std(wait).unwrap_or(TimeDelta::days(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn delivery(failures: u32, route: &[&str], age_h: i64) -> Delivery {
        Delivery {
            id: "d".into(),
            tenant: String::new(),
            idempotency_key: "k".into(),
            destination: "chat".into(),
            route: route.iter().map(|name| (*name).to_owned()).collect(),
            ordering_key: None,
            line: "chat".into(),
            payload: "{}".into(),
            attempts: failures,
            failures,
            begun_at: now() - TimeDelta::hours(age_h),
            expires_at: None,
            leased_until: now(),
        }
    }

    #[track_caller]
    fn check(delivery: &Delivery, failure: Failure, jitter: f64, expected: Finished) {
        let outcome = Outcome::failed(failure, None, "no");
        assert_eq!(after(&Policy::default(), delivery, &outcome, jitter, now()), expected);
    }

    fn again(milliseconds: i64) -> Finished {
        Finished::Again(now() + TimeDelta::milliseconds(milliseconds))
    }

    #[test]
    fn waits_grow_and_are_spread_over_their_whole_length() {
        check(&delivery(0, &[], 0), Failure::Transient, 1.0, again(5_000));
        check(&delivery(0, &[], 0), Failure::Transient, 0.0, again(500));
        check(&delivery(3, &[], 0), Failure::Transient, 1.0, again(40_000));
        check(&delivery(60, &[], 47), Failure::Transient, 1.0, again(4 * 3_600_000));
    }

    #[test]
    fn patience_lasts_a_day_at_least_and_ends() {
        let late = delivery(20, &[], 48);
        let why = "gave up after 21 failures in 48.0 h; no".to_owned();
        check(&late, Failure::Transient, 1.0, Finished::Dead(why));
        check(&delivery(12, &[], 25), Failure::Transient, 0.0, again(500));
    }

    #[test]
    fn a_receiver_is_given_the_time_it_asks_for() {
        let asked = Failure::Throttled(Duration::from_secs(60));
        check(&delivery(0, &[], 0), asked, 0.0, again(60_000));
        check(&delivery(9, &[], 0), asked, 1.0, again(2_560_000));
    }

    #[test]
    fn a_refusal_is_final_unless_there_is_somebody_else_to_tell() {
        check(&delivery(0, &[], 0), Failure::Refused, 0.0, Finished::Dead("no".into()));
        let elsewhere = || Finished::Elsewhere("mail".into(), now());
        check(&delivery(0, &["chat", "mail"], 0), Failure::Refused, 0.0, elsewhere());
        check(&delivery(4, &["chat", "mail"], 0), Failure::Transient, 0.0, elsewhere());
        check(&delivery(0, &["chat", "mail"], 1), Failure::Transient, 0.0, elsewhere());
        check(&delivery(0, &["chat", "mail"], 0), Failure::Transient, 1.0, again(5_000));
        let last = Finished::Dead("no".into());
        check(&delivery(0, &["mail", "chat"], 0), Failure::Misdirected, 0.0, last);
    }

    #[test]
    fn what_is_pointless_by_then_is_not_tried_again() {
        let mut short = delivery(0, &[], 0);
        short.expires_at = Some(now() + TimeDelta::seconds(3));
        check(&short, Failure::Transient, 1.0, Finished::Dead("expired; no".into()));
    }
}
