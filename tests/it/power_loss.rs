//! The power goes in the middle of anything that changes the disk: what was not synced is lost, torn or
//! stays. After each start every acknowledged row is there exactly once; a request whose answer never came is
//! sent again, and comes once, too. Between the cuts the disk fills up or fails a call.
//!
//! `PIPENOTIFY_POWER_CUTS` says how often (default 60), `PIPENOTIFY_SEED` repeats a run.

use std::{path::Path, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use data::Table;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tests::{
    in_process::{Acknowledged, Node},
    lossy_disk::LossyDisk,
};

/// Calls of the disk in a life, at most.
const LIFE: u64 = 500;

/// Steps of a life whose power stays on longer than that.
const STEPS: usize = 60;

/// How many cuts of the power one folder sees before a fresh one begins.
const CUTS_PER_WORLD: u64 = 30;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_the_loss_of_power_exactly_once() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let cuts = variable("PIPENOTIFY_POWER_CUTS").unwrap_or(60);
    let seed = variable("PIPENOTIFY_SEED").unwrap_or_else(rand::random);
    let (mut n_cuts, mut n_requests, mut world_seed) = (0, 0, seed);
    while n_cuts < cuts {
        let context = format!("repeat with PIPENOTIFY_SEED={world_seed} PIPENOTIFY_POWER_CUTS=1");
        let mut world = World::new(world_seed, context);
        n_cuts += world.run(CUTS_PER_WORLD).await;
        n_requests += world.acknowledged.requests.len();
        world_seed = world_seed.wrapping_add(1);
    }
    println!("{n_cuts} cuts, {n_requests} requests acknowledged");
    assert!(n_requests as u64 > n_cuts, "too little was sent to prove anything; seed {seed}");
}

struct World {
    dir: tempfile::TempDir,
    disk: LossyDisk,
    dice: StdRng,
    start: DateTime<Utc>,
    now: DateTime<Utc>,
    acknowledged: Acknowledged,
    /// Sent and not acknowledged: to be sent again.
    open: Option<u64>,
    next: u64,
    context: String,
}

impl World {
    fn new(seed: u64, context: String) -> Self {
        let now = Utc::now();
        Self {
            dir: tempfile::tempdir().unwrap(),
            disk: LossyDisk::new(seed),
            dice: StdRng::seed_from_u64(seed),
            start: now,
            now,
            acknowledged: Acknowledged::default(),
            open: None,
            next: 0,
            context,
        }
    }

    /// Lives and dies until the power was cut `cuts` times.
    async fn run(&mut self, cuts: u64) -> u64 {
        let mut n_cuts = 0;
        while n_cuts < cuts {
            let first = if self.dice.random_ratio(1, 4) { 40 } else { LIFE };
            self.disk.cut_in(self.dice.random_range(0..first));
            let context = format!("life {n_cuts}; {}", self.context);
            match self.start_up().await {
                Ok(node) => {
                    self.verify(&node, &context).await;
                    self.live(&node, &context).await;
                }
                Err(error) => assert!(self.disk.is_dark(), "no start: {error:#}; {context}"),
            }
            self.disk.crash(self.dir.path()).unwrap();
            self.disk = self.disk.boot();
            n_cuts += 1;
        }
        let node = self.start_up().await.expect(&self.context);
        node.ingest.flush(self.now, true).await.expect(&self.context);
        self.verify(&node, &format!("at the end; {}", self.context)).await;
        assert_eq!(node.ingest.stats().lost_rows, 0, "{}", self.context);
        // A write that the power cut short cannot be told from damage to the last one.
        let mut damage = node.lake.damage();
        damage.retain(|damage| !damage.why.contains("at the end of a segment of the log"));
        assert!(damage.is_empty(), "the loss of power is no damage: {damage:?}; {}", self.context);
        n_cuts
    }

    async fn start_up(&self) -> anyhow::Result<Node> {
        Node::on_disk(self.dir.path(), Arc::new(self.disk.clone()), self.now).await
    }

