//! Reads playbooks and refuses those that cannot work, one by one.

use std::ops::Range;

use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use super::{Look, Playbook, names, trust};
use crate::action::{self, Allowed};

/// Where the playbooks that come with the program are.
pub(super) const BUILT_IN: &str = "built in";

/// The ladder may not be longer.
const RUNGS_MAX: usize = 16;

/// A playbook that cannot work.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// File and line.
    pub place: String,
    /// Why, a sentence.
    pub reason: String,
}

/// The playbooks that come with the program.
///
/// They act only on components that say how they may be handled.
pub fn built_in() -> Vec<Playbook> {
    let (playbooks, refused) =
        load(BUILT_IN, include_str!("built_in.toml"), &Allowed::everything());
    debug_assert!(refused.is_empty(), "{refused:?}");
    playbooks
}

/// Reads the `[[playbook]]` entries of a text. One that cannot work is refused, and the others stay.
pub fn load(file: &str, text: &str, allowed: &Allowed) -> (Vec<Playbook>, Vec<Refused>) {
    let refused = |line: usize, reason: String| Refused { place: format!("{file}:{line}"), reason };
    let at = |span: Range<usize>| line_at(text, span);
    let table: Table = match toml::from_str(text) {
        Ok(table) => table,
        Err(error) => {
            let line = at(error.span().unwrap_or_default());
            return (vec![], vec![refused(line, error.message().to_owned())]);
        }
    };
    let Some(Value::Array(entries)) = table.get("playbook") else { return (vec![], vec![]) };
    let lines = lines(text);
    let (mut good, mut bad) = (Vec::<Playbook>::new(), vec![]);
    for (n, entry) in entries.iter().enumerate() {
        let line = lines.get(n).copied().unwrap_or(1);
        let read = entry.clone().try_into::<Playbook>();
        let read = read.map_err(|error| error.message().to_owned());
        let taken = |it: &Playbook| good.iter().any(|other| other.name == it.name);
        match read.and_then(|it| check(&it, allowed).map(|()| it)) {
            Ok(it) if taken(&it) => {
                bad.push(refused(line, format!("playbook `{}` occurs twice", it.name)));
            }
            Ok(it) => good.push(Playbook { place: format!("{file}:{line}"), ..it }),
            Err(reason) => {
                let name = entry.get("name").and_then(Value::as_str).unwrap_or("without a name");
                bad.push(refused(line, format!("playbook `{name}`: {reason}")));
            }
        }
    }
    (good, bad)
}

/// The lines on which the playbooks of a text begin.
fn lines(text: &str) -> Vec<usize> {
    let Ok(table) = DeTable::parse(text) else { return vec![] };
    let found = table.get_ref().iter().find(|(key, _)| key.get_ref() == "playbook");
    match found.map(|(_, value)| value.get_ref()) {
        Some(DeValue::Array(all)) => all.iter().map(|it| line_at(text, it.span())).collect(),
        _ => vec![],
    }
}

fn line_at(text: &str, span: Range<usize>) -> usize {
    text.get(..span.start).unwrap_or_default().matches('\n').count() + 1
}

/// Reads a file that has nothing but playbooks. Whatever else stands there is refused: with a typo it would
/// be a playbook without effect.
pub fn load_file(file: &str, text: &str, allowed: &Allowed) -> (Vec<Playbook>, Vec<Refused>) {
    let (good, mut bad) = load(file, text, allowed);
    let Ok(table) = DeTable::parse(text) else { return (good, bad) };
    for (key, value) in table.get_ref() {
        let name = key.get_ref();
        let reason = match (name.as_ref(), value.get_ref()) {
            ("playbook", DeValue::Array(_)) => continue,
            ("playbook", _) => {
                "`playbook` is a list; begin each one with `[[playbook]]`".to_owned()
            }
            _ => format!("`{name}` is unknown here; a playbook begins with `[[playbook]]`"),
        };
        bad.push(Refused { place: format!("{file}:{}", line_at(text, key.span())), reason });
    }
    (good, bad)
}

