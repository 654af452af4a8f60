use std::{
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    time::Duration,
};

use super::*;

struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pipenotify-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn context(&self) -> Context {
        let roots = vec![self.0.clone()];
        let allowed = Allowed { roots, ..Allowed::default() };
        Context::new("k", allowed, Duration::from_secs(5), Default::default())
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[tokio::test]
async fn a_log_is_rotated_and_so_many_old_ones_stay() {
    let folder = Home::new("rotate");
    let path = folder.0.join("log");
    for (n, copy) in [false, true, false].into_iter().enumerate() {
        fs::write(&path, format!("{n}")).unwrap();
        let it = RotateFile { path: path.clone(), keep: 2, copy };
        super::super::run(&it, &folder.context()).await.unwrap();
    }
    assert_eq!(folder.names(), ["log", "log.1", "log.2"]);
    assert_eq!(fs::read(folder.0.join("log.1")).unwrap(), b"2");
    assert_eq!(fs::read(folder.0.join("log")).unwrap(), b"");
}

#[tokio::test]
async fn old_files_are_compressed_and_removed_and_links_are_left_alone() {
    let (folder, elsewhere) = (Home::new("old"), Home::new("elsewhere"));
    let secret = elsewhere.0.join("kept");
    fs::write(&secret, "x").unwrap();
    fs::write(folder.0.join("a.log"), "a".repeat(10_000)).unwrap();
    symlink(&secret, folder.0.join("link.log")).unwrap();
    let older_than = Span(Duration::ZERO);
    let compress = CompressFiles { folder: folder.0.clone(), older_than, names: "*.log".into() };
    super::super::run(&compress, &folder.context()).await.unwrap();
    assert_eq!(folder.names(), ["a.log.gz", "link.log"]);
    let delete = DeleteFiles { folder: folder.0.clone(), older_than, names: "*".into() };
    super::super::run(&delete, &folder.context()).await.unwrap();
    assert_eq!(folder.names(), ["link.log"]);
    assert!(secret.exists());
    // A link to a folder, or `..`, leads nowhere.
    symlink(&elsewhere.0, folder.0.join("out")).unwrap();
    let out = DeleteFiles { folder: folder.0.join("out"), older_than, names: "*".into() };
    let error = super::super::run(&out, &folder.context()).await.unwrap_err();
    assert!(error.contains("lies outside"), "{error}");
    assert!(secret.exists());
}

fn rotate(path: &Path, keep: usize, copy: bool) -> RotateFile {
    RotateFile { path: path.to_owned(), keep, copy }
}

fn compress_all(folder: &Home, names: &str) -> CompressFiles {
    let (folder, older_than) = (folder.0.clone(), Span(Duration::ZERO));
    CompressFiles { folder, older_than, names: names.into() }
}

#[tokio::test]
async fn links_that_somebody_laid_lead_nowhere() {
    let (folder, elsewhere) = (Home::new("links"), Home::new("links-elsewhere"));
    let (precious, new) = (elsewhere.0.join("precious"), elsewhere.0.join("new"));
    fs::write(&precious, "precious").unwrap();
    let (log, context) = (folder.0.join("log"), folder.context());
    for target in [&precious, &new] {
        for name in ["log.1", "log.part", "log.gz.part"] {
            for (keep, copy) in [(1, true), (2, true), (1, false), (2, false)] {
                fs::write(&log, "words").unwrap();
                symlink(target, folder.0.join(name)).unwrap();
                super::super::run(&rotate(&log, keep, copy), &context).await.unwrap();
                assert_eq!(fs::read(folder.0.join("log.1")).unwrap(), b"words");
                for name in folder.names() {
                    fs::remove_file(folder.0.join(name)).unwrap();
                }
            }
            if name != "log.1" {
                fs::write(&log, "words").unwrap();
                symlink(target, folder.0.join(name)).unwrap();
                super::super::run(&compress_all(&folder, "log"), &context).await.unwrap();
                for name in folder.names() {
                    fs::remove_file(folder.0.join(name)).unwrap();
                }
            }
        }
    }
    symlink(&precious, &log).unwrap();
    let error = super::super::run(&rotate(&log, 1, true), &context).await.unwrap_err();
    assert!(error.ends_with("is no ordinary file"), "{error}");
    assert_eq!(elsewhere.names(), ["precious"]);
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
}

#[tokio::test]
async fn what_takes_the_place_of_a_file_has_its_owner_mode_and_age() {
    let folder = Home::new("owner");
    let log = folder.0.join("log");
    let is_root = fs::metadata(&folder.0).unwrap().uid() == 0;
    let owner = if is_root { 1000 } else { fs::metadata(&folder.0).unwrap().uid() };
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let write = || {
        fs::write(&log, "words").unwrap();
        chown(&log, Some(owner), None).unwrap();
        fs::set_permissions(&log, fs::Permissions::from_mode(0o600)).unwrap();
        File::options().write(true).open(&log).unwrap().set_modified(changed).unwrap();
    };
    let of = |name: &str| {
        let found = fs::metadata(folder.0.join(name)).unwrap();
        (found.uid(), found.mode() & 0o7777)
    };
    let age = |name: &str| fs::metadata(folder.0.join(name)).unwrap().modified().unwrap();
    for copy in [false, true] {
        write();
        super::super::run(&rotate(&log, 5, copy), &folder.context()).await.unwrap();
        assert_eq!((of("log"), of("log.1")), ((owner, 0o600), (owner, 0o600)), "{copy}");
        assert_eq!(age("log.1"), changed);
    }
    super::super::run(&compress_all(&folder, "log.*"), &folder.context()).await.unwrap();
    assert_eq!(folder.names(), ["log", "log.1.gz", "log.2.gz"]);
    assert_eq!((of("log.1.gz"), age("log.1.gz")), ((owner, 0o600), changed));
}

#[tokio::test]
async fn one_action_at_a_time_works_in_a_folder_and_stops_when_nobody_waits() {
    let folder = Home::new("slow");
    let log = folder.0.join("log");
    fs::write(&log, vec![b'x'; 64 << 20]).unwrap();
    let compress = compress_all(&folder, "log");
    let quickly = Context { timeout: Duration::from_millis(1), ..folder.context() };
    let error = super::super::run(&compress, &quickly).await.unwrap_err();
    assert_eq!(error, "it was not done within 1ms");
    // It is let go of soon, and nothing of it is left.
    let begun = std::time::Instant::now();
    while Folder::open(&folder.0, &folder.context().allowed).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(folder.names(), ["log"]);
    let held = Folder::open(&folder.0, &folder.context().allowed).unwrap();
    for action in [&compress as &dyn Act, &rotate(&log, 5, true)] {
        let error = super::super::run(action, &folder.context()).await.unwrap_err();
        assert!(error.starts_with("an action before is still at work in"), "{error}");
    }
    drop(held);
    super::super::run(&rotate(&log, 5, true), &folder.context()).await.unwrap();
}
