//! From `[[collect.*]]` to running collectors.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use ingest::{
    Ingest, Sink,
    collector::{self, Collector, Schedule},
    pace::Pace,
    source,
};

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
    let mut all: Vec<Planned> = vec![];
    macro_rules! sources {
        ($($key:ident => $module:ident),* $(,)?) => {$(
            for (n, source) in collect.$key.iter().enumerate() {
                let place = format!("collect.{}[{n}]", stringify!($key));
                let settings = source.settings(&place)?;
                let made = source::$module::new(settings).map_err(|why| anyhow!(why));
                let collector = Box::new(made.with_context(|| place)?);
                let schedule = Schedule { every: source.every.0, timeout: source.timeout.0 };
                all.push((collector, schedule));
            }
        )*};
    }
    sources! {
        host => host, process => process, http => http_probe, tcp => tcp_probe,
        prometheus => prometheus, postgres => postgres, redis => redis, rabbitmq => rabbitmq,
        log => log_file,
    }
    Ok(all)
}

/// What the write side says of itself, as metrics.
fn readings(stats: &ingest::Stats) -> Vec<source::self_metrics::Reading> {
    crate::http::own_numbers(stats)
        .into_iter()
        .map(|(name, value)| (format!("pipenotify.ingest.{name}"), vec![], value))
        .collect()
}
