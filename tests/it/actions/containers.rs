//! Docker and Kubernetes, as far as their interfaces go: a stub answers as they do.

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener},
    task::JoinHandle,
};

use super::*;

/// Reads one request, answers, and gives what was asked.
async fn answer<S>(mut stream: S, status: &str, body: &str) -> String
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut asked = vec![];
    loop {
        let mut chunk = [0; 4096];
        let n = stream.read(&mut chunk).await.unwrap();
        asked.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&asked);
        let Some((head, sent)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|it| it.strip_prefix("content-length: "));
        if n == 0 || sent.len() >= length.map_or(0, |it| it.parse().unwrap()) {
            break;
        }
    }
    let reply = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(reply.as_bytes()).await.unwrap();
    String::from_utf8_lossy(&asked).into_owned()
}

async fn stub(status: &'static str, body: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        answer(stream, status, body).await
    });
    (url, asked)
}

#[tokio::test]
async fn a_container_is_restarted_over_the_socket_or_an_address() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let asked = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        answer(stream, "204 No Content", "").await
    });
    let url = format!("unix://{}", socket.display());
    let settings = format!("container = 'worker'\nurl = '{url}'\nstop_timeout = '3s'");
    let done = run("restart_container", &settings, None).await.unwrap();
    assert_eq!(done.summary, "container worker restarted");
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("POST /containers/worker/restart?t=3 HTTP/1.1\r\n"), "{asked}");

    let (url, _asked) = stub("404 Not Found", "{\"message\":\"No such container: x\"}").await;
    let error = run("restart_container", &format!("container = 'x'\nurl = '{url}'"), None).await;
    assert_eq!(error.unwrap_err(), "there is no container `x`");
    for wrong in
        ["container = '../x'", "container = 'x'\nurl = 'ftp://x'", "container = 'x'\nu = 1"]
    {
        run("restart_container", wrong, None).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_rollout_is_restarted_and_a_pod_ended_with_the_accounts_token() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "secret-token\n").unwrap();
    let with = |url: &str, more: &str| {
        format!("{more}\nurl = '{url}'\ntoken_file = '{}'", token.display())
    };
    let (url, asked) = stub("200 OK", "{}").await;
    let settings = with(&url, "kind = 'statefulset'\nname = 'worker'\nnamespace = 'shop'");
    run("restart_rollout", &settings, None).await.unwrap();
    let asked = asked.await.unwrap();
    let path = "PATCH /apis/apps/v1/namespaces/shop/statefulsets/worker HTTP/1.1\r\n";
    assert!(asked.starts_with(path), "{asked}");
    assert!(asked.contains("authorization: Bearer secret-token\r\n"), "{asked}");
    assert!(asked.contains("application/strategic-merge-patch+json"), "{asked}");
    assert!(asked.contains("kubectl.kubernetes.io/restartedAt"), "{asked}");

    let (url, asked) = stub("200 OK", "{}").await;
    run("delete_pod", &with(&url, "name = 'worker-0'"), None).await.unwrap();
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("DELETE /api/v1/namespaces/default/pods/worker-0 "), "{asked}");

    let (url, _asked) = stub("403 Forbidden", "{\"message\":\"pods is forbidden\"}").await;
    let error = run("delete_pod", &with(&url, "name = 'worker-0'"), None).await.unwrap_err();
    assert_eq!(error, "answered 403 Forbidden: pods is forbidden");
    for wrong in ["name = '../x'", "name = 'x'\nnamespace = 'a/b'", "name = 'x'\nu = 1"] {
        run("delete_pod", wrong, None).await.unwrap_err();
    }
}
