//! A JSON body whose errors name the field.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{StatusCode, Uri},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::error::Problem;

/// A body as JSON; an empty one, or `null`, is `{}`. No text in it holds a control character.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

/// A body, or parameters, of which there are none; what is said all the same is a mistake.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state).await;
        let too_large = |_| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
        let bytes = bytes.map_err(too_large)?;
        let text: &[u8] = match bytes.trim_ascii() {
            b"" | b"null" => b"{}",
            text => text,
        };
        let read = serde_json::from_slice(text)
            .map_err(|error| Problem::bad_request(format!("the body: {error}")))?;
        clean(text)?;
        Ok(Self(read))
    }
}

/// Whether a ledger can keep a text as it is, and people can read it: it has no control character but tabs and
/// ends of lines.
pub(crate) fn is_clean(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

/// Refuses a body with a text that is not clean.
pub(crate) fn clean(body: &[u8]) -> Result<(), Problem> {
    // They are written with a backslash, all but one and those beyond ASCII.
    if body.iter().all(|byte| byte.is_ascii() && !matches!(byte, b'\\' | 0x7f)) {
        return Ok(());
    }
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(field) = unclean(&value, "") else { return Ok(()) };
    let why = format!("`{}` holds a control character", field.escape_debug());
    Err(Problem::bad_request(why).with_field(field.escape_debug().to_string()))
}

/// The first field with a text that is not clean.
fn unclean(value: &Value, field: &str) -> Option<String> {
    match value {
        Value::String(text) => (!is_clean(text)).then(|| field.to_owned()),
        Value::Array(all) => all.iter().find_map(|it| unclean(it, field)),
        Value::Object(all) => all.iter().find_map(|(name, it)| match is_clean(name) {
            true => unclean(it, name),
            false => Some(name.clone()),
        }),
        _ => None,
    }
}

/// Refuses an address with a NUL in its path or behind the question mark: no database keeps or compares one.
pub(crate) async fn without_nul(request: Request, next: Next) -> Response {
    match nul(request.uri()).map(str::to_owned) {
        None => next.run(request).await,
        Some(field) => {
            let why = format!("`{field}` holds a NUL, which nothing here has");
            Problem::bad_request(why).with_field(field).into_response()
        }
    }
}

/// Where an address has a NUL: in its path, or in the parameter of this name.
fn nul(uri: &Uri) -> Option<&str> {
    if uri.path().contains("%00") {
        return Some("path");
    }
    let pair = uri.query()?.split('&').find(|pair| pair.contains("%00"))?;
    pair.split('=').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_in_an_address_is_found() {
        let check = |text: &str, expected| {
            assert_eq!(nul(&text.parse().unwrap()), expected, "{text}");
        };
        check("/a%20b?c=%2500&d=1", None);
        check("/a%00", Some("path"));
        check("/a?c=1&tenant=x%00", Some("tenant"));
    }

    #[test]
    fn a_control_character_is_refused_by_the_name_of_its_field() {
        let check = |body: &str, expected: Option<&str>| {
            let said = clean(body.as_bytes()).err().map(|it| format!("{it:?}"));
            match expected {
                None => assert!(said.is_none(), "{body}: {said:?}"),
                Some(field) => {
                    let said = said.unwrap();
                    assert!(said.contains(&format!("Some(\"{field}\")")), "{body}: {said}");
                }
            }
        };
        check(r#"{"reason": "a disk\nis full\tä"}"#, None);
        check(r#"{"reason": "a\u0000b"}"#, Some("reason"));
        check(r#"{"matchers": [{"name": "component", "value": "\u001b[2J"}]}"#, Some("value"));
        check(r#"{"ids": ["a", "\u0000"]}"#, Some("ids"));
        check("{\"text\": \"\u{7f}\"}", Some("text"));
        check("{\"text\": \"\u{85}\"}", Some("text"));
    }
}
