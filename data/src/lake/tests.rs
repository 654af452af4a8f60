use std::{fs, path::Path as FsPath};

use arrow::array::{Array, AsArray};
use bytes::Bytes;
use chrono::TimeDelta;
use tempfile::TempDir;

use super::*;
use crate::{
    disk::OsDisk,
    parquet::{Encoded, decode, encode, sort_by_day, tests::points},
};

const TABLE: Table = Table::Samples;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_773_050_400, 0).unwrap()
}

async fn open(dir: &FsPath) -> Lake {
    let url = Url::from_directory_path(dir).unwrap();
    Lake::open(&url, &HashMap::new(), Arc::new(OsDisk)).await.unwrap()
}

/// A written file of `n` rows, not committed yet.
async fn written(lake: &Lake, n: usize) -> DataFile {
    let (date, rows) = sort_by_day(TABLE, &[points(1, n)]).unwrap().remove(0);
    let Encoded { file, bytes } = encode(TABLE, date, &[rows], now()).unwrap();
    let path = lake.opened(TABLE).log.path(&file.path);
    object_store::ObjectStoreExt::put(&*lake.store(), &path, bytes.into()).await.unwrap();
    file
}

async fn append(lake: &Lake, position: i64) -> Arc<Snapshot> {
    let added = vec![written(lake, 10).await];
    let txn = Some(("node".to_owned(), position));
    let change = Change { added, txn, data_change: true, ..Change::default() };
    lake.commit(TABLE, change, now()).await.unwrap()
}

fn commit_file(dir: &TempDir, version: i64) -> std::path::PathBuf {
    dir.path().join(format!("samples/_delta_log/{version:020}.json"))
}

#[tokio::test]
async fn a_repeated_commit_takes_effect_once_even_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path()).await;
    assert_eq!(append(&lake, 7).await.version, 1);
    assert_eq!(append(&lake, 7).await.files.len(), 1);
    let lake = open(dir.path()).await;
    assert_eq!(lake.snapshot(TABLE).txn("node"), 7);
    assert_eq!(append(&lake, 6).await.files.len(), 1);
    assert_eq!(append(&lake, 8).await.files.len(), 2);
}

#[tokio::test]
async fn a_commit_of_another_process_is_seen_before_ours_is_decided() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (open(dir.path()).await, open(dir.path()).await);
    append(&theirs, 3).await;
    assert_eq!(append(&ours, 3).await.files.len(), 1, "the replay of the same position");
    assert_eq!(append(&ours, 4).await.version, 2);
    assert_eq!(theirs.refresh(TABLE).await.unwrap().files.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_commit_at_once_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let run = async |name: &'static str| {
        let lake = open(dir.path()).await;
        for position in 0..20 {
            let added = vec![written(&lake, 3).await];
            let txn = Some((name.to_owned(), position));
            let change = Change { added, txn, data_change: true, ..Change::default() };
            lake.commit(TABLE, change, now()).await.unwrap();
        }
    };
    futures::join!(run("a"), run("b"));
    let snapshot = open(dir.path()).await.snapshot(TABLE);
    assert_eq!((snapshot.files.len(), snapshot.version), (40, 40));
    assert_eq!((snapshot.txn("a"), snapshot.txn("b")), (19, 19));
}

#[tokio::test]
async fn a_file_is_compacted_away_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path()).await;
    let removed = append(&lake, 1).await.files.to_vec();
    let compact = async || {
        let added = vec![written(&lake, 10).await];
        let change = Change { added, removed: removed.clone(), ..Change::default() };
        lake.commit(TABLE, change, now()).await
    };
    assert_eq!(compact().await.unwrap().files.len(), 1);
    assert!(matches!(compact().await, Err(Error::Conflict { .. })));
}

#[tokio::test]
async fn a_damaged_last_commit_is_set_aside_and_its_writer_repeats_it() {
    for damaged in [&b""[..], b"{\"add\":{\"pa", &[0; 400]] {
        let dir = tempfile::tempdir().unwrap();
        let lake = open(dir.path()).await;
        append(&lake, 1).await;
        append(&lake, 2).await;
        fs::write(commit_file(&dir, 2), damaged).unwrap();
        let lake = open(dir.path()).await;
        assert_eq!((lake.damage().len(), lake.snapshot(TABLE).txn("node")), (1, 1));
        assert_eq!(append(&lake, 2).await.files.len(), 2);
        let kept = dir.path().join("quarantine").join("samples/_delta_log");
        assert_eq!(fs::read_dir(kept).unwrap().count(), 1);
    }
}

