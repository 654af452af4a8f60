//! What a component may say about how it is handled, for the playbooks that come with the program.

/// The names behind `control.` that those playbooks use.
pub fn names() -> Vec<&'static str> {
    let text = include_str!("playbook/built_in.toml");
    let mut names: Vec<_> = text
        .split("{control.")
        .skip(1)
        .filter_map(|rest| rest.split('}').next())
        .filter(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_read_from_the_playbooks() {
        let names = names();
        assert!(["pid_file", "postgres", "start", "unit"].iter().all(|it| names.contains(it)));
        assert!(names.iter().all(|it| it.len() > 3), "{names:?}");
    }
}
