//! Redis: stream entries that nobody finishes, lists that a dead worker left, streams that grow.

use std::{
    collections::HashSet,
    fs::File,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use redis::{AsyncCommands, Client, Value, aio::MultiplexedConnection, streams::StreamRangeReply};
use serde::Deserialize;

use super::{
    Act, Allowed, Context, Done,
    file::{self, Folder},
};
use crate::span::Span;

/// Entries that one action moves at most; the next look decides whether it goes on.
const ENTRIES_MAX: usize = 10_000;
/// Entries per call.
const CHUNK: usize = 500;

/// Gives stream entries that were delivered and not finished to another consumer, and puts them back
/// into the stream's flow: they are added anew and the old ones acknowledged, so that any consumer of
/// the group gets them. Where several groups read the stream, the others would get them twice, so there only
/// poison is set aside, and of this group alone.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClaimPending {
    url: String,
    key: String,
    group: String,
    /// Not finished for at least this long.
    idle: Span,
    /// An entry that was delivered more often than this is poison and goes to `poison_key`. Whoever takes
    /// several at once delivers those behind it as often, so it is the oldest of each consumer; the others
    /// are worked on then, or show themselves if they are poison, too. `idle` is not asked for: it is never
    /// left alone for long, as it comes back to every worker that takes it.
    #[serde(default)]
    deliveries_max: Option<usize>,
    /// Where poison goes; needed with `deliveries_max`.
    #[serde(default)]
    poison_key: Option<String>,
}

/// Moves the entries of a list that a dead worker was processing back to its queue, the oldest first in
/// line again. Each move is one step of Redis: nothing is lost or doubled.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequeueList {
    url: String,
    /// The list of what was being processed.
    from: String,
    /// The queue.
    to: String,
}

/// Shortens a stream to its newest entries, after the others were written to a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrimStream {
    url: String,
    key: String,
    /// So many stay.
    keep: usize,
    /// Where the others go, as lines of JSON; under `healing.allow_folders`.
    archive: PathBuf,
}

/// In one step: the entry is elsewhere, or in the stream again, and the old one finished; or nothing happened,
/// because somebody has finished it meanwhile, works on it again, or it would come to other groups twice.
const REQUEUE: &str = "
    local p = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)[1]
    if not p or p[3] < tonumber(ARGV[3]) or p[4] < tonumber(ARGV[4]) then return 'busy' end
    local is_shared = #redis.call('XINFO', 'GROUPS', KEYS[1]) > 1
    if is_shared and KEYS[1] == KEYS[2] then return 'shared' end
    local e = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])
    if #e == 1 then redis.call('XADD', KEYS[2], '*', unpack(e[1][2])) end
    redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
    if not is_shared then redis.call('XDEL', KEYS[1], ARGV[2]) end
    return 'moved'";

#[async_trait]
impl Act for ClaimPending {
    fn target(&self) -> String {
        format!("{}/{}/{}", target(&self.url), self.key, self.group)
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        if self.deliveries_max.is_some() != self.poison_key.is_some() {
            return Err("`deliveries_max` and `poison_key` are given together".to_owned());
        }
        check(&self.url)
    }

    async fn act(&self, _: &Context) -> Result<Done, String> {
        let mut redis = connect(&self.url).await?;
        let idle = u64::try_from(self.idle.0.as_millis()).unwrap_or(u64::MAX);
        let (mut n_back, mut n_poison, mut n_shared) = (0, 0, 0);
        let is_too_often = |n: usize| self.deliveries_max.is_some_and(|max| n > max);
        let mut held_up = HashSet::new();
        let mut from = "-".to_owned();
        while n_back + n_poison < ENTRIES_MAX {
            let pending = self.pending(&mut redis, &from).await?;
            let Some((last, ..)) = pending.last() else { break };
            from = format!("({last}");
            for (id, consumer, unfinished, n_deliveries) in &pending {
                let is_poison = is_too_often(*n_deliveries) && held_up.insert(consumer.clone());
                if !is_poison && *unfinished < idle {
                    continue;
                }
                let poison = self.poison_key.as_ref().filter(|_| is_poison);
                let (to, least) = match poison {
                    Some(key) => (key, (0, *n_deliveries)),
                    None => (&self.key, (idle, 0)),
                };
                match (&*self.requeue(&mut redis, id, to, least).await?, poison) {
                    ("moved", Some(_)) => n_poison += 1,
                    ("moved", None) => n_back += 1,
                    ("shared", _) => n_shared += 1,
                    _ => (),
                }
            }
        }
        match n_back + n_poison {
            0 if n_shared > 0 => Err(format!(
                "several groups read `{}`, so {n_shared} entries cannot be put in line again without \
                 coming to the others twice; a worker of `{}` takes them over by XAUTOCLAIM",
                self.key, self.group
            )),
            0 => Err(format!("nothing of `{}` is pending for so long", self.key)),
            _ => {
                let said = format!("{n_back} entries are in line again, {n_poison} are set aside");
                Ok(Done::new(said))
            }
        }
    }
}

/// An entry that was delivered: its id, to whom, for how many milliseconds, and how often.
type Pending = (String, String, u64, usize);