#[tokio::test]
async fn a_damaged_commit_in_the_middle_costs_only_what_it_said() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path()).await;
    for position in 1..=3 {
        append(&lake, position).await;
    }
    for version in [0, 2] {
        fs::write(commit_file(&dir, version), "").unwrap();
    }
    let lake = open(dir.path()).await;
    assert_eq!((lake.damage().len(), lake.snapshot(TABLE).files.len()), (2, 2));
    lake.checkpoint(TABLE).await.unwrap();
    assert_eq!(open(dir.path()).await.damage().len(), 2, "known, and repaired for every reader");
}

#[tokio::test]
async fn a_missing_or_torn_file_leaves_its_table_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path()).await;
    append(&lake, 1).await;
    append(&lake, 2).await;
    let files = append(&lake, 3).await.files.to_vec();
    fs::remove_file(dir.path().join("samples").join(&files[0].path)).unwrap();
    fs::write(dir.path().join("samples").join(&files[1].path), "PAR1").unwrap();
    let lake = open(dir.path()).await;
    assert_eq!(
        lake.snapshot(TABLE).files.as_slice(),
        &open(dir.path()).await.snapshot(TABLE).files[..]
    );
    assert_eq!(lake.snapshot(TABLE).files.len(), 1);
    assert_eq!(lake.damage().iter().filter_map(|damage| damage.n_rows).sum::<u64>(), 20);
}

#[tokio::test]
async fn a_checkpoint_says_what_the_commits_said() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path()).await;
    append(&lake, 1).await;
    let removed = append(&lake, 2).await.files[..1].to_vec();
    let change = Change { removed, data_change: true, ..Change::default() };
    lake.commit(TABLE, change, Utc::now()).await.unwrap();
    let by_commits = open(dir.path()).await;
    lake.checkpoint(TABLE).await.unwrap();
    for version in 0..=2 {
        fs::remove_file(commit_file(&dir, version)).unwrap();
    }
    let by_checkpoint = open(dir.path()).await;
    assert!(by_checkpoint.damage().is_empty(), "{:?}", by_checkpoint.damage());
    let (a, b) = (by_commits.snapshot(TABLE), by_checkpoint.snapshot(TABLE));
    assert_eq!((&a.files, &a.txns, a.version), (&b.files, &b.txns, b.version));
    let state = async |lake: &Lake| lake.opened(TABLE).state.lock().await.removed.clone();
    assert_eq!(state(&by_commits).await, state(&by_checkpoint).await);
    assert_eq!(append(&by_checkpoint, 3).await.version, 4);
}

#[tokio::test]
async fn a_damaged_checkpoint_is_made_up_for_by_the_commits() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path()).await;
    append(&lake, 1).await;
    lake.checkpoint(TABLE).await.unwrap();
    let checkpoint = dir.path().join("samples/_delta_log/00000000000000000001.checkpoint.parquet");
    fs::write(checkpoint, "PAR1 nonsense PAR1").unwrap();
    let lake = open(dir.path()).await;
    assert_eq!((lake.damage().len(), lake.snapshot(TABLE).files.len()), (1, 1));
}

#[tokio::test]
async fn vacuum_deletes_what_was_removed_long_ago_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path()).await;
    append(&lake, 1).await;
    let removed = append(&lake, 2).await.files[..1].to_vec();
    let gone = dir.path().join("samples").join(&removed[0].path);
    let change = Change { removed, data_change: true, ..Change::default() };
    let real = Utc::now();
    lake.commit(TABLE, change, real).await.unwrap();
    let hour = TimeDelta::hours(1);
    assert_eq!(lake.vacuum(TABLE, hour, real).await.unwrap(), 0);
    assert!(gone.exists());
    assert_eq!(lake.vacuum(TABLE, hour, real + hour * 2).await.unwrap(), 1);
    assert!(!gone.exists());
    assert!(open(dir.path()).await.damage().is_empty());
}

#[tokio::test]
async fn the_log_is_cut_before_the_last_checkpoint_but_one() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path()).await;
    for position in 1..=3 {
        append(&lake, position).await;
        lake.checkpoint(TABLE).await.unwrap();
    }
    let later = Utc::now() + TimeDelta::days(1);
    // Two commits, the checkpoint, and what that added up to.
    assert_eq!(lake.vacuum(TABLE, TimeDelta::hours(1), later).await.unwrap(), 4);
    assert!(commit_file(&dir, 2).exists() && !commit_file(&dir, 1).exists());
    let lake = open(dir.path()).await;
    assert!(lake.damage().is_empty());
    assert_eq!(lake.snapshot(TABLE).files.len(), 3);
}

#[tokio::test]
async fn a_process_that_slept_through_a_cut_does_not_fork_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (open(dir.path()).await, open(dir.path()).await);
    for position in 1..=3 {
        append(&theirs, position).await;
        theirs.checkpoint(TABLE).await.unwrap();
    }
    let later = Utc::now() + TimeDelta::days(1);
    theirs.vacuum(TABLE, TimeDelta::hours(1), later).await.unwrap();
    assert_eq!(append(&ours, 4).await.version, 4);
}

