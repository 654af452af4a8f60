//! Kubernetes, by its API: a rolling restart, as `kubectl rollout restart` does it, and the end of a pod.
//!
//! Within a cluster nothing has to be said: address, token and certificate are where every pod has them.
//! The account needs `patch` on what is restarted, and `delete` on pods.

use std::{
    fs,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use chrono::SecondsFormat;
use reqwest::{Certificate, Client, Method, Url, redirect::Policy};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Act, Allowed, Context, Done, has_names, http::chain};

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How the API is reached.
struct Api<'a> {
    url: &'a str,
    token_file: &'a Path,
    ca_file: &'a Path,
}

/// Replaces the pods of a workload one by one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RestartRollout {
    /// deployment, statefulset or daemonset.
    #[serde(default = "deployment")]
    kind: String,
    name: String,
    #[serde(default = "default_namespace")]
    namespace: String,
    #[serde(default = "cluster")]
    url: String,
    #[serde(default = "token")]
    token_file: PathBuf,
    #[serde(default = "ca")]
    ca_file: PathBuf,
}

/// Ends a pod; who owns it makes another.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeletePod {
    name: String,
    #[serde(default = "default_namespace")]
    namespace: String,
    #[serde(default = "cluster")]
    url: String,
    #[serde(default = "token")]
    token_file: PathBuf,
    #[serde(default = "ca")]
    ca_file: PathBuf,
}

const KINDS: [&str; 3] = ["deployment", "statefulset", "daemonset"];

#[async_trait]
impl Act for RestartRollout {
    fn target(&self) -> String {
        format!("kubernetes:{}/{}/{}", self.namespace, self.kind, self.name)
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        if !KINDS.contains(&self.kind.as_str()) {
            return Err(format!("`kind` is `{}`; known are {}", self.kind, KINDS.join(", ")));
        }
        named(&self.name)?;
        named(&self.namespace)?;
        check(&self.url)
    }

    async fn act(&self, context: &Context) -> Result<Done, String> {
        let plural = format!("{}s", self.kind);
        let path = ["apis", "apps", "v1", "namespaces", &self.namespace, &plural, &self.name];
        let at = context.now.to_rfc3339_opts(SecondsFormat::Secs, true);
        let annotations = json!({
            "kubectl.kubernetes.io/restartedAt": at, "pipenotify/action": context.key,
        });
        let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
        self.api().call(context, Method::PATCH, &path, Some(&patch)).await?;
        Ok(Done::new(format!("{} {} is being restarted", self.kind, self.name)))
    }
}

#[async_trait]
impl Act for DeletePod {
    fn target(&self) -> String {
        format!("kubernetes:{}/pod/{}", self.namespace, self.name)
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        named(&self.name)?;
        named(&self.namespace)?;
        check(&self.url)
    }

    async fn act(&self, context: &Context) -> Result<Done, String> {
        let path = ["api", "v1", "namespaces", &self.namespace, "pods", &self.name];
        self.api().call(context, Method::DELETE, &path, None).await?;
        Ok(Done::new(format!("pod {} is ended", self.name)))
    }
}

impl RestartRollout {
    fn api(&self) -> Api<'_> {
        Api { url: &self.url, token_file: &self.token_file, ca_file: &self.ca_file }
    }
}

impl DeletePod {
    fn api(&self) -> Api<'_> {
        Api { url: &self.url, token_file: &self.token_file, ca_file: &self.ca_file }
    }
}

impl Api<'_> {
    async fn call(
        &self,
        context: &Context,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> Result<(), String> {
        let read = |path: &Path| fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
        let mut url = Url::parse(self.url).map_err(|error| error.to_string())?;
        url.path_segments_mut().map_err(|()| "`url` cannot be called")?.pop_if_empty().extend(path);
        let mut client = Client::builder().redirect(Policy::none()).timeout(context.timeout);
        if url.scheme() == "https" {
            let ca = Certificate::from_pem(&read(self.ca_file)?).map_err(|e| chain(&e))?;
            client = client.add_root_certificate(ca);
        }
        let client = client.build().map_err(|error| chain(&error))?;
        // Tokens are renewed in place, so the file is read each time.
        let token = String::from_utf8_lossy(&read(self.token_file)?).trim().to_owned();
        let mut request = client.request(method, url).bearer_auth(token);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/strategic-merge-patch+json")
                .body(body.to_string());
        }
        let reply = request.send().await.map_err(|error| chain(&error.without_url()))?;
        let status = reply.status();
        if status.is_success() {
            return Ok(());
        }
        let said = reply.text().await.unwrap_or_default();
        let message = serde_json::from_str::<Value>(&said).ok();
        let message = message.as_ref().and_then(|it| it["message"].as_str()).unwrap_or(&said);
        Err(format!("answered {status}: {message}"))
    }
}

fn check(url: &str) -> Result<(), String> {
    let is_fine = |url: Url| matches!(url.scheme(), "http" | "https");
    match has_names(url) || Url::parse(url).is_ok_and(is_fine) {
        true => Ok(()),
        false => Err(format!("`{url}` is no http or https address")),
    }
}

/// A name as Kubernetes has them, which cannot lead elsewhere in a path.
fn named(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    let is_name = !name.is_empty() && name.len() <= 253 && name.chars().all(plain);
    match has_names(name) || (is_name && !name.starts_with('.')) {
        true => Ok(()),
        false => Err(format!("`{name}` is no name in Kubernetes")),
    }
}

fn cluster() -> String {
    "https://kubernetes.default.svc".to_owned()
}

fn token() -> PathBuf {
    format!("{ACCOUNT}/token").into()
}

fn ca() -> PathBuf {
    format!("{ACCOUNT}/ca.crt").into()
}

fn deployment() -> String {
    "deployment".to_owned()
}

fn default_namespace() -> String {
    "default".to_owned()
}
