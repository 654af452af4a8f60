//! What senders write that is nearly JSON: only looked for in a body that was not read otherwise.

use std::borrow::Cow;

use serde_json::{Value, value::RawValue};

/// How Python, JavaScript and others write what JSON has no number for.
pub(super) const BARE: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// Stands for bytes that are not UTF-8: an escape that no text can hold, also behind a backslash.
const NO_UTF8: &str = r"\ud800\ud800";

/// The body such that what no JSON can hold costs the entry that it stands in, and not all.
pub(super) fn mend(body: &[u8]) -> Cow<'_, [u8]> {
    let spelled = spell_out(body).map_or(Cow::Borrowed(body), Cow::Owned);
    if std::str::from_utf8(&spelled).is_ok() {
        return spelled;
    }
    let mut out = Vec::with_capacity(spelled.len());
    for chunk in spelled.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(NO_UTF8.as_bytes());
        }
    }
    out.into()
}

/// An entry of a body whose form is that of JSON; its texts and numbers are looked at only here.
pub(super) fn value(raw: &RawValue) -> Result<Value, String> {
    serde_json::from_str(raw.get()).map_err(|error| match raw.get().contains(NO_UTF8) {
        true => "the entry is not UTF-8".to_owned(),
        false => format!("the entry is not JSON: {error}"),
    })
}

/// The body with these words as strings, where they are no part of one; nothing if there are none.
fn spell_out(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![];
    let (mut at, mut copied, mut quoted) = (0, 0, false);
    while at < body.len() {
        match body[at] {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'N' | b'I' | b'-' if !quoted => {
                if let Some(word) = BARE.iter().find(|word| body[at..].starts_with(word.as_bytes()))
                {
                    out.extend_from_slice(&body[copied..at]);
                    out.extend([b"\"", word.as_bytes(), b"\""].concat());
                    copied = at + word.len();
                    at = copied - 1;
                }
            }
            _ => (),
        }
        at += 1;
    }
    out.extend_from_slice(&body[copied.min(body.len())..]);
    (copied > 0).then_some(out)
}

/// The lines that are not empty, with their numbers from 0; nothing if the body does not look like an
/// entry a line: one of the first two is whole by itself, and the first does not open a list.
pub(super) fn lines(body: &[u8]) -> Option<impl Iterator<Item = (usize, &[u8])>> {
    let all = || {
        let lines = body.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).enumerate();
        lines.filter(|(_, line)| !line.is_empty())
    };
    let is_whole = |line: &[u8]| {
        line.first() == Some(&b'{') && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
    };
    let mut start = all().map(|(_, line)| line);
    let (first, second) = (start.next()?, start.next()?);
    let opens = first.ends_with(b"[") || first.ends_with(b"{") || first.ends_with(b",");
    (is_whole(first) || (!opens && is_whole(second))).then(all)
}
