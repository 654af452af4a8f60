//! One HTTP request, for applications that heal themselves when asked.

use std::collections::BTreeMap;

use async_trait::async_trait;
use reqwest::{Client, Method, Url, redirect::Policy};
use serde::Deserialize;

use super::{Act, Allowed, Context, Done, has_names, output::OUTPUT_BYTES_MAX};

/// Calls an address.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallHttp {
    url: String,
    #[serde(default = "post")]
    method: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    /// Statuses that mean success; 200 to 299 when absent.
    #[serde(default)]
    expect: Vec<u16>,
}

#[async_trait]
impl Act for CallHttp {
    fn target(&self) -> String {
        let host = Url::parse(&self.url).ok();
        let shown = host.map(|url| {
            format!("{}{}", url.authority().rsplit('@').next().unwrap_or_default(), url.path())
        });
        format!("http:{}", shown.unwrap_or_default())
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        Method::from_bytes(self.method.as_bytes())
            .map_err(|_| format!("`{}` is no method", self.method))?;
        if has_names(&self.url) {
            return Ok(());
        }
        match Url::parse(&self.url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(()),
            _ => Err(format!("`{}` is no http or https address", self.url)),
        }
    }

    async fn act(&self, context: &Context) -> Result<Done, String> {
        let client = Client::builder().redirect(Policy::none()).timeout(context.timeout);
        let client = client.build().map_err(|error| error.to_string())?;
        let method =
            Method::from_bytes(self.method.as_bytes()).map_err(|error| error.to_string())?;
        let mut request = client.request(method, &self.url).header("idempotency-key", &context.key);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let sent = request.body(self.body.clone()).send().await;
        // The address may hold a secret; the cause is enough.
        let reply = sent.map_err(|error| chain(&error.without_url()))?;
        let status = reply.status();
        let output = text(reply).await;
        let good = match self.expect.is_empty() {
            true => status.is_success(),
            false => self.expect.contains(&status.as_u16()),
        };
        match good {
            true => Ok(Done { summary: format!("answered {status}"), output }),
            false => Err(format!("answered {status}: {output}")),
        }
    }
}

async fn text(mut reply: reqwest::Response) -> String {
    let mut kept = vec![];
    while kept.len() <= OUTPUT_BYTES_MAX
        && let Ok(Some(chunk)) = reply.chunk().await
    {
        kept.extend_from_slice(&chunk);
    }
    kept.truncate(OUTPUT_BYTES_MAX);
    String::from_utf8_lossy(&kept).trim().to_owned()
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

fn post() -> String {
    "POST".to_owned()
}
