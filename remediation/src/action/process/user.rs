//! Who runs a process that is started.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use serde::Deserialize;

use super::Running;

/// Programs that choose the user themselves, for which they need to be started by the administrator.
const CHOOSERS: [&str; 14] = [
    "setpriv",
    "runuser",
    "su",
    "sudo",
    "doas",
    "gosu",
    "su-exec",
    "chpst",
    "setuidgid",
    "s6-setuidgid",
    "start-stop-daemon",
    "service",
    "systemctl",
    "systemd-run",
];

/// A user by name or number; an empty name is nobody in particular.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub(super) enum User {
    Number(u32),
    Name(String),
}

/// The numbers of a user and a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Whom {
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Default for User {
    fn default() -> Self {
        Self::Name(String::new())
    }
}

impl User {
    /// This user; or who runs the process that is replaced, if that is what `start` starts; or, if it is gone,
    /// the owner of its pid file. `None` is whoever we are: only the administrator may be somebody else.
    pub(super) fn or_of(
        &self,
        before: Option<&Running>,
        pid_file: &Path,
        start: &[String],
    ) -> Result<Option<Whom>, String> {
        let ours = ours();
        if let Some(chosen) = self.find()? {
            return Ok(Some(chosen).filter(|it| ours == 0 || it.user != ours));
        }
        let program = start.first().and_then(|it| it.rsplit('/').next()).unwrap_or_default();
        let found = match before {
            _ if CHOOSERS.contains(&program) => None,
            Some(it) => Some(it).filter(|it| it.runs(start)).and_then(Running::whom),
            None => fs::symlink_metadata(pid_file)
                .ok()
                .filter(fs::Metadata::is_file)
                .map(|it| Whom { user: it.uid(), group: it.gid() }),
        };
        Ok(found.filter(|it| ours == 0 && it.user != ours))
    }

    fn find(&self) -> Result<Option<Whom>, String> {
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        match self {
            Self::Name(name) if name.is_empty() => Ok(None),
            Self::Name(name) => match known(&users, |it, _| it == name) {
                Some(it) => Ok(Some(it)),
                None => Err(format!("there is no user `{name}`")),
            },
            Self::Number(user) => {
                let found = known(&users, |_, it| it == *user);
                Ok(Some(found.unwrap_or(Whom { user: *user, group: *user })))
            }
        }
    }
}

/// Who we are. Our own process answers for us: what the standard library lacks takes unsafe code.
pub(super) fn ours() -> u32 {
    fs::metadata("/proc/self").map_or(u32::MAX, |it| it.uid())
}

/// The first one of `/etc/passwd` that fits by name or number.
fn known(users: &str, fits: impl Fn(&str, u32) -> bool) -> Option<Whom> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let user = fields.nth(1)?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        fits(name, user).then_some(Whom { user, group })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_number_with_the_group() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:1000:1001::/:/bin/sh\n";
        let app = Whom { user: 1000, group: 1001 };
        assert_eq!(known(users, |name, _| name == "app"), Some(app));
        assert_eq!(known(users, |_, user| user == 1000), Some(app));
        assert_eq!(known(users, |name, _| name == "none"), None);
        assert_eq!(User::default().find(), Ok(None));
        let none = User::Name("no such user".into()).find().unwrap_err();
        assert_eq!(none, "there is no user `no such user`");
        let nobody = User::Number(4_000_000).find().unwrap();
        assert_eq!(nobody, Some(Whom { user: 4_000_000, group: 4_000_000 }));
    }

    #[test]
    fn who_changes_the_user_itself_is_started_as_we_are() {
        let file = std::env::temp_dir().join(format!("pipenotify-user-{}", std::process::id()));
        fs::write(&file, "").unwrap();
        let is_root = ours() == 0;
        if is_root {
            std::os::unix::fs::chown(&file, Some(1000), Some(1001)).unwrap();
        }
        let whom = |program: &str| User::default().or_of(None, &file, &[program.to_owned()]);
        let owner = is_root.then_some(Whom { user: 1000, group: 1001 });
        assert_eq!(whom("/usr/bin/worker").unwrap(), owner);
        assert_eq!(whom("/usr/bin/setpriv").unwrap(), None);
        let chosen = User::Number(0).or_of(None, &file, &[]).unwrap();
        assert_eq!(chosen, Some(Whom { user: 0, group: 0 }), "also against the owner of the file");
        fs::remove_file(file).unwrap();
    }
}
