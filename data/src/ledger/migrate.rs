//! Brings the schema of a ledger up to date, each migration once.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{Kind, Ledger, failed, get, micros, sqlite};
use crate::{Error, Result};

/// The lock that keeps two processes from migrating one PostgreSQL ledger at once.
const LOCK: &str = "select pg_advisory_xact_lock(7014014014)";

/// Leasing a delivery changes no column that an index has: with room beside it on its page, PostgreSQL writes the
/// new row there and none of the indexes.
const ROOM: &str = "alter table delivery set (fillfactor = 60)";

const RECORD: &str = "create table if not exists migration
(
    number     bigint primary key,
    name       text   not null,
    checksum   text   not null,
    applied_at bigint not null
)";

/// All migrations in order. The numbers below 14 belong to the design that this one replaces.
const MIGRATIONS: &[Migration] = &[
    Migration {
        number: 14,
        name: "guaranteed_delivery",
        sql: include_str!("../../../migrations/014_guaranteed_delivery.sql"),
    },
    Migration {
        number: 15,
        name: "health_trends",
        sql: include_str!("../../../migrations/015_health_trends.sql"),
    },
    Migration {
        number: 16,
        name: "performance_analysis",
        sql: include_str!("../../../migrations/016_performance_analysis.sql"),
    },
    Migration {
        number: 17,
        name: "auto_remediation",
        sql: include_str!("../../../migrations/017_auto_remediation.sql"),
    },
    Migration {
        number: 18,
        name: "health_predictions",
        sql: include_str!("../../../migrations/018_health_predictions.sql"),
    },
    Migration { number: 20, name: "api", sql: include_str!("../../../migrations/020_api.sql") },
    Migration {
        number: 21,
        name: "business",
        sql: include_str!("../../../migrations/021_business.sql"),
    },
    Migration {
        number: 22,
        name: "order_and_notices",
        sql: include_str!("../../../migrations/022_order_and_notices.sql"),
    },
    Migration {
        number: 23,
        name: "lines_and_secrets",
        sql: include_str!("../../../migrations/023_lines_and_secrets.sql"),
    },
    Migration {
        number: 24,
        name: "ingest_role",
        sql: include_str!("../../../migrations/024_ingest_role.sql"),
    },
    Migration {
        number: 25,
        name: "incidents_by_key",
        sql: include_str!("../../../migrations/025_incidents_by_key.sql"),
    },
    Migration {
        number: 26,
        name: "incident_spells",
        sql: include_str!("../../../migrations/026_incident_spells.sql"),
    },
    Migration {
        number: 27,
        name: "measured_actions",
        sql: include_str!("../../../migrations/027_measured_actions.sql"),
    },
];

struct Migration {
    number: i64,
    name: &'static str,
    sql: &'static str,
}

/// A migration that was applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// Its number; migrations are applied in this order.
    pub number: i64,
    /// What it is about.
    pub name: &'static str,
}

impl Migration {
    fn checksum(&self) -> String {
        format!("{:032x}", xxhash_rust::xxh3::xxh3_128(self.sql.as_bytes()))
    }
}

impl Ledger {
    /// Applies what is missing, all of it or nothing. An applied migration that reads differently
    /// today is refused: nobody knows which schema that ledger has.
    pub(super) async fn migrate(&self, now: DateTime<Utc>) -> Result<Vec<Applied>> {
        const DOING: &str = "migrating the ledger";
        let mut change = self.begin(DOING).await?;
        if self.kind == Kind::Postgres {
            sqlx::query(LOCK).execute(&mut *change).await.map_err(failed(DOING))?;
        }
        sqlx::raw_sql(RECORD).execute(&mut *change).await.map_err(failed(DOING))?;
        let recorded = sqlx::query("select number, checksum from migration");
        let recorded = checksums(recorded.fetch_all(&mut *change).await.map_err(failed(DOING))?)?;
        if let Some(wrong) = disagreements(&recorded).into_iter().next() {
            return Err(Error::Invalid(wrong));
        }
        let mut applied = Vec::new();
        for migration in MIGRATIONS.iter().filter(|one| !recorded.contains_key(&one.number)) {
            sqlx::raw_sql(migration.sql).execute(&mut *change).await.map_err(failed(DOING))?;
            sqlx::query("insert into migration (number, name, checksum, applied_at) values ($1, $2, $3, $4)")
                .bind(migration.number)
                .bind(migration.name)
                .bind(migration.checksum())
                .bind(micros(now))
                .execute(&mut *change)
                .await
                .map_err(failed(DOING))?;
            applied.push(Applied { number: migration.number, name: migration.name });
        }
        match self.kind {
            Kind::Sqlite(_) => sqlite::keep_every_value_twice(&mut change).await?,
            Kind::Postgres if !applied.is_empty() => {
                sqlx::raw_sql(ROOM).execute(&mut *change).await.map_err(failed(DOING))?;
            }
            Kind::Postgres => (),
        }
        change.commit().await.map_err(failed(DOING))?;
        Ok(applied)
    }

    /// What is wrong with the recorded migrations, a sentence each.
    pub(super) async fn check_migrations(&self) -> Result<Vec<String>> {
        let recorded = sqlx::query("select number, checksum from migration").fetch_all(&self.pool);
        let recorded = checksums(recorded.await.map_err(failed("checking the ledger"))?)?;
        let missing = MIGRATIONS.iter().filter(|one| !recorded.contains_key(&one.number));
        let missing =
            missing.map(|one| format!("migration {} is missing; run `migrate`", one.number));
        Ok(missing.chain(disagreements(&recorded)).collect())
    }
}

fn checksums(rows: Vec<sqlx::any::AnyRow>) -> Result<BTreeMap<i64, String>> {
    rows.iter().map(|row| Ok((get(row, "number")?, get(row, "checksum")?))).collect()
}

fn disagreements(recorded: &BTreeMap<i64, String>) -> Vec<String> {
    let known: BTreeMap<_, _> = MIGRATIONS.iter().map(|one| (one.number, one.checksum())).collect();
    let sentence = |(number, checksum): (&i64, &String)| match known.get(number) {
        None => Some(format!(
            "the ledger has migration {number}, which this program does not know; it was written by a newer one"
        )),
        Some(expected) if expected != checksum => {
            Some(format!("migration {number} was applied with another text than this program has"))
        }
        Some(_) => None,
    };
    recorded.iter().filter_map(sentence).collect()
}
