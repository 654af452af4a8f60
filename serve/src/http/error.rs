//! One shape for every error: problem+json (RFC 9457). The caller gets a sentence that says what to
//! do next; the log gets the cause.

use std::any::Any;

use axum::{
    Json,
    body::{Body, to_bytes},
    extract::{FromRequestParts, Query, rejection::QueryRejection},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;
use serde_json::json;

/// Why a request got no answer.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    field: Option<String>,
}

impl Problem {
    /// A problem that the caller reads as `detail`.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), field: None }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Something failed inside; a failure of lake or ledger is told as such.
    pub fn from_any(error: impl Into<anyhow::Error>) -> Self {
        let error: anyhow::Error = error.into();
        match error.downcast_ref::<data::Error>() {
            Some(error) => error.into(),
            None => {
                tracing::error!("a request failed: {error:#}");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "this failed inside; the log says why")
            }
        }
    }

    /// The same, which is to blame on this field of the request.
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The request cannot be met as it is.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }
}

/// Bytes of a refusal in plain text that are read to make a problem of it.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// A refusal that the framework wrote in plain text, as a problem: a query string or a body that cannot
/// be read, a method that an address does not take. Other responses pass as they are.
pub(super) async fn as_problem(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let is_plain = kind.is_none_or(|kind| kind.starts_with("text/plain"));
    if !status.is_client_error() || !is_plain {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = to_bytes(body, REFUSAL_BYTES_MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let allowed = parts.headers.get(header::ALLOW).and_then(|value| value.to_str().ok());
    let detail = match (status, allowed) {
        (StatusCode::METHOD_NOT_ALLOWED, Some(allowed)) => format!("this address takes {allowed}"),
        (StatusCode::PAYLOAD_TOO_LARGE, _) => format!("the body is too large: {text}"),
        _ if text.is_empty() => status.canonical_reason().unwrap_or_default().to_owned(),
        _ => text,
    };
    let problem = of_parameters(&detail).unwrap_or_else(|| Problem::new(status, detail));
    let problem = problem.into_response();
    // What else the refusal said, such as `Allow`, still holds.
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.extend(problem.headers().clone());
    let body: Body = problem.into_body();
    Response::from_parts(parts, body)
}

/// The problem with a query string, if the framework speaks of one.
fn of_parameters(text: &str) -> Option<Problem> {
    let why = text.strip_prefix("Failed to deserialize query string: ")?;
    let why = why.replace("there are no fields", "this address takes no parameters");
    let Some((name, why)) = why.split_once(": ") else { return Some(Problem::bad_request(why)) };
    Some(Problem::bad_request(format!("`{name}`: {why}")).with_field(name))
}

/// What a caller hears of a bug; the log has the panic.
pub(super) fn panicked(_: Box<dyn Any + Send>) -> Response {
    let detail = "this failed inside; the log says why";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(field) = &self.field {
            body["field"] = json!(field);
        }
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE
            || self.status == StatusCode::TOO_MANY_REQUESTS
        {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<analytics::Error> for Problem {
    fn from(error: analytics::Error) -> Self {
        use analytics::Error;
        let status = match &error {
            Error::Invalid(_) => StatusCode::BAD_REQUEST,
            // Asking again the same would not help: it is the question that is too much.
            Error::TooLarge(_) | Error::Timeout(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Busy => StatusCode::TOO_MANY_REQUESTS,
            Error::Storage(error) => return error.into(),
            Error::Internal(cause) => {
                tracing::error!("a query failed inside the engine: {cause}");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, error.to_string())
    }
}

impl From<&data::Error> for Problem {
    fn from(error: &data::Error) -> Self {
        let status = match error {
            data::Error::Invalid(_) => StatusCode::BAD_REQUEST,
            data::Error::Conflict { .. } => StatusCode::CONFLICT,
            data::Error::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            data::Error::Corrupt { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::error!(?error, "{error}");
        }
        Self::new(status, error.to_string())
    }
}

impl From<data::Error> for Problem {
    fn from(error: data::Error) -> Self {
        (&error).into()
    }
}

impl From<remediation::delivery::fields::Wrong> for Problem {
    fn from(wrong: remediation::delivery::fields::Wrong) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, wrong.to_string()).with_field(wrong.field)
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        let text = rejection.body_text();
        of_parameters(&text).unwrap_or_else(|| Self::bad_request(text))
    }
}

/// The parameters behind the question mark; wrong ones are a problem like every other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(rejection.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_cannot_be_meant_is_named() {
        let check = |why: &str, expected: Option<(&str, Option<&str>)>| {
            let found = of_parameters(why);
            let found = found.as_ref().map(|it| (it.detail.as_str(), it.field.as_deref()));
            assert_eq!(found, expected);
        };
        check(
            "Failed to deserialize query string: a: unknown field `a`, there are no fields",
            Some(("`a`: unknown field `a`, this address takes no parameters", Some("a"))),
        );
        check(
            "Failed to deserialize query string: limit: invalid digit found in string",
            Some(("`limit`: invalid digit found in string", Some("limit"))),
        );
        check(
            "Failed to deserialize query string: missing field `metric`",
            Some(("missing field `metric`", None)),
        );
        check("Expected request with `Content-Type`", None);
    }
}
