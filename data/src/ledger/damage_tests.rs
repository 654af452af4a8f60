//! A ledger whose file was harmed.

use std::fs;

use super::{
    tests::{Folder, key, now},
    *,
};

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
    assert!(damaged(|bytes| bytes.truncate(bytes.len() / 2)).await.0);
    assert_eq!(damaged(Vec::clear).await, fresh);
    assert_eq!(damaged(|bytes| bytes.fill(b'x')).await, fresh);
    assert_eq!(damaged(|bytes| bytes.truncate(10)).await, fresh);
    assert_eq!(damaged(|_| ()).await, (false, 100));
}

#[tokio::test]
async fn a_damaged_head_hides_no_row() {
    for at in [0, 3, 15, 16, 17, 18, 19, 21, 22, 23, 47, 59] {
        let (_, n_found) = damaged(|bytes| bytes[at] ^= 1).await;
        assert_eq!(n_found, 100, "byte {at}");
    }
    assert_eq!(damaged(|bytes| bytes[..24].fill(b'x')).await, (true, 100));
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
        assert!(n_found >= 99, "flip {nth} cost the keys that it did not touch: {n_found}");
        n_noticed += usize::from(is_noticed);
    }
    assert!(n_noticed >= 2, "each value is there twice");
}

#[tokio::test]
async fn of_a_damaged_file_everything_else_lives_on_and_what_is_lost_is_counted() {
    let folder = Folder::new();
    let ledger = folder.open().await;
    for n in 0..300 {
        ledger.create_key(&key(&format!("key {n}")), now()).await.unwrap();
        ledger.audit("root", "create key", now(), &format!("detail {n}")).await.unwrap();
    }
    let schema = "select cast(pageno as bigint) as page from dbstat where name = 'sqlite_schema'";
    let schema = sqlx::query(schema).fetch_all(&ledger.pool).await.unwrap();
    let schema: Vec<i64> = schema.iter().map(|row| get(row, "page").unwrap()).collect();
    ledger.close().await;
    let whole = fs::read(folder.ledger()).unwrap();
    // A page of the file after the other is flipped through, but for those that say what tables there are:
    // without them nobody knows what a row means.
    let is_of_schema = |page: &usize| schema.contains(&(*page as i64 + 1));
    for page in (1..whole.len() / 4096).step_by(3).filter(|page| !is_of_schema(page)) {
        let mut bytes = whole.clone();
        bytes[page * 4096..][..512].iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(folder.ledger(), bytes).unwrap();
        let opened = folder.open().await;
        let n_keys = opened.keys().await.unwrap().len();
        let n_audited = opened.audited(1000).await.unwrap().len();
        let context = format!("page {page}: {n_keys}, {n_audited}, {:?}", opened.set_aside());
        // A row in the damaged page has another copy; but the reader may stumble over it there, too.
        assert!(n_keys >= 200 && n_audited >= 200, "{context}");
        if let Some(aside) = opened.set_aside() {
            let salvaged = aside.salvaged.unwrap();
            let n_lost = 600 - n_keys as u64 - n_audited as u64;
            assert!(salvaged.is_partial || salvaged.n_lost == n_lost, "{context}");
            assert_eq!(opened.check().await.unwrap(), Vec::<String>::new(), "{context}");
        } else {
            assert_eq!((n_keys, n_audited), (300, 300), "{context}");
        }
        opened.close().await;
    }
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
