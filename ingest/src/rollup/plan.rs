//! Which hours have to be made.

use std::{collections::BTreeMap, ops::Range};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::TimestampMicrosecondType,
};
use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use data::{
    Table,
    lake::{DataFile, Lake},
    table::DAY,
};

use super::{GRACE, LATE_EVERY, ROLLUPS};
use crate::{Settings, retain};

/// An hour in microseconds.
pub(super) const HOUR: i64 = 3_600_000_000;

/// Hours of one day that are made at once.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) date: NaiveDate,
    /// Of the day, 0 to 24.
    pub(super) hours: Range<u32>,
    /// Every file of samples that may hold some of them, the oldest first.
    pub(super) sources: Vec<DataFile>,
    /// The version of `samples` that has these files.
    pub(super) version: i64,
    /// What goes, in the order of [`ROLLUPS`] without those whose day has expired.
    pub(super) replaced: Vec<Replaced>,
    /// For a day whose samples are about to expire: when it was made first.
    pub(super) first_made_ms: Option<i64>,
}

/// Files of a rollup that the new ones take the place of.
#[derive(Clone, Debug)]
pub(super) struct Replaced {
    pub(super) table: Table,
    pub(super) files: Vec<DataFile>,
    /// Paths of all files of the day when this was planned, in the order of the snapshot.
    pub(super) planned_on: Vec<String>,
}

impl Work {
    /// From and to, in microseconds since the epoch.
    pub(super) fn range(&self) -> Range<i64> {
        let start = start(self.date);
        start + i64::from(self.hours.start) * HOUR..start + i64::from(self.hours.end) * HOUR
    }
}

/// All work there is, the newest day first: that is what people look at.
pub(super) fn due(lake: &Lake, settings: &Settings, now: DateTime<Utc>) -> Vec<Work> {
    // The rollups first: samples that come in between only make them look older than they are.
    let rollups = ROLLUPS.map(|table| lake.snapshot(table));
    let samples = lake.snapshot(Table::Samples);
    let sources = by_date(&samples.files);
    let made = rollups.each_ref().map(|rollup| by_date(&rollup.files));
    let mut works = vec![];
    for (date, sources) in sources.into_iter().rev() {
        let kept = (0..ROLLUPS.len()).filter(|n| !expired(settings, ROLLUPS[*n], date, now));
        let kept: Vec<_> = kept.collect();
        let of = |n: usize| made[n].get(&date).map_or(&[][..], Vec::as_slice);
        let files: Vec<&[&DataFile]> = kept.iter().map(|n| of(*n)).collect();
        let closed = closed(date, now);
        let Some(hours) = hours(closed, &sources, &files) else { continue };
        let is_expired = expired(settings, Table::Samples, date, now);
        let old = files.iter().flat_map(|files| within(files, &hours));
        let times = old.map(|file| file.modified_ms);
        let first_made_ms = times.clone().min();
        let limit = |ago: TimeDelta| (now - ago).timestamp_millis();
        let too_old = is_expired && first_made_ms.is_some_and(|at| at < limit(retain::GRACE / 2));
        let too_new = times.max().is_some_and(|at| at > limit(LATE_EVERY));
        let late = files.iter().any(|files| remade(files, &sources, &hours));
        if too_old || (late && too_new) {
            continue;
        }
        let range =
            start(date) + i64::from(hours.start) * HOUR..start(date) + i64::from(hours.end) * HOUR;
        let mut sources: Vec<DataFile> =
            sources.into_iter().filter(|file| overlaps(file, &range)).cloned().collect();
        sources.sort_by(|a, b| (a.modified_ms, &a.path).cmp(&(b.modified_ms, &b.path)));
        let replaced = kept.iter().zip(&files).map(|(n, files)| Replaced {
            table: ROLLUPS[*n],
            files: within(files, &hours).cloned().collect(),
            planned_on: files.iter().map(|file| file.path.clone()).collect(),
        });
        works.push(Work {
            date,
            sources,
            version: samples.version,
            replaced: replaced.collect(),
            first_made_ms: first_made_ms.filter(|_| is_expired),
            hours,
        });
    }
    works
}

/// Starts of the hours in `from..to` that `made` covers with all of `sources`.
pub(super) fn fresh(sources: &[DataFile], made: &[DataFile], from: i64, to: i64) -> Vec<i64> {
    let (sources, made) = (by_date(sources), by_date(made));
    let mut hours = vec![];
    for (date, made) in made {
        let day = start(date);
        if day + DAY <= from || day >= to {
            continue;
        }
        let sources = sources.get(&date).map_or(&[][..], Vec::as_slice);
        let fresh = (0..24).filter(|hour| {
            let at = day + i64::from(*hour) * HOUR;
            at + HOUR > from
                && at < to
                && covered(*hour, &made).is_some()
                && !is_dirty(*hour, date, sources, &made)
        });
        hours.extend(fresh.map(|hour| day + i64::from(hour) * HOUR));
    }
    hours
}

