//! Which files there are, which of them are the same as before, and what is new in them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use regex::Regex;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    MAX_FILES,
    message::{Message, Reader},
    state::{Key, Position, State},
};

/// Bytes at the start of a file by which it is recognised.
const HEAD: u64 = 256;
/// Rounds that a file, once rotated away, is still followed without growing.
const MAX_IDLE: u32 = 10;

/// What one round found.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// With the path that each came from.
    pub(super) messages: Vec<(String, Message)>,
    /// Bytes that wait for the next round.
    pub(super) unread: u64,
    /// Bytes of all files that the patterns match.
    pub(super) size: u64,
}

/// The files that the patterns match, kept open so that a renamed one can be read to its end.
#[derive(Debug)]
pub(super) struct Files {
    patterns: Vec<(PathBuf, Regex)>,
    from_start: bool,
    open: BTreeMap<Key, File>,
    /// Size at the last look.
    sizes: BTreeMap<Key, u64>,
    /// Rounds since a file that no pattern matches any more has grown.
    idle: BTreeMap<Key, u32>,
}

impl Files {
    pub(super) fn new(paths: &[String], from_start: bool) -> Result<Self, String> {
        let patterns = paths.iter().map(|path| pattern(path)).collect::<Result<_, _>>()?;
        let (open, sizes, idle) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Ok(Self { patterns, from_start, open, sizes, idle })
    }

    /// Reads what is new, or once more what was not acknowledged. Leaves what it read as
    /// `state.intent`.
    pub(super) fn read(
        &mut self,
        state: &mut State,
        reader: &Reader,
        max_read: usize,
    ) -> Result<Round, String> {
        let found = self.discover();
        self.open_all(state, &found);
        let sizes = found.keys().filter_map(|key| self.open.get(key)?.metadata().ok());
        let size = sizes.map(|data| data.len()).sum();
        if let Some(intent) = &state.intent {
            return Ok(Round { size, ..self.again(&state.done, intent, reader) });
        }
        self.follow(state, &found)?;
        let mut round = Round { size, ..Round::default() };
        let mut intent = BTreeMap::new();
        let share = (max_read / self.open.len().max(1)).max(4 * 1024);
        for (key, file) in &self.open {
            let Some(position) = state.done.get(key) else { continue };
            let is_rotated = !found.contains_key(key);
            let size = file.metadata().map_or(position.offset, |data| data.len());
            let is_quiet = self.sizes.insert(key.clone(), size) == Some(size);
            let idle =
                if is_rotated && is_quiet { self.idle.get(key).map_or(1, |n| n + 1) } else { 0 };
            self.idle.insert(key.clone(), idle);
            let bytes = bytes(file, position.offset, share);
            let is_end = position.offset + bytes.len() as u64 >= size;
            let (messages, used) =
                complete(reader, &bytes, is_quiet && is_end, is_rotated, bytes.len() == share);
            let end = position.offset + used as u64;
            round.unread += size.saturating_sub(end);
            if used > 0 {
                intent.insert(key.clone(), Position::at(file, position.path.clone(), end));
            }
            let path = position.path.display().to_string();
            round.messages.extend(messages.into_iter().map(|message| (path.clone(), message)));
        }
        state.intent = (!intent.is_empty()).then_some(intent);
        Ok(round)
    }

    /// The same bytes as last time.
    fn again(
        &self,
        done: &BTreeMap<Key, Position>,
        intent: &BTreeMap<Key, Position>,
        reader: &Reader,
    ) -> Round {
        let mut round = Round::default();
        for (key, end) in intent {
            let (Some(file), Some(from)) = (self.open.get(key), done.get(key)) else { continue };
            let n = end.offset.saturating_sub(from.offset) as usize;
            let (messages, _) = reader.messages(&bytes(file, from.offset, n), true);
            let path = end.path.display().to_string();
            let messages = messages.into_iter().map(|(_, message)| (path.clone(), message));
            round.messages.extend(messages);
        }
        round
    }

