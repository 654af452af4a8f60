//! From bytes to messages: lines, joined lines, level and time.

use chrono::DateTime;
use regex::Regex;

use super::MAX_JOINED;

/// One message, of one line or several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) text: String,
    /// OpenTelemetry's number; absent when the message does not say.
    pub(super) severity: Option<i32>,
    /// Microseconds since the epoch; absent when the message does not say, zone included.
    pub(super) ts: Option<i64>,
    pub(super) is_cut: bool,
}

impl Message {
    pub(super) fn level(&self) -> &'static str {
        match self.severity {
            Some(..=4) => "trace",
            Some(5..=8) => "debug",
            Some(9..=12) => "info",
            Some(13..=16) => "warn",
            Some(17..=20) => "error",
            Some(21..) => "fatal",
            None => "unknown",
        }
    }
}

/// Knows what levels and times look like.
#[derive(Debug)]
pub(super) struct Reader {
    keyed: Regex,
    bare: Regex,
    time: Regex,
    max_line: usize,
}

impl Reader {
    pub(super) fn new(max_line: usize) -> Self {
        let regex = |text| Regex::new(text).expect("a constant that the tests compile");
        Self {
            keyed: regex(r#"(?i)"?\b(?:level|severity|levelname|lvl)"?\s*[:=]\s*"?([a-z]+)"#),
            bare: regex(
                r"\b(TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|ERR|CRITICAL|CRIT|FATAL|PANIC|SEVERE|ALERT|EMERG)\b|[\[<(](?i:(trace|debug|info|notice|warn|warning|error|err|critical|crit|fatal|panic|alert|emerg))[\]>)]",
            ),
            time: regex(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:\d\d)"),
            max_line,
        }
    }

    /// Messages in `bytes` with where each begins. All bytes up to the last newline are used;
    /// those behind it only when `is_final`.
    pub(super) fn messages(&self, bytes: &[u8], is_final: bool) -> (Vec<(usize, Message)>, usize) {
        let mut groups: Vec<(usize, Group)> = vec![];
        let mut at = 0;
        while at < bytes.len() {
            let newline = bytes[at..].iter().position(|&byte| byte == b'\n');
            let end = match newline {
                Some(n) => at + n,
                None if is_final => bytes.len(),
                None => break,
            };
            let line = &bytes[at..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            match groups.last_mut() {
                Some((_, group)) if group.takes(line) => group.push(line, self.max_line),
                _ => groups.push((at, Group::new(line, self.max_line))),
            }
            at = (end + 1).min(bytes.len());
        }
        let messages = groups.into_iter().filter(|(_, group)| !group.text.is_empty());
        (messages.map(|(at, group)| (at, self.message(group))).collect(), at)
    }

    fn message(&self, group: Group) -> Message {
        let text = String::from_utf8_lossy(&group.text).into_owned();
        let first = text.lines().next().unwrap_or_default();
        let head = first.char_indices().nth(300).map_or(first, |(at, _)| &first[..at]);
        let (severity, ts) = (self.severity(head), self.time(head));
        Message { severity, ts, is_cut: group.is_cut, text }
    }

    fn severity(&self, line: &str) -> Option<i32> {
        let keyed = self.keyed.captures(line).and_then(|found| severity(&found[1]));
        keyed.or_else(|| {
            let found = self.bare.captures(line)?;
            severity(found.get(1).or(found.get(2))?.as_str())
        })
    }

    /// Near the start of the line only; further on it is part of what is said.
    fn time(&self, line: &str) -> Option<i64> {
        let found = self.time.find(line).filter(|found| found.start() < 64)?;
        let text = found.as_str().replacen(' ', "T", 1).replace(',', ".");
        Some(DateTime::parse_from_rfc3339(&text).ok()?.timestamp_micros())
    }
}

fn severity(word: &str) -> Option<i32> {
    Some(match word.to_ascii_lowercase().as_str() {
        "trace" => 1,
        "debug" => 5,
        "info" | "information" => 9,
        "notice" => 10,
        "warn" | "warning" => 13,
        "error" | "err" | "severe" => 17,
        "critical" | "crit" | "alert" => 19,
        "fatal" | "panic" | "emerg" | "emergency" => 21,
        _ => return None,
    })
}

/// Lines that belong together.
struct Group {
    text: Vec<u8>,
    is_cut: bool,
    lines: usize,
    is_traceback: bool,
}

impl Group {
    fn new(line: &[u8], max: usize) -> Self {
        let mut group = Self { text: vec![], is_cut: false, lines: 0, is_traceback: false };
        group.push(line, max);
        group
    }

    fn takes(&self, line: &[u8]) -> bool {
        let is_indented = line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t'));
        let is_cause = line.starts_with(b"Caused by") || line.starts_with(b"... ");
        let is_start = line.starts_with(b"Traceback (most recent call last)");
        // Python says what went wrong in the first line after the trace that is not indented.
        let is_end = self.is_traceback && !line.is_empty();
        self.lines < MAX_JOINED && (is_indented || is_cause || is_start || is_end)
    }

    fn push(&mut self, line: &[u8], max: usize) {
        let is_start = line.starts_with(b"Traceback (most recent call last)");
        let is_indented = line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t'));
        self.is_traceback = is_start || (self.is_traceback && is_indented);
        if self.lines > 0 && self.text.len() < max {
            self.text.push(b'\n');
        }
        let room = max.saturating_sub(self.text.len());
        self.is_cut |= line.len() > room;
        self.text.extend_from_slice(&line[..line.len().min(room)]);
        self.lines += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, messages: &[&str]) {
        let (found, used) = Reader::new(40).messages(text.as_bytes(), true);
        assert_eq!(used, text.len());
        assert_eq!(found.iter().map(|(_, m)| m.text.as_str()).collect::<Vec<_>>(), messages);
    }

    #[test]
    fn a_stack_trace_is_one_message() {
        check(
            "a\n  at b\n\tat c\nCaused by: d\n  at e\nf\n",
            &["a\n  at b\n\tat c\nCaused by: d\n  at e", "f"],
        );
        check(
            "x\nTraceback (most recent call last):\n",
            &["x\nTraceback (most recent call last):"],
        );
    }

    #[test]
    fn a_traceback_ends_with_what_went_wrong() {
        let (found, _) = Reader::new(200)
            .messages(b"Traceback (most recent call last):\n  File\nKeyError: 1\nnext\n", true);
        assert_eq!(found[0].1.text, "Traceback (most recent call last):\n  File\nKeyError: 1");
        assert_eq!(found[1].1.text, "next");
    }

    #[test]
    fn a_long_line_is_cut_and_says_so() {
        let (found, _) = Reader::new(3).messages(b"abcdef\nx\r\n\n", true);
        assert_eq!((found[0].1.text.as_str(), found[0].1.is_cut), ("abc", true));
        assert_eq!((found[1].1.text.as_str(), found[1].1.is_cut), ("x", false));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn an_unfinished_line_waits() {
        let (found, used) = Reader::new(40).messages(b"one\ntw", false);
        assert_eq!((found.len(), used), (1, 4));
    }

    #[test]
    fn the_level_is_what_the_line_says() {
        for (line, level) in [
            ("2026-01-01T00:00:00Z ERROR it broke", "error"),
            ("[warn] careful", "warn"),
            (r#"{"level":"debug","msg":"an ERROR"}"#, "debug"),
            ("time=1 level=fatal msg=x", "fatal"),
            ("2026 LOG:  checkpoint", "unknown"),
            ("there was no error here", "unknown"),
            ("INFORMATION", "unknown"),
        ] {
            let (found, _) = Reader::new(99).messages(line.as_bytes(), true);
            assert_eq!(found[0].1.level(), level, "{line}");
        }
    }

    #[test]
    fn a_time_counts_when_it_names_its_zone() {
        for (line, ts) in [
            ("1970-01-01T00:00:01Z x", Some(1_000_000)),
            ("[1970-01-01 01:00:01,5+01:00] x", Some(1_500_000)),
            ("1970-01-01 00:00:01 x", None),
        ] {
            let (found, _) = Reader::new(99).messages(line.as_bytes(), true);
            assert_eq!(found[0].1.ts, ts, "{line}");
        }
    }
}
