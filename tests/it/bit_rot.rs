//! A file of log, lake or ledger is truncated, emptied or has a bit flipped after it was synced. The start
//! succeeds in time, what is lost is set aside and told, everything else is served, and `check` has said so
//! before.
//!
//! `PIPENOTIFY_ROT` picks the files whose kind has this word in it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use chrono::Utc;
use tests::{
    load,
    process::{Home, program},
};

/// The promise for a start.
const START_WITHIN: Duration = Duration::from_secs(10);

/// Requests in one flush, and points in each of them.
const REQUESTS: i64 = 3;
const POINTS: i64 = 20;

/// Flushes before the damage; the requests after the last one are in the log only.
const FLUSHES: i64 = 4;

const SENT: i64 = (FLUSHES + 1) * REQUESTS * POINTS;

#[derive(Clone, Copy, Debug)]
enum Rot {
    Truncate,
    Empty,
    Flip,
}

impl Rot {
    fn spoil(self, path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        assert!(!bytes.is_empty(), "{} has nothing to lose", path.display());
        match self {
            Self::Truncate => bytes.truncate(bytes.len() / 2),
            Self::Empty => bytes.clear(),
            Self::Flip => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x10;
            }
        }
        fs::write(path, bytes).unwrap();
    }
}

/// What is spoiled: which file, and how many points may be lost with it.
struct Target {
    name: &'static str,
    find: fn(&Home) -> PathBuf,
    lost_max: i64,
    /// Whether `check` sees it whichever way it is spoiled.
    is_seen: bool,
}

const FLUSHED: i64 = REQUESTS * POINTS;

