//! Where playbooks come from: the configuration file, a folder, and the program itself.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use remediation::{
    action::Allowed,
    playbook::{self, Playbook, Refused},
};

use crate::config::Config;

/// User and group that may do nothing in particular.
pub(super) const NOBODY: (u32, u32) = (65_534, 65_534);

/// What may be touched at all. A command does not get the rights of the system's administrator unless
/// the configuration says so.
pub fn allowed(config: &Config) -> Allowed {
    let is_root = fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0);
    Allowed {
        commands: config.healing.allow_commands.clone(),
        roots: config.healing.allow_folders.clone(),
        user: config.healing.command_user.or(is_root.then_some(NOBODY)),
        any: false,
    }
}

/// Every playbook that can work, the user's own first, and those that cannot.
pub fn read(config: &Config) -> (Vec<Playbook>, Vec<Refused>) {
    let allowed = allowed(config);
    let (mut good, mut bad) = (vec![], vec![]);
    if !config.playbook.is_empty() {
        let (file, text) = source(config);
        add(&mut good, &mut bad, playbook::load(&file, &text, &allowed));
    }
    if let Some(folder) = &config.healing.playbooks {
        match files(folder) {
            Ok(files) => {
                for (file, text) in files {
                    add(&mut good, &mut bad, playbook::load_file(&file, &text, &allowed));
                }
            }
            Err(error) => bad.push(Refused {
                place: format!("{}:0", folder.display()),
                reason: format!("the folder of playbooks cannot be read: {error}"),
            }),
        }
    }
    if config.healing.built_in {
        add(&mut good, &mut bad, (playbook::built_in(), vec![]));
    }
    (good, bad)
}

/// The text with the playbooks of the configuration: the file if it has them, as only it has lines.
fn source(config: &Config) -> (String, String) {
    let file = config
        .file
        .as_ref()
        .and_then(|path| Some((path.display().to_string(), fs::read_to_string(path).ok()?)));
    let written = || {
        let entries = config.playbook.iter().cloned().map(toml::Value::Table).collect();
        let table = toml::Table::from_iter([("playbook".to_owned(), toml::Value::Array(entries))]);
        ("configuration".to_owned(), table.to_string())
    };
    file.filter(|(_, text)| text.contains("[[playbook]]")).unwrap_or_else(written)
}

fn files(folder: &Path) -> std::io::Result<Vec<(String, String)>> {
    let mut paths: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|it| it == "toml"));
    paths.sort();
    paths.iter().map(|path| Ok((path.display().to_string(), fs::read_to_string(path)?))).collect()
}

fn add(
    good: &mut Vec<Playbook>,
    bad: &mut Vec<Refused>,
    (new, refused): (Vec<Playbook>, Vec<Refused>),
) {
    bad.extend(refused);
    for it in new {
        match good.iter().find(|other| other.name == it.name) {
            Some(other) => bad.push(Refused {
                reason: format!("playbook `{}` is there already, from {}", it.name, other.place),
                place: it.place,
            }),
            None => good.push(it),
        }
    }
}
