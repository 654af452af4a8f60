//! Where playbooks come from: the configuration file, a folder, and the program itself.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

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
        for (file, text) in files(folder) {
            match text {
                Ok(text) => {
                    add(&mut good, &mut bad, playbook::load_file(&file, &text, &allowed));
                }
                Err(error) => bad.push(Refused {
                    place: format!("{file}:1"),
                    reason: format!("it cannot be read: {error}"),
                }),
            }
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
    let has_them = |text: &str| {
        toml::from_str::<toml::Table>(text).is_ok_and(|it| it.contains_key("playbook"))
    };
    file.filter(|(_, text)| has_them(text)).unwrap_or_else(written)
}

/// The files of a folder with their text. What cannot be read is named and does not take the others along.
fn files(folder: &Path) -> Vec<(String, io::Result<String>)> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return vec![(folder.display().to_string(), Err(error))],
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|it| it == "toml"));
    paths.sort();
    paths.iter().map(|path| (path.display().to_string(), fs::read_to_string(path))).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_does_not_take_the_others_along() {
        let folder = std::env::temp_dir().join(format!("pipenotify-books-{}", std::process::id()));
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        let book = "[[playbook]]\nname = 'p'\n[[playbook.action]]\ndo = 'call_http'\n\
                    url = 'http://127.0.0.1/'\n";
        fs::write(folder.join("z.toml"), book).unwrap();
        fs::write(folder.join("binary.toml"), [0xff, 0xfe]).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.join("dangling.toml")).unwrap();
        let mut config = Config::default();
        config.healing.built_in = false;
        config.healing.playbooks = Some(folder.clone());
        let (good, bad) = read(&config);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(good.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["p"]);
        let places: Vec<_> = bad.iter().map(|it| it.place.rsplit('/').next().unwrap()).collect();
        assert_eq!(places, ["binary.toml:1", "dangling.toml:1"]);
        config.healing.playbooks = Some(folder);
        assert_eq!(read(&config).1.len(), 1, "a folder that is not there is told, too");
    }
}
