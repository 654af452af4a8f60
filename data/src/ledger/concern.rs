//! What a decision about a few of many incidents is made from: as much is read as it could change. In a storm
//! there are thousands of others, and every look would else read all of them.

use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;

use super::{
    Incident, Ledger, Symptom, failed, incident, micros,
    rows::{Rows, parts},
    symptom,
};
use crate::Result;

/// Incidents that are looked at for their end at once; the others follow in the next turn.
pub const FADING_MAX: i64 = 1_000;

/// What a decision is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Concern {
    /// Symptoms by their identifier, with the incidents that they are a part of.
    pub symptoms: Vec<String>,
    /// Incidents by their key.
    pub keys: Vec<String>,
    /// Incidents by their key or identifier, with all of their symptoms.
    pub whole: Vec<String>,
}

impl Ledger {
    /// What there is about a concern; of incidents those that are not resolved, or were after `since`.
    pub async fn concerned(
        &self,
        about: &Concern,
        since: DateTime<Utc>,
    ) -> Result<(Vec<Incident>, Vec<Symptom>)> {
        let mut symptoms = self.find_symptoms("symptom_id", &about.symptoms).await?;
        let keys = [&about.keys[..], &about.whole[..]].concat();
        let mut incidents = self.find_incidents("dedupe_key", &keys, since).await?;
        let mut ids = about.whole.clone();
        ids.extend(symptoms.iter().filter_map(|it| it.incident_id.clone()));
        ids.sort_unstable();
        ids.dedup();
        incidents.extend(self.find_incidents("incident_id", &ids, since).await?);
        let is_whole = |it: &&Incident| {
            it.state != "resolved"
                && (about.whole.contains(&it.dedupe_key) || about.whole.contains(&it.id))
        };
        let whole: Vec<String> =
            incidents.iter().filter(is_whole).map(|it| it.id.clone()).collect();
        symptoms.extend(self.find_symptoms("incident_id", &whole).await?);
        Ok((incidents, symptoms))
    }

    /// What may be over by now: incidents of which no symptom is bad any more, with their symptoms, and the bad
    /// symptoms that nobody has repeated in time. At most [`FADING_MAX`] of each.
    pub async fn fading(&self, now: DateTime<Utc>) -> Result<(Vec<Incident>, Vec<Symptom>)> {
        const DOING: &str = "looking for what is over";
        // What comes and goes waits until it has been quiet for a while, and must not hold the others up.
        let query = format!(
            "select {} from incident
             where  state <> 'resolved' and not exists (
                    select 1 from symptom
                    where  symptom.incident_id = incident.incident_id and symptom.state = 'bad'
                      and  (expires_at is null or expires_at > $1))
             order by flapping, updated_at, incident_id limit $2",
            incident::COLUMNS
        );
        let find = sqlx::query(AssertSqlSafe(query)).bind(micros(now)).bind(FADING_MAX);
        let rows = find.fetch_all(&self.pool).await.map_err(failed(DOING))?;
        let incidents = rows.iter().map(incident::incident).collect::<Result<Vec<_>>>()?;
        let query = format!(
            "select {} from symptom where state = 'bad' and expires_at <= $1
             order by expires_at, symptom_id limit $2",
            symptom::COLUMNS
        );
        let find = sqlx::query(AssertSqlSafe(query)).bind(micros(now)).bind(FADING_MAX);
        let rows = find.fetch_all(&self.pool).await.map_err(failed(DOING))?;
        let mut symptoms = rows.iter().map(symptom::symptom).collect::<Result<Vec<_>>>()?;
        let ids: Vec<String> = incidents.iter().map(|it| it.id.clone()).collect();
        symptoms.extend(self.find_symptoms("incident_id", &ids).await?);
        Ok((incidents, symptoms))
    }

    /// The symptoms with these identifiers that are remembered.
    pub async fn symptoms_of(&self, ids: &[String]) -> Result<Vec<Symptom>> {
        self.find_symptoms("symptom_id", ids).await
    }

    /// The symptoms that an incident has.
    pub async fn symptoms_in(&self, incident_id: &str) -> Result<Vec<Symptom>> {
        let mut found = self.find_symptoms("incident_id", &[incident_id.to_owned()]).await?;
        found.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(found)
    }

    async fn find_symptoms(&self, column: &str, wanted: &[String]) -> Result<Vec<Symptom>> {
        let mut found = vec![];
        let sql = format!(
            "select {} from symptom where {column} in (select column1 from v)",
            symptom::COLUMNS
        );
        let backend = self.kind.backend();
        for part in parts(backend, wanted) {
            let find = Rows::of(part, |one| [one.into()]).statement(backend, &sql);
            let rows = find.fetch_all(&self.pool).await.map_err(failed("finding symptoms"))?;
            for row in &rows {
                found.push(symptom::symptom(row)?);
            }
        }
        Ok(found)
    }

    async fn find_incidents(
        &self,
        column: &str,
        wanted: &[String],
        since: DateTime<Utc>,
    ) -> Result<Vec<Incident>> {
        let mut found = vec![];
        let sql = format!(
            "select {} from incident
             where  {column} in (select column1 from v) and (state <> 'resolved' or resolved_at >= $2)",
            incident::COLUMNS
        );
        let backend = self.kind.backend();
        for part in parts(backend, wanted) {
            let find = Rows::of(part, |one| [one.into()]).statement(backend, &sql);
            let rows = find
                .bind(micros(since))
                .fetch_all(&self.pool)
                .await
                .map_err(failed("finding incidents"))?;
            for row in &rows {
                found.push(incident::incident(row)?);
            }
        }
        Ok(found)
    }
}
