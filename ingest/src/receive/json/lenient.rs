//! What senders write that is nearly JSON: only looked for in a body that was not read otherwise.

/// How Python, JavaScript and others write what JSON has no number for.
pub(super) const BARE: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// The body with these words as strings, where they are no part of one; nothing if there are none.
pub(super) fn spell_out(body: &[u8]) -> Option<Vec<u8>> {
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