fn check(it: &Playbook, allowed: &Allowed) -> Result<(), String> {
    if it.name.trim().is_empty() {
        return Err("`name` is empty".to_owned());
    }
    if it.rungs.is_empty() || it.rungs.len() > RUNGS_MAX {
        return Err(format!("it needs 1 to {RUNGS_MAX} actions"));
    }
    if it.attempts == Some(0) {
        return Err(
            "`attempts` is 0, so it would never act; leave it out, or switch it off by `dry_run`"
                .to_owned(),
        );
    }
    if it.verify.within.0.is_zero() {
        return Err("`verify.within` must be longer than nothing".to_owned());
    }
    if it.matches.probability.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
        return Err("`match.probability` must lie between 0 and 1".to_owned());
    }
    match it.verify.look() {
        Some(instead) => look("verify", &instead)?,
        None if it.verify.above.is_some() || it.verify.below.is_some() => {
            return Err("`verify.above` and `verify.below` need `verify.metric`".to_owned());
        }
        None => (),
    }
    for (n, rung) in it.rungs.iter().enumerate() {
        let place = |reason: String| format!("action {} (`{}`): {reason}", n + 1, rung.action);
        if rung.times == 0 || rung.timeout.0.is_zero() {
            return Err(place("`times` and `timeout` must be above 0".to_owned()));
        }
        if let Some(when) = &rung.when {
            look("when", when).map_err(place)?;
        }
        known_names(&rung.settings).map_err(place)?;
        trust::check(&rung.settings).map_err(place)?;
        action::check(&rung.action, &rung.settings, allowed).map_err(place)?;
        if let Some(undo) = &rung.undo {
            let (name, settings) = split(undo.clone()).map_err(place)?;
            known_names(&settings)
                .and_then(|()| trust::check(&settings))
                .map_err(|why| place(format!("undo: {why}")))?;
            action::check(&name, &settings, allowed)
                .map_err(|why| place(format!("undo: {why}")))?;
        }
    }
    Ok(())
}

fn known_names(settings: &Table) -> Result<(), String> {
    match names::unknown(settings) {
        None => Ok(()),
        Some(name) => Err(format!(
            "`{{{name}}}` is no name; known are {{component}}, {{kind}}, {{metric}}, {{label.NAME}} and \
             {{control.NAME}}"
        )),
    }
}

fn look(place: &str, look: &Look) -> Result<(), String> {
    if look.metric.is_none() {
        return Err(format!("`{place}.metric` is missing"));
    }
    if look.above.is_none() && look.below.is_none() {
        return Err(format!("`{place}` needs `above` or `below`"));
    }
    if [look.above, look.below].into_iter().flatten().any(|it| !it.is_finite()) {
        return Err(format!("`{place}.above` and `{place}.below` are numbers"));
    }
    if let (Some(above), Some(below)) = (look.above, look.below)
        && above >= below
    {
        return Err(format!("nothing is above {above} and below {below}, as `{place}` asks"));
    }
    if let Some(name) = look.labels.values().find_map(|it| names::names_of(it).pop()) {
        return Err(format!(
            "`{place}.labels` are taken as they are; `{{{name}}}` is not filled in"
        ));
    }
    const KNOWN: [&str; 7] = ["mean", "min", "max", "last", "sum", "rate", "increase"];
    match look.aggregation.as_deref() {
        Some(name) if !KNOWN.contains(&name) => {
            Err(format!("`{place}.aggregation` is `{name}`; known are {}", KNOWN.join(", ")))
        }
        _ => Ok(()),
    }
}

