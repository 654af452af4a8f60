//! The results as a table.

use std::time::Duration;

use super::judge::{Report, Verdict};

const HEAD: [&str; 8] = [
    "scenario",
    "detected",
    "classified as",
    "actions",
    "verified",
    "over in",
    "people",
    "verdict",
];

/// A table in Markdown, what went wrong below it, and the totals.
pub fn text(reports: &[Report]) -> String {
    let rows: Vec<[String; 8]> = reports.iter().map(row).collect();
    let mut widths = HEAD.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String; 8]| {
        let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let mut text = line(&HEAD.map(str::to_owned));
    text.push_str(&format!("|{}|\n", widths.map(|width| "-".repeat(width + 2)).join("|")));
    rows.iter().for_each(|row| text.push_str(&line(row)));
    for it in reports {
        wrong(it).for_each(|why| text.push_str(&format!("\n{}: {why}", it.name)));
    }
    format!("{text}\n{}", totals(reports))
}

/// One scenario for somebody who looks on: its verdict, and what went wrong below it.
pub fn line(it: &Report) -> String {
    let took = it.over.map_or(String::new(), |took| format!(" in {:.1} s", took.as_secs_f64()));
    let wrong = wrong(it).map(|why| format!("\n           {why}"));
    format!("{:28} {}{took}{}", it.name, verdict(it), wrong.collect::<String>())
}

/// What went wrong, a sentence each.
fn wrong(it: &Report) -> impl Iterator<Item = String> {
    let skipped = match &it.verdict {
        Verdict::Skipped(why) => Some(format!("not played: {why}")),
        _ => None,
    };
    let outside = it.outside.iter().map(|why| format!("outside of its limits: {why}"));
    let harmful = it.harmful.iter().map(|why| format!("harmful: {why}"));
    it.failures.iter().cloned().chain(outside).chain(harmful).chain(skipped)
}

fn verdict(it: &Report) -> &'static str {
    match &it.verdict {
        Verdict::Passed => "ok",
        Verdict::Failed => "FAILED",
        Verdict::Skipped(_) => "skipped",
    }
}

fn row(it: &Report) -> [String; 8] {
    let seconds = |took: Option<Duration>| {
        took.map_or_else(|| "–".to_owned(), |took| format!("{:.1} s", took.as_secs_f64()))
    };
    let list = |all: &[String]| if all.is_empty() { "–".to_owned() } else { all.join(", ") };
    [
        it.name.clone(),
        seconds(it.detected),
        list(&it.kinds),
        list(&it.actions),
        if it.verified { "yes" } else { "–" }.to_owned(),
        seconds(it.over),
        it.notices.to_string(),
        verdict(it).to_owned(),
    ]
}

fn totals(reports: &[Report]) -> String {
    let played = || reports.iter().filter(|it| !matches!(it.verdict, Verdict::Skipped(_)));
    let is_ok = |it: &&Report| it.verdict == Verdict::Passed;
    let fixable = || played().filter(|it| it.fixable);
    let others = || played().filter(|it| !it.fixable);
    let (n, fixed) = (fixable().count(), fixable().filter(is_ok).count());
    let (m, told) = (others().count(), others().filter(is_ok).count());
    let outside: usize = played().map(|it| it.outside.len()).sum();
    let harmful: usize = played().map(|it| it.harmful.len()).sum();
    format!(
        "{} scenarios played, {} as expected\n\
         without a hand, and verified where something was done: {fixed} of {n}\n\
         left to people with one message, or to nobody: {told} of {m}\n\
         actions outside of their limits: {outside}; harmful ones: {harmful}\n",
        played().count(),
        played().filter(is_ok).count(),
    )
}
