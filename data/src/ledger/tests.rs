use std::fs;

use chrono::TimeZone;

use super::*;

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).unwrap()
}

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("ledger-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn ledger(&self) -> PathBuf {
        self.0.join("ledger.db")
    }

    async fn open(&self) -> Ledger {
        Ledger::open(self.ledger().to_str().unwrap(), now()).await.unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn key(name: &str) -> NewKey {
    NewKey {
        name: name.to_owned(),
        role: Role::Writer,
        hash: format!("hash of {name}"),
        expires_at: None,
    }
}

#[tokio::test]
async fn a_migration_is_applied_once_and_recorded() {
    let folder = Folder::new();
    let first = folder.open().await;
    let numbers: Vec<_> = first.applied().iter().map(|one| one.number).collect();
    assert_eq!(numbers, [14, 15, 16, 17, 18, 20]);
    first.close().await;
    let second = folder.open().await;
    assert_eq!((second.applied(), second.set_aside()), (&[][..], None));
    assert_eq!(second.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_migration_that_reads_differently_is_refused() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    let edit = "update migration set checksum = 'other' where number = 15";
    sqlx::query(edit).execute(&ledger.pool).await.unwrap();
    ledger.close().await;
    let error = Ledger::open(folder.ledger().to_str().unwrap(), now()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "migration 15 was applied with another text than this program has"
    );
}

#[tokio::test]
async fn a_key_lives_from_creation_to_revocation() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    let made = ledger.create_key(&key("a"), now()).await.unwrap();
    assert_eq!(ledger.find_key("hash of a").await.unwrap(), Some(made.clone()));
    assert!(made.is_valid(now()));
    let error =
        ledger.create_key(&NewKey { hash: "x".into(), ..key("a") }, now()).await.unwrap_err();
    assert_eq!(error.to_string(), "a key named `a` exists already");
    ledger.touch_key(&made, now()).await.unwrap();
    assert_eq!(ledger.keys().await.unwrap()[0].last_used_at, Some(now()));
    assert!(ledger.revoke_key("a", now()).await.unwrap());
    assert!(!ledger.revoke_key("a", now()).await.unwrap());
    assert!(!ledger.find_key("hash of a").await.unwrap().unwrap().is_valid(now()));
}

#[tokio::test]
async fn a_fixed_key_replaces_the_one_before_it() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    let (one, other) = (key("environment"), NewKey { hash: "other".into(), ..key("environment") });
    for new in [&one, &one, &other, &one] {
        ledger.fix_key(new, now()).await.unwrap();
    }
    let valid = |key: Option<ApiKey>| key.is_some_and(|key| key.is_valid(now()));
    assert!(valid(ledger.find_key(&one.hash).await.unwrap()));
    assert!(!valid(ledger.find_key(&other.hash).await.unwrap()));
}

#[tokio::test]
async fn a_token_opens_once_and_not_after_its_time() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    let hour = chrono::TimeDelta::hours(1);
    ledger.offer_token("token", now() + hour, now()).await.unwrap();
    ledger.redeem_token("token", &key("late"), now() + hour).await.unwrap_err();
    ledger.redeem_token("token", &key("first"), now()).await.unwrap();
    let error = ledger.redeem_token("token", &key("second"), now()).await.unwrap_err();
    assert_eq!(error.to_string(), "this link was used already or has expired");
}

#[tokio::test]
async fn a_state_keeps_its_beginning_while_it_lasts() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    let at = |minutes| now() + chrono::TimeDelta::minutes(minutes);
    ledger.record_check("web", State::Healthy, Some(100.0), at(0)).await.unwrap();
    ledger.record_check("web", State::Healthy, Some(98.5), at(5)).await.unwrap();
    let web = ledger.components().await.unwrap().remove(0);
    assert_eq!((web.score, web.since, web.checked_at), (Some(98.5), at(0), at(5)));
    ledger.record_check("web", State::Unknown, None, at(10)).await.unwrap();
    let web = ledger.components().await.unwrap().remove(0);
    assert_eq!((web.state, web.score, web.since), (State::Unknown, None, at(10)));
}

#[tokio::test]
async fn the_newest_change_is_listed_first() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    ledger.audit("root", "create key", now(), "a").await.unwrap();
    ledger.audit("root", "revoke key", now() + chrono::TimeDelta::seconds(1), "a").await.unwrap();
    let what: Vec<_> = ledger.audited(10).await.unwrap().into_iter().map(|one| one.what).collect();
    assert_eq!(what, ["revoke key", "create key"]);
}