impl ClaimPending {
    /// What was delivered and not finished, from an id on.
    async fn pending(
        &self,
        redis: &mut MultiplexedConnection,
        from: &str,
    ) -> Result<Vec<Pending>, String> {
        let mut ask = redis::cmd("XPENDING");
        ask.arg(&self.key).arg(&self.group).arg(from).arg("+").arg(CHUNK);
        ask.query_async(redis).await.map_err(told)
    }

    /// Moves an entry that is unfinished for at least so many milliseconds and was delivered at least so
    /// often; says what came of it.
    async fn requeue(
        &self,
        redis: &mut MultiplexedConnection,
        id: &str,
        to: &str,
        (idle, n_deliveries): (u64, usize),
    ) -> Result<String, String> {
        let mut ask = redis::cmd("EVAL");
        ask.arg(REQUEUE).arg(2).arg(&self.key).arg(to).arg(&self.group).arg(id);
        ask.arg(idle).arg(n_deliveries).query_async(redis).await.map_err(told)
    }
}

#[async_trait]
impl Act for RequeueList {
    fn target(&self) -> String {
        format!("{}/{}", target(&self.url), self.from)
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        if self.from == self.to {
            return Err("`from` and `to` are the same list".to_owned());
        }
        check(&self.url)
    }

    async fn act(&self, _: &Context) -> Result<Done, String> {
        let mut redis = connect(&self.url).await?;
        // What comes meanwhile is not ours.
        let n: usize = redis.llen(&self.from).await.map_err(told)?;
        let mut n_moved = 0;
        for _ in 0..n.min(ENTRIES_MAX) {
            let moved: Option<Vec<u8>> = redis::cmd("LMOVE")
                .arg(&self.from)
                .arg(&self.to)
                .arg("LEFT")
                .arg("RIGHT")
                .query_async(&mut redis)
                .await
                .map_err(told)?;
            if moved.is_none() {
                break;
            }
            n_moved += 1;
        }
        match n_moved {
            0 => Err(format!("`{}` is empty", self.from)),
            n => Ok(Done::new(format!("{n} entries are in line again"))),
        }
    }
}

#[async_trait]
impl Act for TrimStream {
    fn target(&self) -> String {
        format!("{}/{}", target(&self.url), self.key)
    }

    fn check(&self, allowed: &Allowed) -> Result<(), String> {
        let text = self.archive.display().to_string();
        file::without_dots("archive", &self.archive)?;
        if !super::has_names(&text) {
            allowed.folder(self.archive.parent().unwrap_or(Path::new("/")))?;
        }
        check(&self.url)
    }

    async fn act(&self, context: &Context) -> Result<Done, String> {
        let folder = self.archive.parent().ok_or("`archive` is no file")?;
        let name =
            self.archive.file_name().and_then(|it| it.to_str()).ok_or("`archive` is no file")?;
        let folder = Folder::open(folder, &context.allowed)?;
        let mut redis = connect(&self.url).await?;
        let length: usize = redis.xlen(&self.key).await.map_err(told)?;
        let surplus = length.saturating_sub(self.keep).min(ENTRIES_MAX);
        if surplus == 0 {
            return Err(format!("`{}` has {length} entries, no more than are kept", self.key));
        }
        let old: StreamRangeReply =
            redis.xrange_count(&self.key, "-", "+", surplus).await.map_err(told)?;
        // What is in the stream is not for everybody.
        let mut options = File::options();
        let (file, _) = folder.ordinary(name, options.create(true).append(true).mode(0o600))?;
        self.write(file, &old)?;
        let ids: Vec<&str> = old.ids.iter().map(|entry| entry.id.as_str()).collect();
        let mut n = 0;
        for chunk in ids.chunks(CHUNK) {
            n += redis.xdel::<_, _, usize>(&self.key, chunk).await.map_err(told)?;
        }
        Ok(Done::new(format!("{n} entries moved to {}", self.archive.display())))
    }
}

impl TrimStream {
    /// On disk before anything is removed.
    fn write(&self, mut file: File, entries: &StreamRangeReply) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.archive.display());
        for entry in &entries.ids {
            let field = |(name, value): (&String, &Value)| (name.clone(), text(value).into());
            let fields: serde_json::Map<_, serde_json::Value> =
                entry.map.iter().map(field).collect();
            let line = serde_json::json!({"id": entry.id, "fields": fields});
            writeln!(file, "{line}").map_err(failed)?;
        }
        file.sync_all().map_err(failed)
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    }
}

async fn connect(url: &str) -> Result<MultiplexedConnection, String> {
    let client = Client::open(url).map_err(told)?;
    client.get_multiplexed_async_connection().await.map_err(told)
}

fn told(error: redis::RedisError) -> String {
    error.to_string()
}

fn check(url: &str) -> Result<(), String> {
    if super::has_names(url) {
        return Ok(());
    }
    Client::open(url).map(drop).map_err(|_| "`url` is not `redis://host:port/database`".to_owned())
}

fn target(url: &str) -> String {
    let rest = url.rsplit('@').next().unwrap_or_default();
    format!("redis:{}", rest.split_once("://").map_or(rest, |(_, rest)| rest))
}
