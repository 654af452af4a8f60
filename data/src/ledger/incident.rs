//! Incidents as rows. What may become of one is decided in `remediation`; here a decision is kept.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{Any, Transaction, any::AnyRow};

use super::{
    Ledger, ROWS_MAX, failed, get, get_time, get_time_if_any, micros,
    rows::{Backend, Cell, Rows, cells, numbers, parts},
};
use crate::{Error, Result};

/// An incident as it is kept. The words are those of `remediation`, checked by the database.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Incident {
    /// Its identifier.
    pub id: String,
    /// Symptoms with the same key are the same trouble.
    pub dedupe_key: String,
    /// The component where the cause is.
    pub component: String,
    /// The type of trouble.
    pub kind: String,
    /// What is wrong, a sentence.
    pub title: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// `open`, `acknowledged` or `resolved`.
    pub state: String,
    /// Who took it on.
    pub owner: Option<String>,
    /// When it was first seen bad.
    pub started_at: DateTime<Utc>,
    /// When it was opened.
    pub opened_at: DateTime<Utc>,
    /// When it was first seen bad again, of one that came back.
    pub back_at: Option<DateTime<Utc>>,
    /// When somebody first took it on.
    pub acknowledged_at: Option<DateTime<Utc>>,
    /// When anything last happened to it.
    pub updated_at: DateTime<Utc>,
    /// When it was resolved.
    pub resolved_at: Option<DateTime<Utc>>,
    /// `action`, `itself`, `merge`, or the name of a person's key.
    pub resolved_by: Option<String>,
    /// The incident that this one turned out to be a part of.
    pub merged_into: Option<String>,
    /// Until when nobody wants to hear of it.
    pub snoozed_until: Option<DateTime<Utc>>,
    /// How often it came back.
    pub reopened: i64,
    /// Whether it comes and goes, and therefore stays open for a while.
    pub flapping: bool,
    /// When people had to take over.
    pub escalated_at: Option<DateTime<Utc>>,
    /// Why they had to.
    pub escalation: Option<String>,
    /// When somebody was last told.
    pub notified_at: Option<DateTime<Utc>>,
    /// How often somebody was told.
    pub notices: i64,
    /// The destinations that were told that it is wrong, and not yet that it is over.
    pub told_to: Vec<String>,
    /// Counts changes; 0 for one that is not kept yet.
    pub version: i64,
}

/// One entry of an incident's timeline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidentEvent {
    /// When.
    pub at: DateTime<Utc>,
    /// What happened, as a word: `opened`, `reopened`, `escalated`, `action`, `resolved`, …
    pub kind: String,
    /// A detector, or the name of a key.
    pub who: String,
    /// In words.
    pub detail: String,
}

/// Which incidents a list has.
#[derive(Clone, Debug, Default)]
pub struct IncidentFilter {
    /// Only these states; all if empty.
    pub states: Vec<String>,
    /// Only of this component.
    pub component: Option<String>,
    /// Only opened before this one: `opened_at` in microseconds and the id.
    pub before: Option<(i64, String)>,
}

pub(super) const COLUMNS: &str = "incident_id, dedupe_key, component, kind, title, severity, state, owner, \
    started_at, opened_at, acknowledged_at, updated_at, resolved_at, resolved_by, merged_into, \
    snoozed_until, reopened, flapping, escalated_at, escalation, notified_at, notices, told_to, \
    back_at, version";

/// Not over, or over since a time, or such that somebody has to hear of its end.
const CURRENT: &str = "(state <> 'resolved' or resolved_at >= $1 \
    or (notices > 0 and merged_into is null \
        and (notified_at is null or notified_at < resolved_at)))";

impl Ledger {
    /// The incident with this identifier.
    pub async fn incident(&self, id: &str) -> Result<Option<Incident>> {
        let query = format!("select {COLUMNS} from incident where incident_id = $1");
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(id.to_owned());
        let found = query.fetch_optional(&self.pool).await;
        found.map_err(failed("finding an incident"))?.as_ref().map(incident).transpose()
    }