/// Writes a ledger with a hundred keys, damages its file, and opens it again. Gives whether that was
/// noticed, and how many of the keys can be found.
async fn damaged(harm: impl FnOnce(&mut Vec<u8>)) -> (bool, usize) {
    let folder = Folder::new();
    let ledger = folder.open().await;
    for n in 0..100 {
        ledger.create_key(&key(&format!("key {n}")), now()).await.unwrap();
    }
    ledger.close().await;
    let mut bytes = fs::read(folder.ledger()).unwrap();
    harm(&mut bytes);
    fs::write(folder.ledger(), bytes).unwrap();
    let opened = folder.open().await;
    let names: Vec<_> = opened.keys().await.unwrap().into_iter().map(|key| key.name).collect();
    let n_found = (0..100).filter(|n| names.contains(&format!("key {n}"))).count();
    if let Some(found) = opened.set_aside() {
        assert!(found.path.exists(), "{found:?}");
        assert_eq!(opened.check().await.unwrap(), Vec::<String>::new());
        opened.create_key(&key("new"), now()).await.unwrap();
    }
    opened.close().await;
    (opened.set_aside().is_some(), n_found)
}

#[tokio::test]
async fn a_truncated_emptied_or_foreign_file_is_set_aside_and_the_start_succeeds() {
    let fresh = (true, 0);
    assert_eq!(damaged(|bytes| bytes.truncate(bytes.len() / 2)).await, fresh);
    assert_eq!(damaged(Vec::clear).await, fresh);
    assert_eq!(damaged(|bytes| bytes.fill(b'x')).await, fresh);
    assert_eq!(damaged(|bytes| bytes.truncate(10)).await, fresh);
    assert_eq!(damaged(|_| ()).await, (false, 100));
}

#[tokio::test]
async fn a_flipped_bit_is_noticed_or_changes_no_value() {
    // The name of a key: no constraint and no length tells that it changed. SQLite leaves old copies
    // in unused space, where a flip harms nobody.
    let mut n_noticed = 0;
    for nth in 0..8 {
        let harm = |bytes: &mut Vec<u8>| {
            let mut places = (0..bytes.len() - 6).filter(|at| &bytes[*at..at + 6] == b"key 42");
            if let Some(at) = places.nth(nth) {
                bytes[at] ^= 1;
            }
        };
        let (is_noticed, n_found) = damaged(harm).await;
        assert!(is_noticed || n_found == 100, "flip {nth} was overlooked");
        n_noticed += usize::from(is_noticed);
    }
    assert!(n_noticed >= 2, "each value is there twice");
}

#[tokio::test]
async fn a_damaged_log_loses_only_what_came_after_the_damage() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    ledger.create_key(&key("before"), now()).await.unwrap();
    let wal = folder.0.join("ledger.db-wal");
    let at = usize::try_from(fs::metadata(&wal).unwrap().len()).unwrap();
    ledger.create_key(&key("after"), now()).await.unwrap();
    ledger.audit("root", "create key", now(), "after").await.unwrap();
    // As the power would leave it: the log not yet moved into the file.
    let (main, mut log) = (fs::read(folder.ledger()).unwrap(), fs::read(&wal).unwrap());
    ledger.close().await;
    log[at + 100] ^= 1;
    fs::write(folder.ledger(), main).unwrap();
    fs::write(&wal, &log).unwrap();
    let opened = folder.open().await;
    let found = opened.set_aside().unwrap();
    assert_eq!(fs::read(&found.path).unwrap(), log);
    let names: Vec<_> = opened.keys().await.unwrap().into_iter().map(|key| key.name).collect();
    assert_eq!(names, ["before"]);
}

#[tokio::test]
async fn a_torn_end_of_the_log_is_no_damage() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    ledger.create_key(&key("whole"), now()).await.unwrap();
    let wal = folder.0.join("ledger.db-wal");
    let at = usize::try_from(fs::metadata(&wal).unwrap().len()).unwrap();
    ledger.create_key(&key("torn"), now()).await.unwrap();
    let (main, mut log) = (fs::read(folder.ledger()).unwrap(), fs::read(&wal).unwrap());
    ledger.close().await;
    // The first frame of the last commit was lost; the rest reached the disk.
    log[at..at + 4096].fill(0);
    fs::write(folder.ledger(), main).unwrap();
    fs::write(&wal, &log).unwrap();
    let opened = folder.open().await;
    assert_eq!(opened.set_aside(), None);
    let names: Vec<_> = opened.keys().await.unwrap().into_iter().map(|key| key.name).collect();
    assert_eq!(names, ["whole"]);
}

#[tokio::test]
async fn what_names_no_ledger_is_refused() {
    for url in ["", "mysql://host/name", "sqlite://"] {
        let error = Ledger::open(url, now()).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    }
}