const TARGETS: [Target; 8] = [
    Target {
        name: "data",
        find: |home| first(&home.path().join("lake/samples"), "date=", ".parquet"),
        lost_max: FLUSHED,
        is_seen: true,
    },
    Target { name: "first commit", find: |home| commit(home, 0), lost_max: 0, is_seen: true },
    Target { name: "a commit", find: |home| commit(home, 2), lost_max: FLUSHED, is_seen: true },
    Target {
        name: "last commit",
        find: |home| commit(home, FLUSHES),
        lost_max: FLUSHED,
        is_seen: true,
    },
    Target { name: "log", find: segment, lost_max: FLUSHED, is_seen: true },
    Target {
        name: "node",
        find: |home| home.path().join("lake/wal/node"),
        lost_max: 0,
        is_seen: false,
    },
    // What the file lost, its log may still have.
    Target {
        name: "ledger",
        find: |home| home.path().join("ledger.db"),
        lost_max: 0,
        is_seen: false,
    },
    // SQLite itself drops the end of its log; what is lost are changes, not history.
    Target {
        name: "ledger's log",
        find: |home| home.path().join("ledger.db-wal"),
        lost_max: 0,
        is_seen: false,
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_any_file_costs_only_what_was_in_it_and_is_told() {
    let whole = prepared().await;
    let (mut slowest, mut n_cases) = (Duration::ZERO, 0);
    let wanted = std::env::var("PIPENOTIFY_ROT").unwrap_or_default();
    for target in TARGETS.iter().filter(|target| target.name.contains(&wanted)) {
        for rot in [Rot::Truncate, Rot::Empty, Rot::Flip] {
            let context = format!("{} × {rot:?}", target.name);
            slowest = slowest.max(spoiled(&whole, target, rot, &context).await);
            n_cases += 1;
        }
    }
    println!("{n_cases} cases, slowest start {slowest:?}");
}

/// A home whose process was killed after some flushes and some requests more.
async fn prepared() -> Home {
    let home = Home::new()
        .unwrap()
        .with_settings("[ingest]\nflush_age = \"1h\"\nflush_rows = 60\n[collect]\nhost = []\n");
    let process = home.start().await.unwrap();
    let client = home.client();
    let start = Utc::now().timestamp_millis() - 100_000;
    for request in 0..(FLUSHES + 1) * REQUESTS {
        let entry = |slot: i64| {
            let slot_name = slot.to_string();
            let labels = [("__name__", "rot"), ("slot", slot_name.as_str())];
            load::series(&labels, &[(start + request, 1.0)])
        };
        let body = load::WriteRequest { timeseries: (0..POINTS).map(entry).collect() };
        client.remote_write(load::compressed(&body)).await.unwrap().success().unwrap();
        if request % REQUESTS == REQUESTS - 1 && request < FLUSHES * REQUESTS {
            let flushed = commit(&home, request / REQUESTS + 1);
            let begun = Instant::now();
            while !flushed.exists() {
                assert!(begun.elapsed() < Duration::from_secs(30), "no {}", flushed.display());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    assert_eq!(client.numbers(COUNT).await.unwrap(), [SENT as f64]);
    process.kill().unwrap();
    home
}

const COUNT: &str = "select count(*) from samples where metric = 'rot'";

/// How long the start took.
async fn spoiled(whole: &Home, target: &Target, rot: Rot, context: &str) -> Duration {
    let home = Home::new().unwrap();
    copy(whole.path(), home.path());
    assert_eq!(check(&home).map(|said| said.contains(ASIDE)), Ok(false), "before; {context}");
    rot.spoil(&(target.find)(&home));
    let said = check(&home);
    assert!(said.is_err() || !target.is_seen, "`check` sees nothing; {context}");

    let mut process = home.spawn().unwrap();
    let waited =
        home.ready(&mut process).await.unwrap_or_else(|error| panic!("{error:#}; {context}"));
    assert!(waited < START_WITHIN, "ready after {waited:?}; {context}");
    let client = home.client();
    let answer = client.numbers(COUNT).await;
    let there = answer.unwrap_or_else(|error| panic!("{error:#}; {context}"))[0] as i64;
    assert!(there <= SENT, "doubled: {there} of {SENT}; {context}");
    assert!(there >= SENT - target.lost_max, "lost too much: {there} of {SENT}; {context}");
    let damage = client.rows("select path, why, lost_rows from damage").await.expect(context);
    assert!(there == SENT || !damage.is_empty(), "{there} of {SENT}, and nothing told; {context}");
    assert!(!damage.is_empty() || !target.is_seen, "nothing told; {context}");
    assert!(process.stop().await.unwrap().success(), "{context}");
    let said = check(&home).unwrap_or_else(|said| panic!("afterwards: {said}; {context}"));
    assert_eq!(said.contains(ASIDE), !damage.is_empty(), "{said}; {context}");
    waited
}

/// How `pipenotify check` begins to tell what is damaged and out of the way.
const ASIDE: &str = "set aside earlier: ";

/// What `pipenotify check` says, as an error if it finds something wrong.
fn check(home: &Home) -> Result<String, String> {
    let mut command = program().unwrap();
    let output = command
        .args(["check", "--lake", home.lake(), "--ledger"])
        .arg(home.path().join("ledger.db"))
        .current_dir(home.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(said) } else { Err(format!("{said}{errors}")) }
}

fn commit(home: &Home, version: i64) -> PathBuf {
    home.path().join(format!("lake/samples/_delta_log/{version:020}.json"))
}

fn segment(home: &Home) -> PathBuf {
    first(&home.path().join("lake/wal"), "", ".wal")
}

/// The first file by name under `dir` whose path goes on and ends as said.
fn first(dir: &Path, start: &str, end: &str) -> PathBuf {
    let mut all = vec![];
    files(dir, &mut all);
    let fits = |path: &&PathBuf| {
        let relative = path.strip_prefix(dir).unwrap().to_str().unwrap();
        relative.starts_with(start) && relative.ends_with(end)
    };
    all.sort();
    all.iter().find(fits).unwrap_or_else(|| panic!("no {start}…{end} in {all:#?}")).clone()
}

fn files(dir: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, all) } else { all.push(path) }
    }
}

fn copy(from: &Path, to: &Path) {
    let mut all = vec![];
    files(from, &mut all);
    for file in all {
        let to = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, to).unwrap();
    }
}
