//! One HTTP request, for applications that heal themselves when asked.

use std::collections::BTreeMap;

use async_trait::async_trait;
use reqwest::{
    Client, Method, Url,
    header::{HeaderName, HeaderValue},
    redirect::Policy,
};
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
        for (name, value) in &self.headers {
            HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("`{name}` is no name of a header"))?;
            HeaderValue::from_str(value).map_err(|_| {
                format!("header `{name}` has a value with signs that none may have")
            })?;
        }
        if let Some(status) = self.expect.iter().find(|it| !(100..1000).contains(*it)) {
            return Err(format!("`expect` has {status}, which is no status"));
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Calls somebody who answers this; gives what came of it, and what they heard.
    async fn call(answer: &'static str, more: &str) -> (Result<Done, String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/restart", listener.local_addr().unwrap());
        let heard = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut heard, mut chunk) = (vec![], [0; 1024]);
            while !heard.ends_with(b"now") {
                let n = stream.read(&mut chunk).await.unwrap();
                heard.extend_from_slice(&chunk[..n]);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&heard).to_lowercase()
        });
        let settings = format!("url = '{url}'\nbody = 'now'\nheaders = {{ x-who = 'us' }}\n{more}");
        let action: CallHttp = toml::from_str(&settings).unwrap();
        let timeout = Duration::from_secs(5);
        let context = Context::new("key-1", Allowed::default(), timeout, Default::default());
        let done = super::super::run(&action, &context).await;
        (done, heard.await.unwrap())
    }

    #[tokio::test]
    async fn an_application_is_asked_once_under_a_key_and_its_answer_kept() {
        let ok = "HTTP/1.1 202 Accepted\r\ncontent-length: 9\r\n\r\ntoken=abc";
        let (done, heard) = call(ok, "").await;
        let done = done.unwrap();
        assert_eq!((&*done.summary, &*done.output), ("answered 202 Accepted", "token=redacted"));
        assert!(heard.starts_with("post /restart http/1.1\r\n"), "{heard}");
        assert!(heard.contains("idempotency-key: key-1\r\n") && heard.contains("x-who: us\r\n"));
        let (_, heard) = call(ok, "method = 'PUT'").await;
        assert!(heard.starts_with("put "), "{heard}");
    }

    #[tokio::test]
    async fn another_status_than_expected_is_a_failure_without_secrets() {
        let no = "HTTP/1.1 500 Oops\r\ncontent-length: 12\r\n\r\npassword=abc";
        let (done, _) = call(no, "").await;
        assert_eq!(done.unwrap_err(), "answered 500 Internal Server Error: password=redacted");
        let (done, _) = call(no, "expect = [500]").await;
        done.unwrap();
        // A redirect is somebody else's address.
        let away =
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n";
        let (done, _) = call(away, "").await;
        assert!(done.unwrap_err().starts_with("answered 302 Found"));
    }
}
