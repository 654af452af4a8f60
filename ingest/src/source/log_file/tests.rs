use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
};

use super::*;

/// A folder of its own that goes away with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("pipenotify-log-{name}-{}", std::process::id()));
        fs::remove_dir_all(&path).ok();
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn append(&self, name: &str, text: &str) {
        let mut file =
            OpenOptions::new().create(true).append(true).open(self.0.join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn follow(&self, from_start: bool) -> LogFile {
        let path = |path: &Path| path.display().to_string();
        new(Settings {
            name: "app".into(),
            paths: vec![path(&self.0.join("app.log"))],
            state_dir: self.0.join("state"),
            service: None,
            from_start,
            max_line: max_line(),
            max_read: max_read(),
        })
        .unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

async fn read(log: &mut LogFile) -> (Vec<String>, Option<u128>) {
    let request = log.collect(Utc::now()).await.unwrap();
    (request.events.into_iter().map(|event| event.body).collect(), request.fingerprint)
}

/// Two rounds, acknowledged: a quiet file gives its last message only in the second.
async fn all(log: &mut LogFile) -> Vec<String> {
    let mut bodies = vec![];
    for _ in 0..2 {
        bodies.extend(read(log).await.0);
        log.acknowledge().await;
    }
    bodies
}

#[tokio::test]
async fn only_what_comes_later_is_read_unless_asked() {
    let folder = Folder::new("later");
    folder.append("app.log", "old\n");
    let mut log = folder.follow(false);
    assert!(all(&mut log).await.is_empty());
    folder.append("app.log", "new\n");
    assert_eq!(all(&mut log).await, ["new"]);
}

#[tokio::test]
async fn a_message_may_go_on_in_the_next_round() {
    let folder = Folder::new("joined");
    let mut log = folder.follow(true);
    folder.append("app.log", "ERROR a\n");
    assert!(read(&mut log).await.0.is_empty());
    folder.append("app.log", "  at b\nnext\n");
    assert_eq!(read(&mut log).await.0, ["ERROR a\n  at b"]);
    log.acknowledge().await;
    assert_eq!(all(&mut log).await, ["next"]);
    assert_eq!(log.counts.get("error"), Some(&1));
}

#[tokio::test]
async fn a_rotated_file_is_read_to_its_end_and_the_new_one_from_its_start() {
    let folder = Folder::new("rotated");
    let mut log = folder.follow(true);
    folder.append("app.log", "1\n");
    assert_eq!(all(&mut log).await, ["1"]);
    folder.append("app.log", "2\n");
    fs::rename(folder.0.join("app.log"), folder.0.join("app.log.1")).unwrap();
    folder.append("app.log", "3\n");
    folder.append("app.log.1", "late\n");
    let mut bodies = all(&mut log).await;
    bodies.sort();
    assert_eq!(bodies, ["2", "3", "late"]);
}

#[tokio::test]
async fn a_file_rotated_while_we_were_away_is_found_again() {
    let folder = Folder::new("away");
    let mut log = folder.follow(true);
    folder.append("app.log", "1\n");
    assert_eq!(all(&mut log).await, ["1"]);
    drop(log);
    folder.append("app.log", "2\n");
    fs::rename(folder.0.join("app.log"), folder.0.join("app.log.1")).unwrap();
    folder.append("app.log", "3\n");
    let mut bodies = all(&mut folder.follow(true)).await;
    bodies.sort();
    assert_eq!(bodies, ["2", "3"]);
}

#[tokio::test]
async fn a_truncated_file_starts_again_even_when_it_has_outgrown_the_old_one() {
    let folder = Folder::new("truncated");
    let mut log = folder.follow(true);
    folder.append("app.log", "one\ntwo\n");
    assert_eq!(all(&mut log).await, ["one", "two"]);
    fs::write(folder.0.join("app.log"), "a\n").unwrap();
    assert_eq!(all(&mut log).await, ["a"]);
    fs::write(folder.0.join("app.log"), "b is much longer\n").unwrap();
    assert_eq!(all(&mut log).await, ["b is much longer"]);
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_the_same_even_after_a_restart() {
    let folder = Folder::new("again");
    let mut log = folder.follow(true);
    folder.append("app.log", "1\n2\n3\n");
    let first = read(&mut log).await;
    assert_eq!(first.0, ["1", "2"]);
    folder.append("app.log", "4\n");
    assert_eq!(read(&mut log).await, first);
    drop(log);
    let mut log = folder.follow(true);
    assert_eq!(read(&mut log).await, first);
    log.acknowledge().await;
    assert_eq!(all(&mut log).await, ["3", "4"]);
    assert!(all(&mut folder.follow(true)).await.is_empty());
}

#[tokio::test]
async fn a_damaged_state_is_set_aside() {
    let folder = Folder::new("damaged");
    fs::create_dir_all(folder.0.join("state")).unwrap();
    fs::write(folder.0.join("state/app.json"), "{").unwrap();
    folder.append("app.log", "1\n");
    assert_eq!(all(&mut folder.follow(true)).await, ["1"]);
    assert!(folder.0.join("state/app.damaged").exists());
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let folder = Folder::new("refused");
    let good = || folder.follow(true).settings;
    let bad = Settings { name: "../x".into(), ..good() };
    assert_eq!(new(bad).unwrap_err(), "`../x` is not letters, digits, `-` and `_`");
    let bad = Settings { max_line: 0, ..good() };
    assert!(new(bad).is_err());
    let bad = Settings { paths: vec!["/var/*/x".into()], ..good() };
    assert!(new(bad).unwrap_err().starts_with("`/var/*/x`"));
}
