//! What targets say: kept short, and without secrets.

/// Bytes of output that are kept.
pub(super) const OUTPUT_BYTES_MAX: usize = 4096;

/// What stands where a secret was.
const REDACTED: &str = "redacted";

/// Words after which a secret follows.
const SECRET: [&str; 7] =
    ["password", "passwd", "secret", "token", "api_key", "apikey", "authorization"];

/// The text without secrets, cut to [`OUTPUT_BYTES_MAX`].
pub(crate) fn bounded(text: &str) -> String {
    let mut end = text.len().min(OUTPUT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut short = text[..end].lines().map(line).collect::<Vec<_>>().join("\n");
    if end < text.len() {
        short.push_str(&format!("\n… {} bytes more", text.len() - end));
    }
    short
}

fn line(text: &str) -> String {
    // NUL cannot be kept in PostgreSQL.
    let text = address(&text.replace('\0', ""));
    let lower = text.to_ascii_lowercase();
    let found = SECRET.iter().filter_map(|word| {
        let at = lower.find(word)? + word.len();
        let rest = &text[at..];
        let gap = rest.len() - rest.trim_start_matches(['"', '\'', ' ', ':', '=']).len();
        (gap > 0 && rest[..gap].contains([':', '='])).then_some(at + gap)
    });
    match found.min() {
        Some(at) if at < text.len() => format!("{}{REDACTED}", &text[..at]),
        _ => text,
    }
}

/// `scheme://user:password@host` without the password.
fn address(text: &str) -> String {
    let (mut clean, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = after.find(['/', ' ', '"', '\'', '?']).unwrap_or(after.len());
        match after[..end].rsplit_once('@') {
            Some((user, _)) if user.contains(':') => {
                let name = user.split(':').next().unwrap_or_default();
                clean.push_str(&format!("{name}:{REDACTED}"));
                rest = &after[user.len()..];
            }
            _ => rest = after,
        }
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(bounded(text), expected);
    }

    #[test]
    fn secrets_do_not_stay() {
        check("password=abc", "password=redacted");
        check("{\"token\": \"abc\"}", "{\"token\": \"redacted");
        check("Authorization: Bearer abc", "Authorization: redacted");
        check("at postgres://u:p@h/d, fine", "at postgres://u:redacted@h/d, fine");
        check("the password is wrong", "the password is wrong");
        check("plain", "plain");
    }

    #[test]
    fn long_output_is_cut_between_letters() {
        let cut = bounded(&"ä".repeat(OUTPUT_BYTES_MAX));
        assert!(cut.len() < OUTPUT_BYTES_MAX + 30 && cut.ends_with("bytes more"), "{}", cut.len());
    }
}
