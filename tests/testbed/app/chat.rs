//! Chat rooms: the receiver at the far end. They honour `webhook-id`, and can be slow, down, throttling,
//! silent or lying, all together or one by one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Service, Settings, serve};

/// How a room behaves.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(tag = "mood", rename_all = "lowercase")]
enum Mood {
    /// Shows every message.
    #[default]
    Well,
    /// The same, after a while.
    Slow { ms: u64 },
    /// Answers with a status, and shows nothing.
    Down { status: u16 },
    /// Answers 429, with `Retry-After`.
    Throttling { retry_after_s: u64 },
    /// Never answers.
    Silent,
    /// Answers 200, and shows nothing.
    Lying,
}

#[derive(Debug, Deserialize)]
struct Order {
    /// One room; all of them when absent.
    room: Option<String>,
    #[serde(flatten)]
    mood: Mood,
}

#[derive(Debug, Default)]
struct Rooms {
    moods: BTreeMap<String, Mood>,
    all: Mood,
    /// Identifiers that a room has shown; the same one again is a repeat, and not shown.
    ids: BTreeSet<(String, String)>,
    n_repeats: u64,
    /// By room and event, how often people saw it.
    shown: BTreeMap<String, BTreeMap<String, u64>>,
    n_calls: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Chat {
    service: Service,
    rooms: Mutex<Rooms>,
}

pub(crate) async fn run(service: Service, settings: &Settings) -> Result<()> {
    let chat = Arc::new(Chat { service: service.clone(), rooms: Mutex::default() });
    let routes = Router::new()
        .route("/rooms/{room}", post(post_message))
        .route("/mood", post(set_mood))
        .route("/seen", get(seen))
        .route("/healthz", get(health))
        .with_state(chat);
    serve(&service, settings.get("listen")?, routes).await
}

async fn post_message(
    State(chat): State<Arc<Chat>>,
    Path(room): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let id = headers.get("webhook-id").and_then(|it| it.to_str().ok()).unwrap_or_default();
    let mood = chat.called(&room);
    chat.answer(mood, || chat.show(&room, id, &body)).await
}

/// As the rooms are, all together.
async fn health(State(chat): State<Arc<Chat>>) -> Response {
    let mood = chat.rooms.lock().unwrap_or_else(PoisonError::into_inner).all.clone();
    chat.answer(mood, || ()).await
}

impl Chat {
    async fn answer(&self, mood: Mood, show: impl FnOnce()) -> Response {
        match mood {
            Mood::Slow { ms } => tokio::time::sleep(Duration::from_millis(ms)).await,
            Mood::Silent => tokio::time::sleep(Duration::from_secs(3600)).await,
            _ => (),
        }
        match mood {
            Mood::Well | Mood::Slow { .. } => {
                show();
                "posted".into_response()
            }
            Mood::Lying | Mood::Silent => "posted".into_response(),
            Mood::Down { status } => StatusCode::from_u16(status)
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
                .into_response(),
            Mood::Throttling { retry_after_s } => {
                let after = [("retry-after", retry_after_s.to_string())];
                (StatusCode::TOO_MANY_REQUESTS, after).into_response()
            }
        }
    }

    fn called(&self, room: &str) -> Mood {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        *rooms.n_calls.entry(room.to_owned()).or_default() += 1;
        self.service.metrics.add(&format!("chat_calls_total{{room=\"{room}\"}}"), 1.0);
        rooms.moods.get(room).unwrap_or(&rooms.all).clone()
    }

    fn show(&self, room: &str, id: &str, body: &str) {
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        let event = body["event"].as_str().unwrap_or(id).to_owned();
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if !id.is_empty() && !rooms.ids.insert((room.to_owned(), id.to_owned())) {
            rooms.n_repeats += 1;
            return;
        }
        *rooms.shown.entry(room.to_owned()).or_default().entry(event).or_default() += 1;
        self.service.metrics.add(&format!("chat_shown_total{{room=\"{room}\"}}"), 1.0);
    }
}

async fn set_mood(State(chat): State<Arc<Chat>>, Json(order): Json<Order>) {
    let mut rooms = chat.rooms.lock().unwrap_or_else(PoisonError::into_inner);
    match order.room {
        Some(room) => drop(rooms.moods.insert(room, order.mood)),
        None => {
            rooms.moods.clear();
            rooms.all = order.mood;
        }
    }
}

/// Calls and events by room; for each event how often people saw it.
async fn seen(State(chat): State<Arc<Chat>>) -> Json<Value> {
    let rooms = chat.rooms.lock().unwrap_or_else(PoisonError::into_inner);
    Json(json!({"calls": rooms.n_calls, "repeats": rooms.n_repeats, "shown": rooms.shown}))
}
