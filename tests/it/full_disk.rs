//! The disk fills up under a running process: writers are told to come back, nothing that was
//! acknowledged is lost, and the process goes on by itself once there is room.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tests::{
    client::{Client, REMOTE_WRITE},
    load,
    process::Home,
};

/// Of the file system, in the words of `mount`.
const SIZE: &str = "size=48m";

/// Points in each request.
const POINTS: u64 = 500;

/// How long until a full disk shows, and until a disk with room is used again.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_writers_and_loses_nothing() {
    let home = Home::new().unwrap().with_settings(
        "[ingest]\nflush_age = \"1s\"\n[collect]\nhost = []\n[health]\nsnapshot_every = \"2s\"\n",
    );
    let small = Small::mount(home.path());
    let mut process = home.start().await.unwrap();
    let client = home.client();
    let (mut next, mut acknowledged) = (0, BTreeSet::new());
    for _ in 0..5 {
        send(&client, next).await.success().unwrap();
        acknowledged.insert(next);
        next += 1;
    }

    let ballast = small.fill();
    let begun = Instant::now();
    let refusal = loop {
        let reply = send(&client, next).await;
        if !reply.success {
            break reply;
        }
        acknowledged.insert(next);
        next += 1;
        assert!(begun.elapsed() < NOTICED_WITHIN, "{next} requests fit on a full disk");
    };
    assert_eq!(refusal.status, 503, "{}", refusal.text);
    assert!(refusal.retry_after >= 1, "a time to come back is told: {}", refusal.text);
    assert!(refusal.text.contains("again"), "{}", refusal.text);
    assert!(process.is_alive() && client.is_ready().await, "{}", home.log_tail());
    verify(&client, &acknowledged, next).await;

    fs::remove_file(ballast).unwrap();
    let begun = Instant::now();
    while !send(&client, next).await.success {
        assert!(begun.elapsed() < NOTICED_WITHIN, "not taken again: {}", home.log_tail());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    acknowledged.insert(next);
    next += 1;
    verify(&client, &acknowledged, next).await;

    // Full again, and killed there: a start on a full disk answers questions all the same.
    let ballast = small.fill();
    process.kill().unwrap();
    let restarted = home.start().await;
    if restarted.is_err() {
        let said = home.log_tail();
        assert!(said.to_lowercase().contains("space"), "it says why: {said}");
    }
    drop(restarted);
    fs::remove_file(ballast).unwrap();
    let process = home.start().await.unwrap();
    verify(&home.client(), &acknowledged, next).await;
    assert!(process.stop().await.unwrap().success());
}

struct Reply {
    success: bool,
    status: u16,
    retry_after: u64,
    text: String,
}

impl Reply {
    fn success(self) -> Result<(), String> {
        if self.success { Ok(()) } else { Err(format!("{}: {}", self.status, self.text)) }
    }
}

/// Always the same bytes for the same number.
fn request(number: u64) -> Bytes {
    let start = 1_700_000_000_000 + number as i64;
    let entry = |slot: u64| {
        let slot = slot.to_string();
        load::series(&[("__name__", "full"), ("slot", &slot)], &[(start, number as f64)])
    };
    load::compressed(&load::WriteRequest { timeseries: (0..POINTS).map(entry).collect() })
}

async fn send(client: &Client, number: u64) -> Reply {
    let (reply, headers) =
        client.post_with_headers("/api/v1/write", &REMOTE_WRITE, request(number)).await.unwrap();
    let after = headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    Reply {
        success: reply.status.is_success(),
        status: reply.status.as_u16(),
        retry_after: after.unwrap_or(0),
        text: reply.text,
    }
}

/// Every acknowledged request is there once; what was refused at last may be there, but only once.
async fn verify(client: &Client, acknowledged: &BTreeSet<u64>, next: u64) {
    let question = "select cast(value as bigint), count(*), count(distinct series) from samples \
                    where metric = 'full' group by 1 order by 1";
    let rows = client.rows(question).await.unwrap();
    let mut found = BTreeSet::new();
    for row in rows {
        let [number, n, distinct] = [0, 1, 2].map(|at| row[at].parse::<u64>().unwrap());
        assert_eq!((n, distinct), (POINTS, POINTS), "request {number}");
        assert!(acknowledged.contains(&number) || number == next, "{number} was never sent");
        found.insert(number);
    }
    assert!(found.is_superset(acknowledged), "lost: {:?}", acknowledged.difference(&found));
}

/// A small file system over a folder; it goes when this is dropped.
struct Small(PathBuf);

impl Small {
    fn mount(folder: &Path) -> Self {
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(folder).status();
        let mounted = mounted.is_ok_and(|status| status.success());
        assert!(mounted, "this test mounts a small file system: run it as root");
        Self(folder.to_owned())
    }

    /// A file that takes all the room there is.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // The process may still have files open there.
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}
