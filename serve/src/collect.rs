//! From `[[collect.*]]` to running collectors.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use ingest::{
    Ingest, Sink,
    apart::Apart,
    collector::{self, Collector, Schedule},
    pace::Pace,
    source,
};
use serde::de::DeserializeOwned;

use crate::{
    clock,
    config::{Collect, Source},
    delivery::Outbox,
    state::Clocked,
    tasks::Tasks,
};

/// A collector and when it works.
type Planned = (Box<dyn Collector>, Schedule);

/// Starts every configured collector in a task of its own.
pub(crate) fn start(
    collect: &Collect,
    ingest: &Arc<Ingest>,
    outbox: &Outbox,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let mut all = plan(collect)?;
    let own = Arc::clone(ingest);
    let outbox = outbox.clone();
    let own = source::self_metrics::new(move || {
        let mut all = readings(&own.stats());
        let now = clock::now();
        all.extend(outbox.metrics().readings(&outbox.depths(), now));
        let names = outbox.registry().all().into_iter().map(|it| it.row.name.clone());
        all.extend(outbox.metrics().failing_for(names, now));
        all
    });
    let schedule = |source: &Source| Schedule { every: source.every.0, timeout: source.timeout.0 };
    if let Some(host) = collect.host.first() {
        all.push((Box::new(own), schedule(host)));
    }
    let (pace, kept) = (Arc::<Pace>::default(), tasks.stopping());
    let keeper = Arc::clone(&pace);
    tasks.spawn(async move { keeper.keep(kept).await });
    for (collector, schedule) in all {
        let sink: Arc<dyn Sink> = Arc::new(Clocked(Arc::clone(ingest)));
        let (pace, stop) = (Arc::clone(&pace), tasks.stopping());
        tasks.spawn(collector::run(collector, schedule, sink, pace, clock::now, stop));
    }
    Ok(())
}

/// Builds every collector; the first that cannot work is named.
pub(crate) fn plan(collect: &Collect) -> anyhow::Result<Vec<Planned>> {
    each(collect).into_iter().collect()
}

/// What is wrong with entries of `[[collect.*]]`, a sentence each, without opening anything.
pub(crate) fn faults(collect: &Collect) -> Vec<String> {
    // To build one that reads log files may set its damaged state aside.
    let log = collect.log.iter().enumerate().filter_map(|(n, source)| {
        let settings = source.settings::<source::log_file::Settings>(&format!("collect.log[{n}]"));
        settings.err().map(|error| error.to_string())
    });
    let others = Collect { log: vec![], ..collect.clone() };
    let others = each(&others).into_iter().filter_map(|it| it.err().map(|why| format!("{why:#}")));
    others.chain(log).collect()
}

/// Every collector, or why it cannot work.
fn each(collect: &Collect) -> Vec<anyhow::Result<Planned>> {
    let mut all = vec![];
    macro_rules! sources {
        ($when:ident: $($key:ident => $module:ident),* $(,)?) => {$(
            for (n, source) in collect.$key.iter().enumerate() {
                let place = format!("collect.{}[{n}]", stringify!($key));
                all.push($when(source, &place, source::$module::new));
            }
        )*};
    }
    sources! { reading: host => host, process => process }
    sources! { asking: http => http_probe, tcp => tcp_probe, prometheus => prometheus }
    sources! { asking: postgres => postgres, redis => redis, rabbitmq => rabbitmq }
    sources! { reading: log => log_file }
    all
}

fn build<S: DeserializeOwned, C>(
    source: &Source,
    place: &str,
    new: fn(S) -> Result<C, String>,
) -> anyhow::Result<C> {
    let made = new(source.settings(place)?).map_err(|why| anyhow!(why));
    made.with_context(|| place.to_owned())
}

/// One that reads what this machine has at hand.
fn reading<S: DeserializeOwned, C: Collector + 'static>(
    source: &Source,
    place: &str,
    new: fn(S) -> Result<C, String>,
) -> anyhow::Result<Planned> {
    let schedule = Schedule { every: source.every.0, timeout: source.timeout.0 };
    Ok((Box::new(Apart::new(build(source, place, new)?)), schedule))
}

/// How much longer than its target may take a round may, so that it can still say that there was no
/// answer.
const GRACE: Duration = Duration::from_secs(1);