/// Starts of the hours that hold these rows of samples.
pub(super) fn hours_of(rows: &RecordBatch) -> crate::Result<Vec<i64>> {
    let ts = crate::read::column(rows, "ts").map_err(crate::buffer::impossible)?;
    let ts = ts.as_primitive::<TimestampMicrosecondType>().values();
    let mut hours: Vec<_> = ts.iter().map(|ts| ts.div_euclid(HOUR) * HOUR).collect();
    hours.dedup();
    Ok(hours)
}

/// The least range of hours that holds all dirty ones and cuts no file in two; the whole day once
/// it has ended.
fn hours(closed: u32, sources: &[&DataFile], files: &[&[&DataFile]]) -> Option<Range<u32>> {
    let date = sources.first()?.date;
    let is_dirty = |hour: &u32| files.iter().any(|made| is_dirty(*hour, date, sources, made));
    let dirty: Vec<_> = (0..closed).filter(is_dirty).collect();
    let in_parts = closed == 24 && files.iter().any(|made| made.len() > 1 && parts(made) > 1);
    if closed == 24 && (in_parts || !dirty.is_empty()) {
        return Some(0..24);
    }
    let mut hours = *dirty.first()?..dirty.last()? + 1;
    loop {
        let cut = files.iter().flat_map(|files| within(files, &hours)).map(|file| made_of(file).0);
        let wide = cut.fold(hours.clone(), |a, b| a.start.min(b.start)..a.end.max(b.end));
        if wide == hours {
            return Some(hours);
        }
        hours = wide;
    }
}

/// How many different ranges of hours there are.
fn parts(made: &[&DataFile]) -> usize {
    let mut starts: Vec<_> = made.iter().map(|file| made_of(file).0.start).collect();
    starts.sort_unstable();
    starts.dedup();
    starts.len()
}

/// Whether hours that were made lack samples that came since.
fn remade(made: &[&DataFile], sources: &[&DataFile], hours: &Range<u32>) -> bool {
    let Some(date) = sources.first().map(|file| file.date) else { return false };
    let mut hours = hours.clone();
    hours.any(|hour| covered(hour, made).is_some() && is_dirty(hour, date, sources, made))
        && hours.all(|hour| covered(hour, made).is_some())
}

/// Whether samples came to an hour that its rollup does not know.
fn is_dirty(hour: u32, date: NaiveDate, sources: &[&DataFile], made: &[&DataFile]) -> bool {
    let from = start(date) + i64::from(hour) * HOUR;
    let range = from..from + HOUR;
    let newest = sources.iter().filter(|file| overlaps(file, &range));
    let newest = newest.map(|file| file.since.unwrap_or(0)).max();
    newest.is_some_and(|newest| covered(hour, made).is_none_or(|since| newest > since))
}

/// The version of `samples` of which an hour has all; `None` if it was never made.
fn covered(hour: u32, made: &[&DataFile]) -> Option<i64> {
    let of = made.iter().map(|file| made_of(file)).filter(|(hours, _)| hours.contains(&hour));
    of.map(|(_, since)| since).min()
}

/// The hours that a file of a rollup covers, and the version of `samples` that it knows. What
/// somebody else has written knows nothing.
fn made_of(file: &DataFile) -> (Range<u32>, i64) {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let hours = || {
        let mut parts = name.strip_prefix('h')?.splitn(3, '-');
        let (from, to) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        (from < to && to <= 24).then_some(from..to)
    };
    match hours() {
        Some(hours) => (hours, file.since.unwrap_or(0)),
        None => (0..24, -1),
    }
}

/// How the name of a file begins that covers `hours`.
pub(super) fn name(hours: &Range<u32>) -> String {
    format!("h{:02}-{:02}", hours.start, hours.end)
}

fn within<'a>(
    files: &'a [&'a DataFile],
    hours: &'a Range<u32>,
) -> impl Iterator<Item = &'a DataFile> + Clone {
    files.iter().copied().filter(|file| {
        let (its, _) = made_of(file);
        its.start < hours.end && hours.start < its.end
    })
}

fn overlaps(file: &DataFile, range: &Range<i64>) -> bool {
    file.ts.is_none_or(|(first, last)| first < range.end && last >= range.start)
}

fn by_date(files: &[DataFile]) -> BTreeMap<NaiveDate, Vec<&DataFile>> {
    let mut days = BTreeMap::<_, Vec<_>>::new();
    for file in files {
        days.entry(file.date).or_default().push(file);
    }
    days
}

/// How many hours of a day have ended, long enough ago.
fn closed(date: NaiveDate, now: DateTime<Utc>) -> u32 {
    let since = ((now - GRACE).timestamp_micros() - start(date)).div_euclid(HOUR);
    since.clamp(0, 24) as u32
}

/// Midnight, in microseconds since the epoch.
fn start(date: NaiveDate) -> i64 {
    i64::from(date.to_epoch_days()) * DAY
}

fn expired(settings: &Settings, table: Table, date: NaiveDate, now: DateTime<Utc>) -> bool {
    let days = settings.retention_days.get(&table);
    let first = days.and_then(|days| now.date_naive().checked_sub_days(Days::new((*days).into())));
    first.is_some_and(|first| date < first)
}
