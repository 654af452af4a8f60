//! Whether the process that a pid file names is the one that is meant. A file that was written a moment ago, by
//! whoever it belongs to, may still name the wrong one.

use std::{fs, path::Path};

use super::Running;

/// Programs that run others' scripts: that two processes have one of them in common says nothing.
const INTERPRETERS: [&str; 11] =
    ["sh", "bash", "dash", "ksh", "zsh", "python", "perl", "ruby", "node", "java", "php"];

/// Bytes of a name that the system keeps of a process.
const NAME_BYTES: usize = 15;

/// What is known of a process by what it runs.
#[derive(Clone, Debug, Default, PartialEq)]
struct Shown {
    /// Names of its program: it may have been started through a link, or have renamed itself.
    names: Vec<String>,
    /// Its command line.
    words: Vec<String>,
}

/// Says why a process is not the one that is meant: one whose command line has `text`; or, without that, one that
/// looks like what `start` starts.
pub(super) fn is_meant(
    process: &Running,
    pid_file: &Path,
    start: &[String],
    text: Option<&str>,
) -> Result<(), String> {
    let shown = shown(process.pid);
    let line = shown.words.join(" ");
    let (is_meant, expected) = match text.filter(|it| !it.is_empty()) {
        Some(text) => (line.contains(text), format!("has no `{text}` in its command line")),
        None => (
            looks_like(&shown, start),
            "is not what `start` starts; if it is right, say in `command_line` what its command line has"
                .to_owned(),
        ),
    };
    // It may have ended meanwhile, and then nothing is shown of it.
    match is_meant || !process.is_there() {
        true => Ok(()),
        false => Err(format!(
            "{} names process {}, which runs `{}` and {expected}",
            pid_file.display(),
            process.pid,
            shown.names.first().map_or("nothing", String::as_str)
        )),
    }
}

fn shown(pid: u32) -> Shown {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line);
    let words: Vec<String> =
        line.split('\0').filter(|it| !it.is_empty()).map(str::to_owned).collect();
    let kept = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    // Who has renamed itself may have put more behind its name.
    let first = words.first().and_then(|it| it.split([' ', ':']).next()).unwrap_or_default();
    let program = program.to_string_lossy();
    let names = [file_name(first), kept.trim_end(), file_name(&program)];
    let names = names.into_iter().filter(|it| !it.is_empty()).map(str::to_owned).collect();
    Shown { names, words }
}

/// Whether the process could be what this command starts, itself or through others: the program, its script or a
/// path that it works at is named there.
fn looks_like(it: &Shown, start: &[String]) -> bool {
    let told: Vec<&str> =
        start.iter().flat_map(|word| word.split_whitespace().chain([word.as_str()])).collect();
    let is_named = |name: &String| {
        !is_interpreter(name)
            && told.iter().map(|word| file_name(word)).any(|word| {
                word == name || (name.len() == NAME_BYTES && word.starts_with(name.as_str()))
            })
    };
    let runs_script = it.names.iter().any(|name| is_interpreter(name));
    let is_shared = |word: &String| {
        let says_something = word.starts_with('/') || (runs_script && !word.starts_with('-'));
        says_something && word.parse::<f64>().is_err() && told.contains(&word.as_str())
    };
    it.names.iter().any(is_named) || it.words.iter().skip(1).any(is_shared)
}

fn is_interpreter(name: &str) -> bool {
    INTERPRETERS.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.'))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_looks_like_what_is_started_itself_or_through_others() {
        let check = |names: &[&str], line: &str, start: &[&str], expected: bool| {
            let owned = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
            let words: Vec<_> = line.split_whitespace().collect();
            let shown = Shown { names: owned(names), words: owned(&words) };
            assert_eq!(looks_like(&shown, &owned(start)), expected, "{line}: {start:?}");
        };
        check(&["sleep"], "sleep 61", &["/usr/bin/sleep", "60"], true);
        check(&["sleep"], "sleep 61", &["/usr/bin/worker"], false);
        check(&["worker"], "worker --n 1", &["setpriv", "--reuid", "5", "worker"], true);
        check(&["worker"], "worker", &["sh", "-c", "exec /opt/worker --n 1"], true);
        // Renamed, or started through a link.
        check(&["redis-server", "redis-check-rdb"], "redis-server *:6379", &["redis-server"], true);
        check(&["a-very-long-nam"], "", &["/opt/a-very-long-name"], true);
        // What is started is another program, which works at the same.
        check(&["postgres"], "postgres -D /data", &["pg_ctl", "-D", "/data", "start"], true);
        check(&["postgres"], "postgres -D /other", &["pg_ctl", "-D", "/data", "start"], false);
        // One that many have says nothing.
        check(&["python3.12"], "python3 worker.py", &["python3", "worker.py"], true);
        check(&["python3.12"], "python3 -m mail 60", &["python3", "-m", "worker", "60"], false);
        check(&["sh"], "sh /opt/run.sh", &["/opt/run.sh"], true);
        check(&[], "", &["worker"], false);
    }
}