#[tokio::test]
async fn a_flipped_bit_is_noticed_at_the_first_reading_wherever_it_is() {
    for place in [4, 100, 700] {
        let dir = tempfile::tempdir().unwrap();
        let lake = open(dir.path()).await;
        append(&lake, 1).await;
        let file = append(&lake, 2).await.files[0].clone();
        let path = dir.path().join("samples").join(&file.path);
        let mut bytes = fs::read(&path).unwrap();
        bytes[place] ^= 1;
        fs::write(&path, bytes).unwrap();
        let lake = open(dir.path()).await;
        assert_eq!(lake.snapshot(TABLE).files.len(), 2, "opening reads no data");
        let path = lake.opened(TABLE).log.path(&file.path);
        assert!(object_store::ObjectStoreExt::get(&*lake.store(), &path).await.is_err());
        assert_eq!(lake.quarantine_suspects().await.unwrap(), 1);
        assert_eq!(lake.snapshot(TABLE).files.len(), 1);
        assert_eq!(lake.damage()[0].n_rows, Some(10));
    }
}

#[tokio::test]
async fn scrubbing_finds_what_nobody_reads() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path()).await;
    for position in 1..=3 {
        append(&lake, position).await;
    }
    let file = lake.snapshot(TABLE).files[1].clone();
    fs::write(dir.path().join("samples").join(&file.path), vec![7; file.n_bytes as usize]).unwrap();
    for _ in 0..3 {
        lake.scrub(1).await.unwrap();
    }
    assert_eq!((lake.damage().len(), lake.snapshot(TABLE).files.len()), (1, 2));
    assert!(!lake.snapshot(TABLE).files.contains(&file));
}

#[tokio::test]
async fn a_flipped_digit_in_a_commit_or_a_checkpoint_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path()).await;
    for position in 1..=2 {
        append(&lake, position).await;
    }
    lake.checkpoint(TABLE).await.unwrap();
    append(&lake, 3).await;
    let text = fs::read_to_string(commit_file(&dir, 3)).unwrap();
    fs::write(commit_file(&dir, 3), text.replace("\"version\":3", "\"version\":8")).unwrap();
    let checkpoint = commit_file(&dir, 2).with_extension("checkpoint.parquet");
    let mut bytes = fs::read(&checkpoint).unwrap();
    let place = bytes.len() / 3;
    bytes[place] ^= 4;
    fs::write(checkpoint, bytes).unwrap();
    fs::write(dir.path().join("samples/_delta_log/_last_checkpoint"), "{\"ver").unwrap();
    let lake = open(dir.path()).await;
    assert_eq!((lake.damage().len(), lake.snapshot(TABLE).txn("node")), (3, 2));
    assert_eq!(lake.damage().iter().filter_map(|damage| damage.n_rows).sum::<u64>(), 10);
    assert_eq!(append(&lake, 3).await.files.len(), 3);
    lake.checkpoint(TABLE).await.unwrap();
}

#[tokio::test]
async fn what_is_written_can_be_read_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path()).await;
    let file = written(&lake, 100).await;
    let bytes: Bytes = fs::read(dir.path().join("samples").join(&file.path)).unwrap().into();
    let rows = decode(&file.path, bytes).unwrap();
    assert_eq!(rows.iter().map(|rows| rows.num_rows()).sum::<usize>(), 100);
    assert_eq!(rows[0]["metric"].as_string::<i32>().null_count(), 0);
}

#[tokio::test]
async fn files_whose_log_is_lost_are_reported_and_stay() {
    let dir = tempfile::tempdir().unwrap();
    let url = Url::from_directory_path(dir.path()).unwrap();
    append(&open(dir.path()).await, 1).await;
    fs::remove_dir_all(dir.path().join("samples/_delta_log")).unwrap();
    let (faults, _) = Lake::check(&url, &HashMap::new()).await.unwrap();
    assert!(faults[0].what.contains("the log is missing beside 1 files"), "{faults:?}");

    let lake = open(dir.path()).await;
    assert_eq!((lake.snapshot(TABLE).version, lake.damage().len()), (0, 1));
    assert_eq!(lake.damage()[0].path, "samples/_delta_log");
    let lake = open(dir.path()).await;
    assert_eq!(lake.damage().len(), 1, "it is told once");
    // What the new log has replaced goes all the same.
    let added = append(&lake, 2).await.files.to_vec();
    let change = Change { removed: added, data_change: true, ..Change::default() };
    let later = Utc::now() + TimeDelta::days(3);
    lake.commit(TABLE, change, later - TimeDelta::days(2)).await.unwrap();
    assert_eq!(lake.vacuum(TABLE, TimeDelta::days(1), later).await.unwrap(), 1);
    let left = lake.opened(TABLE).log.files().await.unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
}