    /// Everything that a pattern matches now.
    fn discover(&self) -> BTreeMap<Key, PathBuf> {
        let mut found = BTreeMap::new();
        for (folder, name) in &self.patterns {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let is_match = entry.file_name().to_str().is_some_and(|text| name.is_match(text));
                let path = entry.path();
                // Follows links: the file behind one is what is written to.
                let Some(data) = fs::metadata(&path).ok().filter(|data| is_match && data.is_file())
                else {
                    continue;
                };
                if found.len() < MAX_FILES {
                    found.insert(key(&data), path);
                }
            }
        }
        found
    }

    /// Opens what is new, and what was rotated away while we were not running.
    fn open_all(&mut self, state: &State, found: &BTreeMap<Key, PathBuf>) {
        for (key, path) in found {
            self.open_one(key, path);
        }
        let gone: Vec<_> =
            state.done.iter().filter(|(key, _)| !self.open.contains_key(*key)).collect();
        let folders: BTreeSet<_> = gone.iter().filter_map(|(_, p)| p.path.parent()).collect();
        for folder in folders {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let Ok(data) = entry.metadata() else { continue };
                let found = key(&data);
                if data.is_file() && gone.iter().any(|(key, _)| **key == found) {
                    self.open_one(&found, &entry.path());
                }
            }
        }
    }

    /// Between looking and opening the name may have passed to another file.
    fn open_one(&mut self, key: &Key, path: &Path) {
        if !self.open.contains_key(key)
            && let Ok(file) = File::open(path)
            && file.metadata().is_ok_and(|data| self::key(&data) == *key)
        {
            self.open.insert(key.clone(), file);
        }
    }

    /// Brings the positions in line with what the files are now.
    fn follow(&mut self, state: &mut State, found: &BTreeMap<Key, PathBuf>) -> Result<(), String> {
        let is_first = state.is_new;
        for (key, path) in found {
            let Some(file) = self.open.get(key) else { continue };
            match state.done.get_mut(key) {
                Some(position) if position.is_of(file) => {}
                Some(position) => {
                    *position = Position { path: path.clone(), ..Position::default() }
                }
                None => {
                    let skip = is_first && !self.from_start;
                    let offset =
                        if skip { file.metadata().map_or(0, |data| data.len()) } else { 0 };
                    let position = Position::at(file, path.clone(), offset);
                    state.done.insert(key.clone(), position);
                }
            }
        }
        let idle = &self.idle;
        let is_over = |key: &Key| {
            !found.contains_key(key) && idle.get(key).is_some_and(|rounds| *rounds >= MAX_IDLE)
        };
        self.open.retain(|key, _| !is_over(key));
        state.done.retain(|key, _| self.open.contains_key(key));
        self.sizes.retain(|key, _| self.open.contains_key(key));
        let open = &self.open;
        self.idle.retain(|key, _| open.contains_key(key));
        if is_first {
            state.is_new = false;
            state.save()?; // Where we began, or a restart would skip what came since.
        }
        Ok(())
    }
}

impl Position {
    fn at(file: &File, path: PathBuf, offset: u64) -> Self {
        let head_len = offset.min(HEAD);
        let head = xxh3_64(&bytes(file, 0, head_len as usize));
        Self { path, offset, head, head_len }
    }

    /// `file` still begins as it did, and is at least as long: nothing was truncated.
    fn is_of(&self, file: &File) -> bool {
        file.metadata().is_ok_and(|data| data.len() >= self.offset)
            && xxh3_64(&bytes(file, 0, self.head_len as usize)) == self.head
    }
}

/// Messages that are surely complete, and the bytes that they took. The last one may still be
/// going on in lines to come, unless the file is quiet.
fn complete(
    reader: &Reader,
    bytes: &[u8],
    is_quiet: bool,
    is_rotated: bool,
    is_full: bool,
) -> (Vec<Message>, usize) {
    let (mut messages, mut used) = reader.messages(bytes, is_quiet && is_rotated);
    if used == 0 && is_full {
        (messages, used) = reader.messages(bytes, true); // One line fills it: in pieces, then.
    } else if !is_quiet
        && let Some((start, _)) = messages.last()
        && !(*start == 0 && is_full)
    {
        used = *start;
        messages.pop();
    }
    (messages.into_iter().map(|(_, message)| message).collect(), used)
}

/// At most `n` bytes from `offset` on; fewer at the end or on an error, which the next round meets.
fn bytes(file: &File, offset: u64, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    let mut filled = 0;
    while filled < n {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) | Err(_) => break,
            Ok(more) => filled += more,
        }
    }
    bytes.truncate(filled);
    bytes
}

fn key(data: &fs::Metadata) -> Key {
    format!("{}:{}", data.dev(), data.ino())
}

/// A folder and what names in it look like.
fn pattern(path: &str) -> Result<(PathBuf, Regex), String> {
    let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
    if name.is_empty() || folder.contains(['*', '?']) {
        return Err(format!(
            "`{path}`: only the last part, which must not be empty, may hold `*`, `?`"
        ));
    }
    let name = regex::escape(name).replace(r"\*", ".*").replace(r"\?", ".");
    let name = Regex::new(&format!("^{name}$")).map_err(|error| error.to_string())?;
    Ok((if folder.is_empty() { "/".into() } else { folder.into() }, name))
}
