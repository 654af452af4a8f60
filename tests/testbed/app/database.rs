//! A session with PostgreSQL that comes back after it was lost.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::Mutex;
use tokio_postgres::{Client, NoTls};

/// How long a question may take.
const WITHIN: Duration = Duration::from_secs(3);

/// One session, opened when it is needed.
#[derive(Debug)]
pub(crate) struct Database {
    url: String,
    client: Mutex<Option<Client>>,
}

impl Database {
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), client: Mutex::new(None) }
    }

    /// The first column of every row, as texts.
    pub(crate) async fn texts(&self, question: &str, values: &[&str]) -> Result<Vec<String>> {
        let mut slot = self.client.lock().await;
        let asked = async {
            if slot.as_ref().is_none_or(Client::is_closed) {
                *slot = Some(connect(&self.url).await?);
            }
            let client = slot.as_ref().context("it was connected a moment ago")?;
            let values: Vec<_> =
                values.iter().map(|it| it as &(dyn tokio_postgres::types::ToSql + Sync)).collect();
            let rows = client.query(question, &values).await?;
            anyhow::Ok(rows.iter().map(|row| row.get(0)).collect())
        };
        let answer = tokio::time::timeout(WITHIN, asked).await;
        answer.context("the database does not answer in time")?.context("ask the database")
    }

    /// Whether it answers.
    pub(crate) async fn ping(&self) -> Result<()> {
        self.texts("select 'well'", &[]).await.map(drop)
    }
}

pub(crate) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}