/// An action in a table of its own: its name, and the rest.
pub(super) fn split(mut table: Table) -> Result<(String, Table), String> {
    match table.remove("do") {
        Some(Value::String(name)) => Ok((name, table)),
        _ => Err("`do` is missing; it names the action".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_playbooks_can_work() {
        let (good, bad) = load("built in", include_str!("built_in.toml"), &Allowed::everything());
        assert_eq!(bad, []);
        assert!(good.len() >= 9, "{}", good.len());
    }

    #[test]
    fn a_bad_one_is_refused_with_its_line_and_the_rest_stays() {
        let text = "
[[playbook]]
name = 'good'
[[playbook.action]]
do = 'call_http'
url = 'http://127.0.0.1/'

[[playbook]]
name = 'bad'
[[playbook.action]]
do = 'call_htp'

[[playbook]]
name = 'worse'
match = { kind = ['nonsense'] }
[[playbook.action]]
do = 'call_http'
url = 'no address'
";
        let (good, bad) = load("p.toml", text, &Allowed::default());
        assert_eq!(good[0].place, "p.toml:2");
        let bad: Vec<_> = bad.iter().map(|it| format!("{}: {}", it.place, it.reason)).collect();
        assert!(
            bad[0].starts_with("p.toml:8: playbook `bad`: action 1 (`call_htp`): there is no"),
            "{bad:?}"
        );
        assert!(bad[1].starts_with("p.toml:13: playbook `worse`: "), "{bad:?}");
    }

    #[test]
    fn lines_are_right_whatever_else_stands_there() {
        let text = "
# [[playbook]]
[[playbook]]      # optional
name = 'good'
[[playbook.action]]
do = 'call_http'
url = 'http://127.0.0.1/'
body = '''
[[playbook]]
'''

  [[ playbook ]] # the second
name = 'bad'
[[playbook.action]]
do = 'call_htp'
";
        let (good, bad) = load("p.toml", text, &Allowed::default());
        assert_eq!((&*good[0].place, &*bad[0].place), ("p.toml:3", "p.toml:12"));
        let (_, bad) = load_file("p.toml", "\n\n[[ playbok ]]\nx = 1\n", &Allowed::default());
        assert_eq!(bad[0].place, "p.toml:3");
    }

    #[test]
    fn what_can_never_work_is_refused() {
        let check = |text: &str, expected: &str| {
            let (rest, action) = text.split_once(';').unwrap();
            let action = match action {
                "" => "do = 'call_http'\nurl = 'http://127.0.0.1/'",
                it => it,
            };
            let text = format!("[[playbook]]\nname = 'p'\n{rest}\n[[playbook.action]]\n{action}\n");
            let allowed = Allowed { roots: vec!["/logs".into()], ..Allowed::default() };
            let (_, bad) = load("p.toml", &text, &allowed);
            let said = bad.first().map_or("", |it| it.reason.as_str());
            assert!(
                said.contains(expected) && said.is_empty() == expected.is_empty(),
                "{text}: {said}"
            );
        };
        check(";", "");
        check("attempts = 0;", "`attempts` is 0");
        check("verify = { metric = 'm', above = 5, below = 1 };", "nothing is above 5 and below 1");
        check("verify = { metric = 'm', above = 1, below = 5 };", "");
        check("verify = { metric = 'm', above = nan };", "are numbers");
        let labels = "verify = { metric = 'm', above = 1, labels = { p = '{component}' } };";
        check(labels, "`{component}` is not filled in");
        let call = |more: &str| format!(";do = 'call_http'\nurl = 'http://127.0.0.1/'\n{more}");
        check(&call("headers = { 'bad header' = 'x' }"), "`bad header` is no name of a header");
        check(&call("headers = { x = \"a\\r\\nb\" }"), "header `x` has a value");
        check(&call("expect = [2000]"), "`expect` has 2000");
        for url in ["http://127.0.0.1/{compo nent}", "{}"] {
            check(&format!(";do = 'call_http'\nurl = '{url}'"), "braces without a name");
        }
        let start = ";do = 'restart_process'\nstart = ['a']\npid_file = ";
        check(&format!("{start}'run/a.pid'"), "give the whole path");
        check(&format!("{start}'/run/../a.pid'"), "write it without `..`");
        check(&format!("{start}'{{control.pid_file}}'"), "");
        let old = ";do = 'delete_files'\nolder_than = '1h'\nfolder = ";
        check(&format!("{old}'/logs/../etc'"), "write it without `..`");
        check(&format!("{old}'/logs/a'"), "");
        check(";do = 'rotate_file'\npath = '/logs/a'\nkeep = 9000000000", "`keep` is 9000000000");
    }

    #[test]
    fn a_name_with_a_typo_and_a_key_with_a_typo_are_refused() {
        let one = |url: &str| {
            format!(
                "[[playbook]]\nname = 'p'\n[[playbook.action]]\ndo = 'call_http'\nurl = '{url}'\n"
            )
        };
        let check = |text: &str, n: usize, expected: &str| {
            let (good, bad) = load_file("p.toml", text, &Allowed::default());
            let bad: Vec<_> = bad.iter().map(|it| format!("{}: {}", it.place, it.reason)).collect();
            assert_eq!(good.len(), n, "{bad:?}");
            assert!(bad.len() <= 1 && bad.join("").starts_with(expected), "{bad:?}");
        };
        let good = one("http://127.0.0.1/{component}");
        check(&good, 1, "");
        let typo = one("http://127.0.0.1/{compnent}");
        check(
            &typo,
            0,
            "p.toml:1: playbook `p`: action 1 (`call_http`): `{compnent}` is no name; ",
        );
        let key = format!("{good}\n[[playbok]]\nname = 'q'\n");
        check(
            &key,
            1,
            "p.toml:7: `playbok` is unknown here; a playbook begins with `[[playbook]]`",
        );
        check("[playbook]\nname = 'q'\n", 0, "p.toml:1: `playbook` is a list; begin each one");
    }
}