/// One that asks somebody else, who gets the whole of `timeout` to answer, or of `timeout_ms`, as the
/// sources call it, where that is given. A round that hangs is for those who ask to notice: only they know
/// what was not reached.
fn asking<S: DeserializeOwned, C: Collector + 'static>(
    source: &Source,
    place: &str,
    new: fn(S) -> Result<C, String>,
) -> anyhow::Result<Planned> {
    const NAME: &str = "timeout_ms";
    let mut source = source.clone();
    let given = i64::try_from(source.timeout.0.as_millis()).unwrap_or(i64::MAX);
    let limit = source.settings.entry(NAME).or_insert(given.into()).as_integer();
    // What is no number is refused when the settings are read.
    let limit = limit.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    let timeout = limit.unwrap_or(source.timeout.0).saturating_add(GRACE);
    let schedule = Schedule { every: source.every.0, timeout };
    Ok((Box::new(build(&source, place, new)?), schedule))
}

/// What the write side says of itself, as metrics.
fn readings(stats: &ingest::Stats) -> Vec<source::self_metrics::Reading> {
    crate::http::own_numbers(stats)
        .into_iter()
        .map(|(name, value)| (format!("pipenotify.ingest.{name}"), vec![], value))
        .collect()
}

#[cfg(test)]
mod tests {
    use data::metric::CATALOG;
    use tokio::net::TcpListener;

    use super::*;

    /// The one collector of a configuration.
    fn only(text: &str) -> anyhow::Result<Planned> {
        let collect: Collect = toml::from_str(&format!("host = []\n{text}"))?;
        Ok(plan(&collect)?.remove(0))
    }

    #[tokio::test]
    async fn a_target_that_hangs_is_down_and_not_silent() {
        // It accepts connections and says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = silent.local_addr().unwrap();
        for (text, metric) in [
            (format!("[[http]]\nname = 'x'\nurl = 'http://{at}'"), "http.probe.up"),
            (format!("[[prometheus]]\njob = 'x'\nurl = 'http://{at}'"), "up"),
            (format!("[[redis]]\nname = 'x'\nurl = 'redis://{at}'"), "redis.up"),
            (format!("[[rabbitmq]]\nname = 'x'\nurl = 'http://a:b@{at}'"), "rabbitmq.up"),
            (format!("[[postgres]]\nname = 'x'\nurl = 'postgres://a@{at}/a'"), "postgresql.up"),
        ] {
            let (mut collector, schedule) = only(&format!("{text}\ntimeout = '50ms'")).unwrap();
            let round = tokio::time::timeout(schedule.timeout, collector.collect(clock::now()));
            let request = round.await.expect(metric).unwrap();
            let up = request.points.iter().find(|it| it.series.metric() == metric).expect(metric);
            assert_eq!(up.value, 0.0, "{metric}");
            assert_eq!(request.events.len(), 1, "{metric}");
        }
    }

    #[test]
    fn what_the_process_measures_of_itself_is_in_the_catalog() {
        let metrics = crate::delivery::Metrics::default();
        let mut all = readings(&ingest::Stats::default());
        all.extend(metrics.readings(&[], clock::now()));
        all.extend(metrics.failing_for(["chat".to_owned()], clock::now()));
        assert!(all.len() > 20, "{all:?}");
        for (name, ..) in all {
            assert!(CATALOG.iter().any(|it| it.name == name), "{name}");
        }
    }

    #[test]
    fn there_is_one_time_limit_however_it_is_spelled() {
        for (limit, ms) in [("timeout = '2s'", 2_000), ("timeout_ms = 8000", 8_000), ("", 5_000)] {
            let text = format!("[[tcp]]\nname = 'x'\nhost = 'h'\nport = 1\n{limit}");
            let (_, schedule) = only(&text).unwrap();
            assert_eq!(schedule.timeout, Duration::from_millis(ms) + GRACE, "{limit}");
        }
    }

    #[test]
    fn every_entry_that_cannot_work_is_named() {
        let text = "host = []\n[[http]]\nname = 'x'\nurl = 'ftp://x'\n[[process]]\nname = 'x'\n\
                    [[log]]\nnam = 'x'\n[[tcp]]\nname = 'x'\nhost = 'h'\nport = 1";
        let faults = faults(&toml::from_str(text).unwrap());
        let places = ["collect.process[0]", "collect.http[0]", "collect.log[0]"];
        assert_eq!(faults.len(), places.len(), "{faults:?}");
        for (fault, place) in faults.iter().zip(places) {
            assert!(fault.contains(place), "{fault}");
        }
    }
}
