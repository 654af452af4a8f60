//! Programs that the configuration allows: no shell, arguments as a list, environment cleared.

use std::{collections::BTreeMap, path::PathBuf, process::Stdio};

use async_trait::async_trait;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
};

use super::{Act, Allowed, Context, Done, output::OUTPUT_BYTES_MAX};

/// Where programs are found.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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

/// Waits for a program; what is dropped before that is killed. Its output is kept up to a limit and
/// read to the end, so that a talkative program does not block.
async fn finish(mut command: Command, name: &str) -> Result<String, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("`{name}`: {error}"))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (out, err, status) = tokio::join!(read(out), read(err), child.wait());
    let status = status.map_err(|error| format!("`{name}`: {error}"))?;
    let output = [out, err].into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join("\n");
    match status.success() {
        true => Ok(output),
        false => Err(format!("`{name}` ended with {status}: {output}")),
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut from) = from else { return String::new() };
    let (mut kept, mut chunk) = (vec![], [0; 4096]);
    while let Ok(n) = from.read(&mut chunk).await
        && n > 0
    {
        let room = (OUTPUT_BYTES_MAX + 1).saturating_sub(kept.len()).min(n);
        kept.extend_from_slice(&chunk[..room]);
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
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
            commands: ["/usr/bin/env", "/bin/sleep", "/bin/ls"].map(PathBuf::from).to_vec(),
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
}
