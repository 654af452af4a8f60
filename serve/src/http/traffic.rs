//! How many requests each address answered, how, and how long that took.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};

/// Counters since the start of the process, by address, method and status: as many as there are routes.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<BTreeMap<(String, &'static str, u16), Answers>>);

#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    n: u64,
    time: Duration,
}

impl Traffic {
    fn add(&self, route: &str, method: &'static str, status: u16, took: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = all.entry((route.to_owned(), method, status)).or_default();
        answers.n += 1;
        answers.time += took;
    }

    /// In Prometheus' text format.
    pub(super) fn write(&self, text: &mut String) -> std::fmt::Result {
        const N: &str = "pipenotify_http_requests_total";
        const TIME: &str = "pipenotify_http_request_seconds_total";
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let labels = |(route, method, status): &(String, &'static str, u16)| {
            format!("{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}}")
        };
        writeln!(text, "# HELP {N} Requests answered.\n# TYPE {N} counter")?;
        for (key, answers) in &all {
            writeln!(text, "{N}{} {}", labels(key), answers.n)?;
        }
        writeln!(text, "# HELP {TIME} Time until the answers began.\n# TYPE {TIME} counter")?;
        for (key, answers) in &all {
            writeln!(text, "{TIME}{} {}", labels(key), answers.time.as_secs_f64())?;
        }
        Ok(())
    }
}

/// Counts a request when its answer begins.
pub(super) async fn count(
    State(traffic): State<Arc<Traffic>>,
    request: Request,
    next: Next,
) -> Response {
    // An address that nobody serves has no name: callers could make up any number of them.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = match request.method().as_str() {
        "GET" | "HEAD" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    };
    let started = Instant::now();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    traffic.add(route, method, response.status().as_u16(), started.elapsed());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_answer_is_counted_on_its_own() {
        let traffic = Traffic::default();
        for (status, ms) in [(200, 1_000), (200, 500), (400, 1)] {
            traffic.add("/api/v1/sql", "POST", status, Duration::from_millis(ms));
        }
        let mut text = String::new();
        traffic.write(&mut text).unwrap();
        let labels = r#"{route="/api/v1/sql",method="POST",status="200"}"#;
        assert!(text.contains(&format!("requests_total{labels} 2\n")), "{text}");
        assert!(text.contains(&format!("seconds_total{labels} 1.5\n")), "{text}");
        assert!(text.contains(r#"status="400"} 1"#), "{text}");
    }
}
