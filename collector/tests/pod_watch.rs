//! The pod watch against a server that speaks just enough HTTP.

use std::sync::Arc;

use kerntrail_collector::Kube;
use kerntrail_collector::pods::{self, Pods};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::identity::{ID, web_pod};

/// Answers one request; gives its first line.
async fn answer(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let line = String::from_utf8(head).unwrap().lines().next().unwrap_or_default().to_owned();
    let body = if line.contains("watch=") {
        let mut pod = serde_json::to_value(web_pod()).unwrap();
        (pod["apiVersion"], pod["kind"]) = (json!("v1"), json!("Pod"));
        pod["metadata"]["resourceVersion"] = json!("2");
        format!("{}\n", json!({"type": "ADDED", "object": pod}))
    } else {
        json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": []}).to_string()
    };
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.ok()?;
    Some(line)
}

#[tokio::test]
async fn the_watch_waits_for_the_server_asks_only_for_this_node_and_reconnects() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("kubeconfig");
    let pods: Arc<Pods> = Arc::default();
    let cancel = CancellationToken::new();
    // There is not even a kubeconfig when the watch begins.
    let watch =
        tokio::spawn(pods::watch(Arc::clone(&pods), Kube::Kubeconfig(config.clone()), "node-1".into(), cancel.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    assert!(!pods.is_up());
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", listener.local_addr().unwrap())}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    });
    tokio::fs::write(&config, kubeconfig.to_string()).await.unwrap();

    let (lines, mut asked) = tokio::sync::mpsc::channel(64);
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let lines = lines.clone();
            tokio::spawn(async move {
                while let Some(line) = answer(&mut stream).await {
                    lines.send(line).await.ok();
                }
            });
        }
    });
    // The watch's answer ends at once, so it lists or watches again: two watches show that it comes back.
    let mut watches = 0;
    while watches < 2 {
        let line = asked.recv().await.unwrap();
        assert!(line.starts_with("GET /api/v1/pods?") && line.contains("spec.nodeName%3Dnode-1"), "{line}");
        watches += usize::from(line.contains("watch="));
    }
    let pod = pods.find(None, ID).unwrap();
    assert_eq!((pod.name.as_str(), pod.service_account.as_deref()), ("web-7d9c6b5f4-x2x9k", Some("web-sa")));
    assert!(pods.is_up());
    cancel.cancel();
    watch.await.unwrap();
    assert!(!pods.is_up());
    server.abort();
}
