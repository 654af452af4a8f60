//! Programs that the configuration allows: no shell, arguments as a list, environment cleared.

use std::{collections::BTreeMap, mem, path::PathBuf, pin::pin, process::Stdio, time::Duration};

use async_trait::async_trait;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    join,
    process::Command,
    time::timeout,
};

use super::{Act, Allowed, Context, Done, output::OUTPUT_BYTES_MAX};

/// Where programs are found.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long the output of a program is waited for after its end.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(200);

/// Runs a program that `healing.allow_commands` names.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunCommand {
    /// The whole path.
    program: String,
    #[serde(default)]
    arguments: Vec<String>,
    #[serde(default)]
    folder: Option<PathBuf>,
    /// Its environment besides `PATH` and `PIPENOTIFY_ACTION`, the idempotency key.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// Who runs it, if this process may choose; `healing.command_user` when absent.
    #[serde(default)]
    user_id: Option<u32>,
    #[serde(default)]
    group_id: Option<u32>,
}

#[async_trait]
impl Act for RunCommand {
    fn target(&self) -> String {
        format!("command:{} {}", self.program, self.arguments.join(" ")).trim_end().to_owned()
    }

    fn check(&self, allowed: &Allowed) -> Result<(), String> {
        allowed.command(&self.program)
    }

    async fn act(&self, context: &Context) -> Result<Done, String> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("PIPENOTIFY_ACTION", &context.key)
            .envs(&self.environment)
            .current_dir(self.folder.clone().unwrap_or_else(|| "/".into()));
        let (user, group) = context.allowed.user.unzip();
        if let Some(group) = self.group_id.or(group) {
            command.gid(group);
        }
        if let Some(user) = self.user_id.or(user) {
            command.uid(user);
        }
        let output = finish(command, &self.program).await?;
        Ok(Done { summary: format!("`{}` succeeded", self.program), output })
    }
}

/// Runs one of the system's own programs.
pub(super) async fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments);
    finish(command, program).await
}

/// Waits for a program, not for what it leaves running; on failure to wait, all that it has started goes.
/// Its output is kept up to a limit and read to the end, so that a talkative program does not block.
async fn finish(mut command: Command, name: &str) -> Result<String, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child =
        command.process_group(0).spawn().map_err(|error| format!("`{name}`: {error}"))?;
    let group = child.id().map(Group::of);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (mut out_kept, mut err_kept) = (vec![], vec![]);
    let status = {
        let mut reading = pin!(async { join!(read(out, &mut out_kept), read(err, &mut err_kept)) });
        tokio::select! {
            status = child.wait() => {
                // What it has left running may hold its output open for ever.
                drop(timeout(LAST_WORDS_WITHIN, &mut reading).await);
                status
            }
            _ = &mut reading => child.wait().await,
        }
    };
    group.into_iter().for_each(Group::leave);
    let status = status.map_err(|error| format!("`{name}`: {error}"))?;
    let text = |kept: &[u8]| String::from_utf8_lossy(kept).trim().to_owned();
    let said = [text(&out_kept), text(&err_kept)];
    let output = said.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join("\n");
    match status.success() {
        true => Ok(output),
        false => Err(format!("`{name}` ended with {status}: {output}")),
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut chunk = [0; 4096];
    while let Ok(n) = from.read(&mut chunk).await
        && n > 0
    {
        let room = (OUTPUT_BYTES_MAX + 1).saturating_sub(kept.len()).min(n);
        kept.extend_from_slice(&chunk[..room]);
    }
}

/// A program that leads a group of processes. When this is dropped, all of the group are killed, those too
/// that it has started; by the system's own program, since the standard library cannot.
#[derive(Debug)]
pub(super) struct Group(u32);

impl Group {
    pub(super) fn of(pid: u32) -> Self {
        Self(pid)
    }

    /// Whatever it has started may go on.
    fn leave(self) {
        mem::forget(self);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let mut kill = std::process::Command::new("kill");
        kill.args(["-KILL", "--", &format!("-{}", self.0)]);
        drop(kill.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn command(program: &str, arguments: &[&str]) -> RunCommand {
        RunCommand {
            program: program.into(),
            arguments: arguments.iter().map(|it| (*it).to_owned()).collect(),
            folder: None,
            environment: BTreeMap::new(),
            user_id: None,
            group_id: None,
        }
    }

    async fn run(command: &RunCommand) -> Result<Done, String> {
        let allowed = Allowed {
            commands: ["/usr/bin/env", "/bin/sleep", "/bin/ls", "/usr/bin/sh"]
                .map(PathBuf::from)
                .to_vec(),
            ..Allowed::default()
        };
        let timeout = Duration::from_millis(500);
        super::super::run(command, &Context::new("k", allowed, timeout, Default::default())).await
    }

    #[tokio::test]
    async fn a_command_has_nothing_but_what_it_was_given() {
        let done = run(&command("/usr/bin/env", &[])).await.unwrap();
        assert_eq!(done.output, format!("PATH={PATH}\nPIPENOTIFY_ACTION=k"));
    }

    #[tokio::test]
    async fn what_is_not_allowed_slow_or_failing_is_an_error() {
        let error = run(&command("/bin/sh", &["-c", "id"])).await.unwrap_err();
        assert_eq!(error, "`/bin/sh` may not be run; add it to `healing.allow_commands`");
        let error = run(&command("/bin/sleep", &["60"])).await.unwrap_err();
        assert_eq!(error, "it was not done within 500ms");
        let error = run(&command("/bin/ls", &["/no/such/folder"])).await.unwrap_err();
        assert!(error.contains("ended with exit status: 2"), "{error}");
    }

    #[tokio::test]
    async fn what_a_failure_says_is_short_and_without_secrets() {
        let error = run(&command("/bin/ls", &["/no/password=abc"])).await.unwrap_err();
        assert!(error.contains("password=redacted") && !error.contains("abc"), "{error}");
        let error = run(&command("/bin/ls", &[&"x".repeat(20_000)])).await.unwrap_err();
        assert!(error.len() < OUTPUT_BYTES_MAX + 40, "{} bytes", error.len());
    }

    /// The process whose number stands in a file, if it is there.
    fn is_there(file: &std::path::Path) -> bool {
        let pid = std::fs::read_to_string(file).unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        stat.is_ok_and(|it| !it.contains(") Z "))
    }

    #[tokio::test]
    async fn what_a_script_leaves_running_is_not_waited_for_and_goes_when_it_takes_too_long() {
        let file = std::env::temp_dir().join(format!("pipenotify-left-{}", std::process::id()));
        let script = format!("echo said; sleep 60 & echo $! > {}; ", file.display());
        let done = run(&command("/usr/bin/sh", &["-c", &script])).await.unwrap();
        assert_eq!(done.output, "said");
        assert!(is_there(&file), "what it was to start");
        let pid = std::fs::read_to_string(&file).unwrap();
        std::process::Command::new("kill").arg(pid.trim()).status().unwrap();

        let slow = run(&command("/usr/bin/sh", &["-c", &format!("{script} sleep 60")])).await;
        assert_eq!(slow.unwrap_err(), "it was not done within 500ms");
        let begun = std::time::Instant::now();
        while is_there(&file) {
            assert!(begun.elapsed() < Duration::from_secs(5));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        std::fs::remove_file(file).unwrap();
    }
}