    async fn verify(&self, node: &Node, context: &str) {
        let found = node.found().await.unwrap_or_else(|error| panic!("{error:#}; {context}"));
        if let Some(fault) = found.fault(&self.acknowledged, self.start) {
            panic!("{fault}; {context}; files: {:#?}", tree(self.dir.path()));
        }
    }

    async fn live(&mut self, node: &Node, context: &str) {
        for _ in 0..STEPS {
            let trouble = self.trouble();
            let (step, said) = self.step(node).await;
            if self.disk.is_dark() {
                return;
            }
            if trouble {
                self.disk.mend();
            } else if let Err(error) = said {
                panic!("{step} failed without a reason: {error:#}; {context}");
            }
        }
    }

    /// Now and then the disk is full, or fails.
    fn trouble(&mut self) -> bool {
        match self.dice.random_range(0..12) {
            0 => self.disk.set_room(Some(self.dice.random_range(0..4_000))),
            1 => self.disk.fail_in(self.dice.random_range(0..6)),
            _ => return false,
        }
        true
    }

    async fn step(&mut self, node: &Node) -> (&'static str, anyhow::Result<()>) {
        self.now += TimeDelta::seconds(self.dice.random_range(1..40));
        let now = self.now;
        // A sender tries again soon: the window in which repetitions are known is minutes long.
        let kind = if self.open.is_some() { 0 } else { self.dice.random_range(0..24) };
        match kind {
            0..=9 => ("write", self.write(node, false).await),
            10..=12 => ("write while flushing", self.write(node, true).await),
            13 | 14 => ("append", self.append(node).await),
            15 | 16 => ("flush", node.ingest.flush(now, true).await.map(drop).map_err(Into::into)),
            17 => (
                "flush what is due",
                node.ingest.flush(now, false).await.map(drop).map_err(Into::into),
            ),
            18 | 19 => ("compact", node.ingest.compact(now).await.map(drop).map_err(Into::into)),
            20 => {
                self.acknowledged.retained = true;
                ("retain", node.ingest.retain(now).await.map(drop).map_err(Into::into))
            }
            21 => ("checkpoint", each(async |table| node.lake.checkpoint(table).await).await),
            _ => {
                // Hours pass, so that files of this run are old enough to go.
                self.now += TimeDelta::hours(self.dice.random_range(0..3));
                let (keep, now) = (TimeDelta::hours(1), self.now);
                let vacuum = async |table| node.lake.vacuum(table, keep, now).await.map(drop);
                ("vacuum", each(vacuum).await)
            }
        }
    }

    async fn write(&mut self, node: &Node, flushing: bool) -> anyhow::Result<()> {
        let n = self.open.unwrap_or(self.next);
        self.next = self.next.max(n + 1);
        self.open = Some(n);
        let written = match flushing {
            false => node.write(n, self.start, self.now).await,
            true => {
                let (written, flushed, merged) = tokio::join!(
                    node.write(n, self.start, self.now),
                    node.ingest.flush(self.now, true),
                    node.ingest.compact(self.now)
                );
                if written.is_ok() {
                    self.acknowledged.requests.insert(n);
                    self.open = None;
                }
                flushed?;
                merged?;
                written
            }
        };
        written?;
        self.acknowledged.requests.insert(n);
        self.open = None;
        Ok(())
    }

    /// Rows of our own are not sent again, so each number is tried once.
    async fn append(&mut self, node: &Node) -> anyhow::Result<()> {
        let n = self.next;
        self.next += 1;
        node.append(n, self.now).await?;
        self.acknowledged.appended.insert(n);
        Ok(())
    }
}

async fn each(step: impl AsyncFn(Table) -> data::Result<()>) -> anyhow::Result<()> {
    for table in [Table::Samples, Table::Events, Table::Health] {
        step(table).await?;
    }
    Ok(())
}

fn tree(dir: &Path) -> Vec<String> {
    let mut all = vec![];
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(tree(&path)),
            false => all.push(path.display().to_string()),
        }
    }
    all
}
