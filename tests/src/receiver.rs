//! A receiver of webhooks that can be well, slow, down, throttling or lying, and remembers all it saw.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Bytes of a body that are read at most.
const BODY_MAX: usize = 16 << 20;

/// How a receiver behaves.
#[derive(Clone, Debug, PartialEq)]
pub enum Mood {
    /// Takes everything.
    Well,
    /// Takes everything, after this long.
    Slow(Duration),
    /// Answers with this status.
    Status(u16),
    /// Answers 429 and this `Retry-After`.
    Throttling(String),
    /// Answers 503 to this share, and takes the rest.
    Flaky(f64),
    /// Takes the request and never answers.
    Silent,
    /// Takes the request and closes the connection, whatever it did with it.
    Rude,
    /// Answers 200 and does nothing.
    Lying,
    /// Sends elsewhere.
    Redirecting(String),
    /// Answers 422 when the body contains this text, and takes the rest.
    Refusing(String),
    /// Answers 500 when the body contains this text, and takes the rest.
    Choking(String),
}

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The path, with its query.
    pub path: String,
    /// Headers, by lower-case name.
    pub headers: HashMap<String, String>,
    /// The body.
    pub body: String,
    /// The status it was answered with; 0 for none.
    pub status: u16,
    /// When it came.
    pub at: Instant,
}

impl Seen {
    /// `webhook-id`.
    pub fn id(&self) -> &str {
        self.headers.get("webhook-id").map_or("", String::as_str)
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

/// A running receiver; it goes when it is dropped.
#[derive(Debug)]
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    mood: Mood,
    seen: Vec<Seen>,
    /// How often each identifier was answered with 2xx.
    taken: BTreeMap<String, usize>,
    dice: StdRng,
}

impl State {
    fn keep(&mut self, seen: Seen) {
        if (200..300).contains(&seen.status) {
            *self.taken.entry(seen.id().to_owned()).or_insert(0) += 1;
        }
        self.seen.push(seen);
    }
}

impl Receiver {
    /// Starts one on a free port of the loopback.
    pub async fn start(mood: Mood) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let dice = StdRng::seed_from_u64(7);
        let state = State { mood, seen: vec![], taken: BTreeMap::new(), dice };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                // A connection that ends in the middle is the other side's affair.
                tokio::spawn(async move { drop(serve(stream, state).await) });
            }
        });
        Ok(Self { address, state, task })
    }

    /// An address to post to.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// From now on it behaves like this.
    pub fn set(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// How many requests came so far.
    pub fn n_seen(&self) -> usize {
        self.state.lock().unwrap().seen.len()
    }

    /// How often each identifier was taken (answered with 2xx).
    pub fn taken(&self) -> BTreeMap<String, usize> {
        self.state.lock().unwrap().taken.clone()
    }

    /// Waits until so many different identifiers were taken.
    pub async fn wait_for(&self, n: usize, within: Duration) -> Result<()> {
        let started = Instant::now();
        loop {
            let taken = self.state.lock().unwrap().taken.len();
            if taken >= n {
                return Ok(());
            }
            ensure!(started.elapsed() < within, "{taken} of {n} arrived in {within:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(mut seen) = request(&mut stream).await? {
        let (status, more, wait) = {
            let mut state = state.lock().unwrap();
            let answer = decide(&state.mood.clone(), &seen, &mut state.dice);
            if answer.2 == Some(Duration::ZERO) || answer.2.is_none() {
                seen.status = answer.0;
                state.keep(seen.clone());
            }
            answer
        };
        if let Some(wait) = wait.filter(|it| !it.is_zero()) {
            tokio::time::sleep(wait).await;
            seen.status = status;
            state.lock().unwrap().keep(seen);
        }
        if status == 0 {
            return Ok(());
        }
        let answer = format!("HTTP/1.1 {status} x\r\n{more}content-length: 2\r\n\r\nok");
        stream.get_mut().write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// Status, further headers, and how long to wait before.
fn decide(mood: &Mood, seen: &Seen, dice: &mut StdRng) -> (u16, String, Option<Duration>) {
    let plain = |status| (status, String::new(), None);
    match mood {
        Mood::Well | Mood::Lying => plain(200),
        Mood::Slow(wait) => (200, String::new(), Some(*wait)),
        Mood::Status(status) => plain(*status),
        Mood::Throttling(after) => (429, format!("retry-after: {after}\r\n"), None),
        Mood::Flaky(share) => plain(if dice.random_bool(*share) { 503 } else { 200 }),
        Mood::Silent => (0, String::new(), Some(Duration::from_secs(3600))),
        Mood::Rude => plain(0),
        Mood::Redirecting(to) => (302, format!("location: {to}\r\n"), None),
        Mood::Refusing(text) => plain(if seen.body.contains(text) { 422 } else { 200 }),
        Mood::Choking(text) => plain(if seen.body.contains(text) { 500 } else { 200 }),
    }
}

async fn request(stream: &mut BufReader<TcpStream>) -> Result<Option<Seen>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).context("a request line")?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length: usize = headers.get("content-length").map_or(Ok(0), |text| text.parse())?;
    ensure!(length <= BODY_MAX, "a body of {length} bytes");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(Seen { path, headers, body, status: 0, at: Instant::now() }))
}
