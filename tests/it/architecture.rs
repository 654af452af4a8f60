//! ARCHITECTURE.md promises who may know whom. This test keeps the promise.

use std::{fs, path::Path};

const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("data", &[]),
    ("ingest", &["data"]),
    ("analytics", &["data"]),
    ("remediation", &["data"]),
    ("serve", &["data", "ingest", "analytics", "remediation"]),
];

/// Libraries that only one crate may name.
const ONLY: &[(&str, &str)] = &[
    ("datafusion", "analytics"),
    ("augurs", "analytics"),
    ("sqlx", "data"),
    ("deltalake-core", "data"),
    ("axum", "serve"),
    ("clap", "serve"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Whether the manifest of `krate` names `other`, in any of its tables.
fn depends(krate: &str, other: &str) -> bool {
    let manifest = fs::read_to_string(root().join(krate).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = toml::from_str(&manifest).unwrap();
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let tables = kinds.iter().filter_map(|kind| manifest.get(*kind)?.as_table());
    tables.flat_map(toml::Table::keys).any(|name| name == other)
}

#[test]
fn siblings_never_meet() {
    for (krate, allowed) in MAY_DEPEND_ON {
        for (other, _) in MAY_DEPEND_ON {
            let is_allowed = allowed.contains(other);
            assert!(!depends(krate, other) || is_allowed, "`{krate}` must not depend on `{other}`");
        }
    }
}

#[test]
fn a_library_with_one_home_is_named_nowhere_else() {
    for (library, home) in ONLY {
        assert!(depends(home, library), "`{home}` no longer names `{library}`");
        for (krate, _) in MAY_DEPEND_ON.iter().filter(|(krate, _)| krate != home) {
            assert!(
                !depends(krate, library),
                "only `{home}` may depend on `{library}`, not `{krate}`"
            );
        }
    }
}

#[test]
fn no_file_names_a_path_of_the_machine_it_was_written_on() {
    // In pieces, so that this file does not name them.
    let forbidden = [["/wo", "rk/"], ["/ro", "ot/"], ["/home", "/"], ["shared/", "STYLE"]]
        .map(|it| it.concat());
    for path in files(root()) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for word in &forbidden {
            assert!(!text.contains(word.as_str()), "{} names `{word}`", path.display());
        }
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let skipped = ["target", ".git", "lake", "node_modules", "Cargo.lock"];
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let kept = entries.filter(|entry| !skipped.iter().any(|name| entry.file_name() == *name));
    kept.flat_map(|entry| match entry.file_type().unwrap().is_dir() {
        true => files(&entry.path()),
        false => vec![entry.path()],
    })
    .collect()
}
