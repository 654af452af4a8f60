//! Metrics of health and business: `sql/kpi/*.sql`, each over a window.
//!
//! Every text asks about the last 30 days and can be run as it is; [`Kpi::over`] puts another window in
//! its place. As views they are called `kpi_response` and so on.

use chrono::{DateTime, SecondsFormat, Utc};

/// The window's beginning in every text, and its end.
const FROM: &str = "now() - interval '30 days'";
const TO: &str = "now()";

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kpi {
    /// Its name.
    pub name: &'static str,
    /// Its name as a view.
    pub view: &'static str,
    /// How it is worked out, for people.
    pub formula: &'static str,
    text: &'static str,
}

macro_rules! kpis {
    ($($name:literal: $formula:literal,)*) => {
        /// All of them.
        pub const ALL: &[Kpi] = &[$(Kpi {
            name: $name,
            view: concat!("kpi_", $name),
            formula: $formula,
            text: include_str!(concat!("../../sql/kpi/", $name, ".sql")),
        },)*];
    };
}

kpis! {
    "availability": "time healthy or degraded ÷ known time, of each component's health snapshots",
    "uptime": "1 − watched time with a critical incident ÷ watched time; overlapping incidents count \
               once, and those that came back only while they were bad",
    "errors": "failed spans ÷ spans, and log lines of severity 17 and above, of each service",
    "response": "detect: believed − first seen bad; acknowledge: taken on − believed; \
                 resolve: over − believed; an incident that came back counts each time",
    "recovery": "actions measured to have helped ÷ actions measured; unverified ones were not",
    "automation": "automated: ended by an action without people ÷ (by an action + by people); \
                   saved_h: incidents ended by an action × (mean hours of those with people − \
                   mean hours of those without)",
    "impact": "watched minutes of critical incidents × criticality of the component",
    "delivery": "delivered ÷ (delivered + given up), of each destination",
}

impl Kpi {
    /// The question over a window, in SQL.
    pub fn over(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> String {
        let at = |at: DateTime<Utc>| {
            format!("timestamp '{}'", at.to_rfc3339_opts(SecondsFormat::Micros, true))
        };
        self.text.replace(FROM, &at(from)).replace(TO, &at(to))
    }

    /// The question over the last 30 days.
    pub(crate) fn text(&self) -> &'static str {
        self.text
    }
}

#[cfg(test)]
mod tests;
