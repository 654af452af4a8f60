//! Takes events of tenants over HTTP: answered once they are in the queue.

use std::{sync::Arc, time::Instant};

use anyhow::Result;
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use serde_json::Value;

use crate::{Service, Settings, database::Database, queue::Queue, serve};

/// Events that the queue holds at most; beyond, senders are asked to come later.
const QUEUE_MAX: u64 = 200_000;

#[derive(Debug)]
struct Intake {
    service: Service,
    database: Database,
    queue: Queue,
}

pub(crate) async fn run(service: Service, settings: &Settings) -> Result<()> {
    let intake = Arc::new(Intake {
        service: service.clone(),
        database: Database::new(settings.get("database")?),
        queue: Queue::new(settings.get("redis")?)?,
    });
    let routes = Router::new()
        .route("/hooks/{tenant}", post(take_event))
        .route("/healthz", get(health))
        .with_state(intake);
    serve(&service, settings.get("listen")?, routes).await
}

type Answer = Result<(StatusCode, String), (StatusCode, String)>;

async fn take_event(
    State(it): State<Arc<Intake>>,
    Path(tenant): Path<String>,
    Json(event): Json<Value>,
) -> Answer {
    let begun = Instant::now();
    let answer = it.take(&tenant, &event).await;
    let metrics = &it.service.metrics;
    let status = answer.as_ref().map_or_else(|it| it.0, |it| it.0).as_u16();
    metrics.add(&format!("testbed_requests_total{{status=\"{status}\"}}"), 1.0);
    metrics.add(&format!("testbed_events_total{{tenant=\"{tenant}\",status=\"{status}\"}}"), 1.0);
    metrics.add("testbed_request_seconds_sum", begun.elapsed().as_secs_f64());
    if let Err((status, why)) = &answer {
        it.service.log.line("ERROR", &format!("event of {tenant} refused with {status}: {why}"));
    }
    answer
}

impl Intake {
    async fn take(&self, tenant: &str, event: &Value) -> Answer {
        let down = |error: anyhow::Error| (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}"));
        self.service.faults.delay().await;
        if self.service.faults.fails() {
            return Err((StatusCode::INTERNAL_SERVER_ERROR, "it was told to fail".to_owned()));
        }
        let known = "select name from tenant where name = $1";
        if self.database.texts(known, &[tenant]).await.map_err(down)?.is_empty() {
            return Err((StatusCode::NOT_FOUND, format!("there is no tenant `{tenant}`")));
        }
        if self.queue.length().await.map_err(down)? > QUEUE_MAX {
            return Err((StatusCode::TOO_MANY_REQUESTS, "the queue is full".to_owned()));
        }
        self.queue.add(tenant, &event.to_string()).await.map_err(down)?;
        Ok((StatusCode::ACCEPTED, String::new()))
    }
}

/// Whether it could take an event now.
async fn health(State(it): State<Arc<Intake>>) -> (StatusCode, String) {
    it.service.faults.delay().await;
    if it.service.faults.now().unwell || it.service.faults.fails() {
        return (StatusCode::INTERNAL_SERVER_ERROR, "it was told to be unwell".to_owned());
    }
    let well = async {
        it.database.ping().await?;
        it.queue.ping().await
    };
    match well.await {
        Ok(()) => (StatusCode::OK, "well".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}")),
    }
}
