//! Parameters of the form `label.NAME=value`, which pick series by their labels.

use axum::{
    extract::{FromRequestParts, Query},
    http::{Uri, request::Parts},
};
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use super::error::Problem;
use crate::range::quoted;

/// What such a parameter begins with.
const PREFIX: &str = "label.";

/// Labels that one question may name.
const LABELS_MAX: usize = 64;

/// The other parameters, and a condition in SQL for each label. A value that is empty picks the series
/// without that label.
#[derive(Debug)]
pub(super) struct Labelled<T>(pub(super) T, pub(super) Vec<String>);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Labelled<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        read(parts.uri.query().unwrap_or_default())
    }
}

fn read<T: DeserializeOwned>(query: &str) -> Result<Labelled<T>, Problem> {
    let (mut conditions, mut rest) = (vec![], form_urlencoded::Serializer::new(String::new()));
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.strip_prefix(PREFIX) {
            Some("") => {
                let sentence = "`label.` names no label; write `label.NAME=value`";
                return Err(Problem::bad_request(sentence));
            }
            Some(label) => conditions.push(condition(label, &value)),
            None => drop(rest.append_pair(&name, &value)),
        }
    }
    if conditions.len() > LABELS_MAX {
        let sentence = format!("more than {LABELS_MAX} labels are named; name fewer");
        return Err(Problem::bad_request(sentence));
    }
    let uri = format!("/?{}", rest.finish()).parse::<Uri>();
    let uri = uri.map_err(|error| Problem::bad_request(format!("the parameters: {error}")))?;
    let Query(params) = Query::try_from_uri(&uri)?;
    Ok(Labelled(params, conditions))
}

fn condition(label: &str, value: &str) -> String {
    match value {
        "" => format!("labels[{}] is null", quoted(label)),
        value => format!("labels[{}] = {}", quoted(label), quoted(value)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn check(query: &str) -> Result<(BTreeMap<String, String>, Vec<String>), Problem> {
        read(query).map(|Labelled(rest, labels)| (rest, labels))
    }

    #[test]
    fn a_label_is_a_condition_and_the_rest_stays() {
        let (rest, labels) = check("metric=m&label.a=it%27s&x=1%262&label.b=").unwrap();
        assert_eq!(labels, ["labels['a'] = 'it''s'", "labels['b'] is null"]);
        assert_eq!(rest["x"], "1&2");
        assert_eq!(rest.len(), 2);
    }

    #[test]
    fn a_label_without_a_name_and_too_many_labels_are_refused() {
        check("label.=1").unwrap_err();
        check(&"label.a=1&".repeat(LABELS_MAX + 1)).unwrap_err();
    }
}
