//! Reads a JSON object field by field, and names the field that is wrong.

use std::{fmt, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

/// What is wrong, and with which field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The field.
    pub field: String,
    /// What is wrong with it, as the end of a sentence that the field begins.
    pub why: String,
}

impl Wrong {
    /// `field` is wrong, in this way.
    pub fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self { field: field.into(), why: why.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.field, self.why)
    }
}

/// An object whose fields are taken out one by one.
#[derive(Debug)]
pub struct Fields {
    left: Map<String, Value>,
    asked: Vec<&'static str>,
}

impl Fields {
    /// The fields of an object.
    pub fn new(object: Map<String, Value>) -> Self {
        Self { left: object, asked: vec![] }
    }

    /// Any value; `null` is the same as nothing.
    pub fn value(&mut self, field: &'static str) -> Option<Value> {
        self.asked.push(field);
        self.left.remove(field).filter(|value| !value.is_null())
    }

    /// A text.
    pub fn text(&mut self, field: &'static str) -> Result<Option<String>, Wrong> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Wrong::new(field, "must be a text")),
        }
    }

    /// A text that is not empty.
    pub fn needed(&mut self, field: &'static str) -> Result<String, Wrong> {
        let text = self.text(field)?.ok_or_else(|| Wrong::new(field, "is missing"))?;
        if text.trim().is_empty() {
            return Err(Wrong::new(field, "is empty"));
        }
        Ok(text)
    }

    /// A list of texts; one text is a list of one.
    pub fn texts(&mut self, field: &'static str) -> Result<Vec<String>, Wrong> {
        let wrong = || Wrong::new(field, "must be a list of texts");
        match self.value(field) {
            None => Ok(vec![]),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(list)) => {
                let text = |value: Value| value.as_str().map(str::to_owned).ok_or_else(wrong);
                list.into_iter().map(text).collect()
            }
            Some(_) => Err(wrong()),
        }
    }

    /// A number above 0.
    pub fn number(&mut self, field: &'static str) -> Result<Option<f64>, Wrong> {
        let wrong = || Wrong::new(field, "must be a number above 0");
        let Some(value) = self.value(field) else { return Ok(None) };
        value.as_f64().filter(|n| n.is_finite() && *n > 0.0).map(Some).ok_or_else(wrong)
    }

    /// A whole number from 1 to `max`.
    pub fn count(&mut self, field: &'static str, max: u32) -> Result<Option<u32>, Wrong> {
        let wrong = || Wrong::new(field, format!("must be a whole number from 1 to {max}"));
        let Some(value) = self.value(field) else { return Ok(None) };
        let n = value.as_u64().and_then(|n| u32::try_from(n).ok());
        n.filter(|n| (1..=max).contains(n)).map(Some).ok_or_else(wrong)
    }

    /// An RFC 3339 time.
    pub fn time(&mut self, field: &'static str) -> Result<Option<DateTime<Utc>>, Wrong> {
        let Some(text) = self.text(field)? else { return Ok(None) };
        let wrong = || Wrong::new(field, "is no time; expected one like 2026-03-09T14:00:00Z");
        DateTime::parse_from_rfc3339(&text).map(|at| Some(at.to_utc())).map_err(|_| wrong())
    }

    /// A length of time in whole units: `500ms`, `10s`, `5m`.
    pub fn period(&mut self, field: &'static str) -> Result<Option<Duration>, Wrong> {
        let wrong = || Wrong::new(field, "is no duration; expected one like 500ms, 10s or 5m");
        let Some(text) = self.text(field)? else { return Ok(None) };
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(digits);
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            _ => return Err(wrong()),
        };
        let n = number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).filter(|n| *n > 0);
        n.map(|n| Some(Duration::from_millis(n))).ok_or_else(wrong)
    }

    /// Names of headers and their values.
    pub fn headers(&mut self, field: &'static str) -> Result<Vec<(String, String)>, Wrong> {
        let wrong = || Wrong::new(field, "must be an object of texts");
        match self.value(field) {
            None => Ok(vec![]),
            Some(Value::Object(all)) => {
                let pair = |(name, value): (String, Value)| match value {
                    Value::String(value) => Ok((name, value)),
                    _ => Err(wrong()),
                };
                all.into_iter().map(pair).collect()
            }
            Some(_) => Err(wrong()),
        }
    }

    /// Nothing may be left: a field with a typo must not be a field without effect.
    pub fn done(self) -> Result<(), Wrong> {
        match self.left.into_iter().next() {
            None => Ok(()),
            Some((field, _)) => {
                let known = self.asked.join("`, `");
                Err(Wrong::new(field, format!("is unknown; there are `{known}`")))
            }
        }
    }
}