    /// The incidents that are not resolved, those resolved after `since`, and those whose end nobody was
    /// told of who was told of the trouble; what is open first, of that the newest first: after a storm what was
    /// over lately is more than a list holds.
    pub async fn current_incidents(&self, since: DateTime<Utc>) -> Result<Vec<Incident>> {
        let query = format!(
            "select {COLUMNS} from incident where {CURRENT} \
             order by case when state = 'resolved' then 1 else 0 end, opened_at desc, incident_id \
             limit $2"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(micros(since)).bind(ROWS_MAX);
        let rows = query.fetch_all(&self.pool).await.map_err(failed("listing incidents"))?;
        rows.iter().map(incident).collect()
    }

    /// How many incidents [`Ledger::current_incidents`] has to give.
    pub async fn count_current_incidents(&self, since: DateTime<Utc>) -> Result<usize> {
        let query = format!("select count(*) as n from incident where {CURRENT}");
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(micros(since));
        let row = query.fetch_one(&self.pool).await.map_err(failed("counting incidents"))?;
        Ok(usize::try_from(get::<i64>(&row, "n")?).unwrap_or(0))
    }

    /// Incidents that match, the newest first.
    pub async fn incidents(&self, filter: &IncidentFilter, limit: u32) -> Result<Vec<Incident>> {
        // An absent condition is always true; both databases see that while planning.
        let query = format!(
            "select {COLUMNS} from incident
             where ($1 = '' or component = $1)
               and ($2 = '' or $2 like '%,' || state || ',%')
               and (opened_at < $3 or (opened_at = $3 and incident_id < $4))
             order by opened_at desc, incident_id desc limit $5"
        );
        let states = match filter.states.is_empty() {
            true => String::new(),
            false => format!(",{},", filter.states.join(",")),
        };
        let (at, id) = filter.before.clone().unwrap_or((i64::MAX, String::new()));
        let query = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(filter.component.clone().unwrap_or_default())
            .bind(states)
            .bind(at)
            .bind(id)
            .bind(i64::from(limit).min(ROWS_MAX));
        let rows = query.fetch_all(&self.pool).await.map_err(failed("listing incidents"))?;
        rows.iter().map(incident).collect()
    }

    /// What happened to an incident, in order.
    pub async fn timeline(&self, incident_id: &str) -> Result<Vec<IncidentEvent>> {
        let query = "select at, kind, who, detail from incident_event
                     where incident_id = $1 order by number limit $2";
        let rows = sqlx::query(query).bind(incident_id).bind(ROWS_MAX).fetch_all(&self.pool).await;
        rows.map_err(failed("reading a timeline"))?.iter().map(line).collect()
    }

    /// The latest line of one of these kinds on the timeline of each of these incidents that has any.
    pub async fn latest_lines(
        &self,
        incident_ids: &[String],
        kinds: &[&str],
    ) -> Result<HashMap<String, IncidentEvent>> {
        let mut latest = HashMap::new();
        let sql = format!(
            "select incident_id, at, kind, who, detail
             from   v join incident_event on incident_id = v.column1
             where  number = (select max(number) from incident_event it
                              where  it.incident_id = v.column1 and it.kind in ({}))",
            numbers(2, kinds.len())
        );
        let backend = self.kind.backend();
        for part in parts(backend, incident_ids) {
            let mut find = Rows::of(part, |id| [id.into()]).statement(backend, &sql);
            for kind in kinds {
                find = find.bind((*kind).to_owned());
            }
            for row in &find.fetch_all(&self.pool).await.map_err(failed("reading timelines"))? {
                latest.insert(get(row, "incident_id")?, line(row)?);
            }
        }
        Ok(latest)
    }
}

/// Writes incidents, each as decided from the version that it carries. `Conflict` if one has changed since, or
/// if another one with the same key was opened meanwhile.
pub(super) async fn write(change: &mut Transaction<'_, Any>, all: &[Incident]) -> Result<()> {
    // A key is free for one that opens once the one that had it is over.
    let (over, open): (Vec<_>, Vec<_>) = all.iter().partition(|it| it.state == "resolved");
    for part in [over, open] {
        let (new, known): (Vec<_>, Vec<_>) = part.into_iter().partition(|it| it.version == 0);
        write_rows(change, UPDATE, &known, 0).await?;
        // The first version that is kept is 1.
        write_rows(change, INSERT, &new, 1).await?;
    }
    write_spells(change, all).await
}

/// Keeps how long each has lasted this time. What it was the times before stays as it was: it was not bad
/// in between, and may have come back as something else.
async fn write_spells(change: &mut Transaction<'_, Any>, all: &[Incident]) -> Result<()> {
    const WRITE: &str = "insert into incident_spell
        (incident_id, number, kind, severity, started_at, opened_at, ended_at)
        select * from v where true
        on conflict (incident_id, number) do update
        set    kind = excluded.kind, severity = excluded.severity,
               ended_at = case when excluded.ended_at < incident_spell.opened_at
                               then incident_spell.opened_at else excluded.ended_at end";
    let row = |it: &Incident| {
        // The change that opens one again is its first of this time; later ones do not move the beginning.
        let opened_at = if it.reopened == 0 { it.opened_at } else { it.updated_at };
        let started_at = it.back_at.unwrap_or(it.started_at);
        cells![
            &it.id,
            it.reopened,
            &it.kind,
            &it.severity,
            micros(started_at.min(opened_at)),
            micros(opened_at),
            it.resolved_at.map(|at| micros(at.max(opened_at))),
        ]
    };
    let backend = Backend::of(change);
    for part in parts(backend, all) {
        let written = Rows::of(part, row).statement(backend, WRITE).execute(&mut **change).await;
        written.map_err(failed("keeping how long an incident lasted"))?;
    }
    Ok(())
}

const INSERT: &str = "insert into incident
    (incident_id, dedupe_key, component, kind, title, severity, state, owner, started_at, opened_at,
     acknowledged_at, updated_at, resolved_at, resolved_by, merged_into, snoozed_until, reopened,
     flapping, escalated_at, escalation, notified_at, notices, version, told_to, back_at)
    select * from v";

const UPDATE: &str = "update incident
    set    dedupe_key = v.column2, component = v.column3, kind = v.column4, title = v.column5,
           severity = v.column6, state = v.column7, owner = v.column8, started_at = v.column9,
           opened_at = v.column10, acknowledged_at = v.column11, updated_at = v.column12,
           resolved_at = v.column13, resolved_by = v.column14, merged_into = v.column15,
           snoozed_until = v.column16, reopened = v.column17, flapping = v.column18,
           escalated_at = v.column19, escalation = v.column20, notified_at = v.column21,
           notices = v.column22, version = v.column23 + 1, told_to = v.column24,
           back_at = v.column25
    from   v
    where  incident_id = v.column1 and version = v.column23";

/// `later` is what the version that is written is later than the one that each carries.
async fn write_rows(
    change: &mut Transaction<'_, Any>,
    sql: &str,
    all: &[&Incident],
    later: i64,
) -> Result<()> {
    const DOING: &str = "keeping an incident";
    let backend = Backend::of(change);
    for part in parts(backend, all) {
        let write = Rows::of(part, |it| row(it, it.version + later)).statement(backend, sql);
        let written = write.execute(&mut **change).await.map_err(failed(DOING))?;
        if written.rows_affected() != part.len() as u64 {
            return Err(Error::Conflict { doing: DOING });
        }
    }
    Ok(())
}

fn row(it: &Incident, version: i64) -> [Cell; 25] {
    cells![
        &it.id,
        &it.dedupe_key,
        &it.component,
        &it.kind,
        &it.title,
        &it.severity,
        &it.state,
        &it.owner,
        micros(it.started_at),
        micros(it.opened_at),
        it.acknowledged_at.map(micros),
        micros(it.updated_at),
        it.resolved_at.map(micros),
        &it.resolved_by,
        &it.merged_into,
        it.snoozed_until.map(micros),
        it.reopened,
        i64::from(it.flapping),
        it.escalated_at.map(micros),
        &it.escalation,
        it.notified_at.map(micros),
        it.notices,
        version,
        (!it.told_to.is_empty()).then(|| serde_json::json!(it.told_to).to_string()),
        it.back_at.map(micros),
    ]
}

/// Adds lines to timelines, in their order.
pub(super) async fn tell(
    change: &mut Transaction<'_, Any>,
    events: &[(String, IncidentEvent)],
) -> Result<()> {
    const TELL: &str = "insert into incident_event (incident_id, number, at, kind, who, detail)
        select v.column1,
               v.column2 + coalesce((select max(number) from incident_event
                                     where  incident_id = v.column1), 0),
               v.column3, v.column4, v.column5, v.column6
        from   v";
    let backend = Backend::of(change);
    for part in parts(backend, events) {
        let mut n_lines: HashMap<&str, i64> = HashMap::new();
        let rows = part.iter().map(|(id, event)| {
            let n = n_lines.entry(id).or_default();
            *n += 1;
            (id, *n, event)
        });
        let rows: Vec<_> = rows.collect();
        let rows = Rows::of(&rows, |(id, number, event)| {
            cells![*id, *number, micros(event.at), &event.kind, &event.who, &event.detail,]
        });
        let tell = rows.statement(backend, TELL);
        tell.execute(&mut **change).await.map_err(failed("keeping a timeline"))?;
    }
    Ok(())
}

fn line(row: &AnyRow) -> Result<IncidentEvent> {
    let (kind, who, detail) = (get(row, "kind")?, get(row, "who")?, get(row, "detail")?);
    Ok(IncidentEvent { at: get_time(row, "at")?, kind, who, detail })
}

/// A JSON list of names, or none.
fn names(row: &AnyRow, column: &'static str) -> Result<Vec<String>> {
    let Some(text) = get::<Option<String>>(row, column)? else { return Ok(vec![]) };
    serde_json::from_str(&text).map_err(|error| Error::corrupt("ledger", error))
}

pub(super) fn incident(row: &AnyRow) -> Result<Incident> {
    Ok(Incident {
        id: get(row, "incident_id")?,
        dedupe_key: get(row, "dedupe_key")?,
        component: get(row, "component")?,
        kind: get(row, "kind")?,
        title: get(row, "title")?,
        severity: get(row, "severity")?,
        state: get(row, "state")?,
        owner: get(row, "owner")?,
        started_at: get_time(row, "started_at")?,
        opened_at: get_time(row, "opened_at")?,
        back_at: get_time_if_any(row, "back_at")?,
        acknowledged_at: get_time_if_any(row, "acknowledged_at")?,
        updated_at: get_time(row, "updated_at")?,
        resolved_at: get_time_if_any(row, "resolved_at")?,
        resolved_by: get(row, "resolved_by")?,
        merged_into: get(row, "merged_into")?,
        snoozed_until: get_time_if_any(row, "snoozed_until")?,
        reopened: get(row, "reopened")?,
        flapping: get::<i64>(row, "flapping")? != 0,
        escalated_at: get_time_if_any(row, "escalated_at")?,
        escalation: get(row, "escalation")?,
        notified_at: get_time_if_any(row, "notified_at")?,
        notices: get(row, "notices")?,
        told_to: names(row, "told_to")?,
        version: get(row, "version")?,
    })
}
