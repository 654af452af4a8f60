//! What comes back by the clock.
//!
//! A backup each night, at whatever minute, and a batch on Sundays are unlike the rest of the day, and
//! a profile of the day can not learn what comes only on some of them or never at the same minute. So
//! what was told is remembered with its time, and what comes again at that time is known.

const MINUTE_US: i64 = 60_000_000;
const DAY_US: i64 = 1_440 * MINUTE_US;
const WEEK_US: i64 = 7 * DAY_US;

/// Events that are remembered, and for how long.
const EVENTS: usize = 8;
const MEMORY_US: i64 = 5 * WEEK_US;

/// By how much the time of day may differ.
const LATE_US: i64 = 45 * MINUTE_US;

/// What comes at a time of the day is known when it has come so often; once is enough at a time of the
/// week, since a fault is unlikely to keep an appointment.
const DAYS: usize = 2;

/// An event is like one before whose deviation has the same direction and is so many times as large.
const ALIKE: std::ops::RangeInclusive<f32> = 0.3..=1.25;

#[derive(Clone, Copy, Debug)]
struct Event {
    ts: i64,
    off: f32,
}

/// The last events of a series.
#[derive(Clone, Debug, Default)]
pub(super) struct Recurring {
    events: [Option<Event>; EVENTS],
}

impl Recurring {
    /// Whether an event at `ts` (µs), so far `off` what is usual, keeps an appointment; it is remembered
    /// from then on.
    pub(super) fn is_known(&mut self, ts: i64, off: f32) -> bool {
        let at =
            |period| self.events.iter().flatten().filter(move |it| is_same(it, ts, off, period));
        let is_known = at(DAY_US).count() >= DAYS || at(WEEK_US).count() > 0;
        let oldest_of = |is_like: bool| {
            let of =
                |it: &Option<Event>| it.is_some_and(|it| is_same(&it, ts, off, DAY_US)) == is_like;
            let all = (0..EVENTS).filter(|n| of(&self.events[*n]));
            all.min_by_key(|n| self.events[*n].map(|it| it.ts))
        };
        // One that is known takes the place of its like: many of them would drive out all others.
        let place = oldest_of(is_known).or_else(|| oldest_of(!is_known)).unwrap_or(0);
        self.events[place] = Some(Event { ts, off });
        is_known
    }
}

fn is_same(event: &Event, ts: i64, off: f32, period: i64) -> bool {
    let past = ts.saturating_sub(event.ts);
    let late = (past + LATE_US).rem_euclid(period);
    (period / 2..MEMORY_US).contains(&past)
        && late <= 2 * LATE_US
        && ALIKE.contains(&(off / event.off))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 60 * MINUTE_US;

    /// Which of the events, by day, hour and how far off, are known.
    #[track_caller]
    fn check(events: &[(i64, i64, f32)], known: &[usize]) {
        let mut recurring = Recurring::default();
        let told = events
            .iter()
            .map(|(day, hour, off)| recurring.is_known(day * DAY_US + hour * HOUR_US, *off));
        let told: Vec<_> = told.collect();
        let told: Vec<_> = (0..events.len()).filter(|n| told[*n]).collect();
        assert_eq!(told, known);
    }

    #[test]
    fn what_comes_a_third_time_at_an_hour_or_a_second_time_at_an_hour_of_the_week_is_known() {
        check(&[(0, 2, 40.0), (3, 2, 38.0), (5, 2, 41.0)], &[2]);
        check(&[(6, 2, 60.0), (13, 2, 45.0), (20, 2, 30.0)], &[1, 2]);
    }

    #[test]
    fn what_is_further_or_the_other_way_or_at_another_hour_is_not_known() {
        check(&[(6, 2, 40.0), (13, 2, 60.0)], &[]);
        check(&[(6, 2, 40.0), (13, 2, -40.0)], &[]);
        check(&[(6, 2, 40.0), (13, 4, 40.0)], &[]);
    }

    #[test]
    fn what_comes_daily_does_not_drive_out_what_comes_weekly() {
        let weekly = [(0, 12, -9.0)];
        let daily = (0..7).map(|day| (day, 20, 40.0));
        let all: Vec<_> = weekly.into_iter().chain(daily).chain([(7, 12, -9.0)]).collect();
        check(&all, &[3, 4, 5, 6, 7, 8]);
    }
}
