//! Alertmanager, or anything that takes its alerts (`POST /api/v2/alerts`).
//!
//! A payload that is a list of alerts, or has one in `alerts`, is sent as it is. Else it becomes one alert.
//! <https://prometheus.io/docs/alerting/latest/alerts_api/>

use serde_json::{Map, Value, json};
use url::Url;

use super::{said, template, words};
use crate::delivery::{
    Message,
    fields::{Fields, Wrong},
    guard::Guard,
    template::Template,
};

#[derive(Clone, Debug)]
pub(super) struct Alertmanager {
    url: Url,
    template: Template,
}

pub(super) fn read(fields: &mut Fields, guard: &Guard) -> Result<Alertmanager, Wrong> {
    let mut url = super::url(fields, guard)?;
    if matches!(url.path(), "" | "/") {
        url.set_path("/api/v2/alerts");
    }
    Ok(Alertmanager { url, template: template(fields, "template", "{{title}}")? })
}

impl Alertmanager {
    pub(super) fn compose(&self, message: &Message<'_>, payload: &Value) -> (Url, Value) {
        let alerts = match (payload, payload.get("alerts")) {
            (Value::Array(_), _) => payload.clone(),
            (_, Some(Value::Array(alerts))) => json!(alerts),
            _ => json!([self.alert(message, payload)]),
        };
        (self.url.clone(), alerts)
    }

    /// Labels say which alert it is, so what changes while it lasts must not be among them.
    fn alert(&self, message: &Message<'_>, payload: &Value) -> Value {
        let name = said(payload, &["alertname", "type", "rule", "title"]).unwrap_or("Pipenotify");
        let mut labels = Map::from_iter([("alertname".to_owned(), json!(name))]);
        for field in ["severity", "component", "service", "host", "instance", "tenant"] {
            if let Some(text) = said(payload, &[field]) {
                labels.insert(field.to_owned(), json!(text));
            }
        }
        if let Some(Value::Object(given)) = payload.get("labels") {
            labels.extend(given.iter().map(|(name, value)| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                (name.clone(), json!(text))
            }));
        }
        let summary = words(&self.template, payload);
        let mut alert = json!({"labels": labels, "annotations": {"summary": summary}});
        if let Some(description) = said(payload, &["description"]) {
            alert["annotations"]["description"] = json!(description);
        }
        alert["startsAt"] = match said(payload, &["startsAt", "opened_at"]) {
            Some(at) => json!(at),
            None => json!(message.now),
        };
        let end = said(payload, &["endsAt", "resolved_at"]).map(|at| json!(at));
        let is_over = said(payload, &["status", "state"]) == Some("resolved");
        if let Some(end) = end.or(is_over.then(|| json!(message.now))) {
            alert["endsAt"] = end;
        }
        alert
    }
}
