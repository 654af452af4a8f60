//! `pipenotify check`: looks everything through and changes nothing, also beside a running process.

use anyhow::{Context, anyhow, bail};
use chrono::SecondsFormat;
use data::{disk::OsDisk, lake::Damage, ledger::Ledger};
use serve::config::{Config, Lake};

use super::print;

/// What to do about a configuration that cannot work.
const CONFIGURATION: &str = "correct the entries that are named; `pipenotify run` refuses a collector \
                             and leaves out a destination that cannot work";

/// What to do about a damaged log or lake.
const SERVE_AGAIN: &str = "restart pipenotify: it sets the damaged part aside, serves the rest, and \
                           `select * from damage` says what is lost; a backup can bring it back";

/// What to do about a damaged ledger.
const LEDGER: &str = "restore the file from a backup while pipenotify is stopped, or restart it: it \
                      keeps the damaged file beside a new one with every row that can be read, and \
                      `select * from damage` says how many cannot";

/// What was set aside earlier that is named one by one, the latest.
const SHOWN_MAX: usize = 20;

/// Prints every fault with what to do about it. An error, and so a non-zero exit code, if there is one.
pub(super) async fn run(config: &Config) -> anyhow::Result<()> {
    // A place that somebody named is meant; only at the usual one there may be nothing yet.
    let is_named = config.lake.url != Lake::default().url;
    let is_there = serve::existing_lake(config).map(drop);
    if is_named {
        is_there.as_ref().map_err(|error| anyhow!("{error}"))?;
    }
    let mut n_faults = 0;
    let mut say = |part: &str, faults: Vec<String>, fine: String, mend: &str| {
        n_faults += faults.len();
        let text = match faults.is_empty() {
            true => format!("{part}: {fine}\n"),
            false => format!("{part}: faulty\n  {}\n  → {mend}\n", faults.join("\n  ")),
        };
        print(text.as_bytes())
    };
    // To be here, it was read; what its collectors and destinations are told is read by these.
    say("configuration", serve::faults::faults(config), "fine".into(), CONFIGURATION)?;

    let dir = config.wal_dir();
    let path = dir.display().to_string();
    let found = tokio::task::spawn_blocking(move || ingest::check_log(&OsDisk, &dir)).await?;
    let found = found.with_context(|| format!("reading the log {path}"))?;
    let found = found.into_iter().map(|(file, what)| format!("{file}: {what}")).collect();
    say("write-ahead log", found, format!("fine ({path})"), SERVE_AGAIN)?;

    let (found, fine) = match &is_there {
        Ok(()) => {
            let (found, n_rows) = serve::check_lake(config).await?;
            (found, format!("fine ({n_rows} rows read)"))
        }
        Err(nothing) => (vec![], nothing.to_string()),
    };
    let found = found.into_iter().map(|fault| format!("{}: {}", fault.path, fault.what)).collect();
    say("lake", found, fine, SERVE_AGAIN)?;

    let found = Ledger::look(&config.ledger_url()).await.context("reading the ledger")?;
    let fine = match Ledger::is_there(&config.ledger_url())? {
        true => "fine".to_owned(),
        false => format!(
            "there is none at {}; the next start makes one, in which there is no key, no incident and no \
             delivery",
            config.ledger_url()
        ),
    };
    say("ledger", found, fine, LEDGER)?;
    if is_there.is_ok() {
        print(aside(&serve::set_aside(config).await?).as_bytes())?;
    }
    if n_faults > 0 {
        bail!("{n_faults} faults; nothing was changed");
    }
    Ok(())
}

/// What is lost with damage that is no fault any more, since it was set aside and the rest goes on.
fn aside(all: &[Damage]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let n_lost: u64 = all.iter().filter_map(|damage| damage.n_rows).sum();
    let n_unknown = all.iter().filter(|damage| damage.n_rows.is_none()).count();
    let mut text = format!(
        "set aside earlier: {} damaged, {} lost",
        count(all.len() as u64, "place"),
        count(n_lost, "row")
    );
    if n_unknown > 0 {
        text += &format!(", and an unknown number with {n_unknown} of them");
    }
    text.push('\n');
    let n_earlier = all.len().saturating_sub(SHOWN_MAX);
    for damage in &all[n_earlier..] {
        let at = damage.at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let lost = damage
            .n_rows
            .map_or("lost rows unknown".to_owned(), |n| format!("{} lost", count(n, "row")));
        text += &format!("  {at} {}: {}, {lost}\n", damage.path, damage.why);
    }
    if n_earlier > 0 {
        text += &format!("  and {n_earlier} earlier: `select * from damage`\n");
    }
    text
}

fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn damage(path: &str, n_rows: Option<u64>) -> Damage {
        let at = DateTime::from_timestamp(1_773_050_400, 0).unwrap();
        Damage { path: path.into(), why: "torn".into(), n_rows, at }
    }

    #[track_caller]
    fn check(all: &[Damage], expected: &str) {
        assert_eq!(aside(all), expected);
    }

    #[test]
    fn what_was_set_aside_is_counted_and_what_nobody_knows_is_no_zero() {
        check(&[], "");
        check(
            &[damage("ledger.db.damaged", Some(0))],
            "set aside earlier: 1 place damaged, 0 rows lost\n  \
             2026-03-09T10:00:00Z ledger.db.damaged: torn, 0 rows lost\n",
        );
        check(
            &[damage("a", Some(1)), damage("b", None)],
            "set aside earlier: 2 places damaged, 1 row lost, and an unknown number with 1 of them\n  \
             2026-03-09T10:00:00Z a: torn, 1 row lost\n  \
             2026-03-09T10:00:00Z b: torn, lost rows unknown\n",
        );
    }

    #[test]
    fn only_the_latest_are_named() {
        let all = vec![damage("a", Some(2)); SHOWN_MAX + 3];
        let said = aside(&all);
        assert!(said.starts_with("set aside earlier: 23 places damaged, 46 rows lost\n"), "{said}");
        assert!(said.ends_with("  and 3 earlier: `select * from damage`\n"), "{said}");
        assert_eq!(said.lines().count(), 1 + SHOWN_MAX + 1);
    }
}
