//! The HTTP interface, over a socket.

use std::io::Cursor;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use arrow::ipc::reader::StreamReader;
use kerntrail_query_engine::{Capacity, Limits};
use kerntrail_query_service::server::{ClientBounds, MAX_BODY, check_loopback, only_from_here, router, serve};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::rows::{Stored, many};
use crate::script::escape;

/// A server until it is dropped.
struct Server {
    address: SocketAddr,
    client: Client,
    task: JoinHandle<()>,
    _stored: Stored,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(stored: Stored, limits: Limits) -> Self {
        Self::start_of(stored, Capacity::default(), limits).await
    }

    async fn start_of(stored: Stored, capacity: Capacity, limits: Limits) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = only_from_here(router(stored.engine(capacity), "acme", limits));
        let task = tokio::spawn(serve(listener, routes, ClientBounds::default(), CancellationToken::new()));
        Self { address, client: Client::builder().no_proxy().build().unwrap(), task, _stored: stored }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn ask(&self, body: Value) -> (StatusCode, String, String) {
        let response = self
            .client
            .post(self.url("/api/v1/query"))
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .unwrap();
        let status = response.status();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        (status, kind, response.text().await.unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let response = self.client.get(self.url(path)).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// The status line and body of a request sent byte by byte.
    async fn raw(&self, request: &str) -> String {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_format_has_its_media_type_and_shape() {
    let server = Server::start(escape().rows.into_lake().await, Limits::default()).await;
    let sql = "select pid, process_name from process_events where activity = 'existing' order by pid";
    let rows = json!([
        {"pid": 1, "process_name": "systemd"},
        {"pid": 800, "process_name": "containerd-shim-runc-v2"},
        {"pid": 1200, "process_name": "nginx"},
    ]);
    let (status, kind, text) = server.ask(json!({"sql": sql})).await;
    assert_eq!((status, kind.as_str()), (StatusCode::OK, "application/json"));
    let columns = json!([{"name": "pid", "type": "Int32"}, {"name": "process_name", "type": "Utf8"}]);
    assert_eq!(parsed(&text), json!({"columns": columns, "rows": rows, "row_count": 3}));
    let (_, kind, text) = server.ask(json!({"sql": sql, "format": "ndjson"})).await;
    assert_eq!(kind, "application/x-ndjson");
    assert_eq!(Value::from(text.lines().map(parsed).collect::<Vec<_>>()), rows);
    let (_, kind, text) = server.ask(json!({"sql": sql, "format": "csv"})).await;
    assert_eq!(kind, "text/csv; charset=utf-8");
    assert_eq!(text, "pid,process_name\n1,systemd\n800,containerd-shim-runc-v2\n1200,nginx\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_as_text_with_accept() {
    let server = Server::start(many(10).await, Limits::default()).await;
    for (accept, kind) in [
        ("*/*", "application/json"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("text/html, application/x-ndjson;q=0.9", "application/x-ndjson"),
        ("text/plain", "text/plain; charset=utf-8"),
    ] {
        let request = server.client.post(server.url("/api/v1/query")).header("accept", accept).body("select 1 as a");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{accept}");
        assert_eq!(response.headers()["content-type"], kind, "{accept}");
    }
    let accept = "application/vnd.apache.arrow.stream";
    let request = server.client.post(server.url("/api/v1/query")).header("accept", accept);
    let bytes = request.body("select pid from process_events").send().await.unwrap().bytes().await.unwrap();
    let rows: usize =
        StreamReader::try_new(Cursor::new(bytes), None).unwrap().map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_json_with_a_status_of_their_own() {
    let server = Server::start(many(1_000).await, Limits::default()).await;
    let endless = "select count(*) from process_events a, process_events b, process_events c, process_events d where a.pid + b.pid + c.pid > d.pid";
    for (body, status, kind) in [
        (json!({"sql": "selec 1"}), 400, "user"),
        (json!({"sql": "select nothing from process_events"}), 400, "user"),
        (json!({"sql": "select 1", "fromat": "csv"}), 400, "user"),
        (json!({"sql": "select 1", "format": "xml"}), 400, "user"),
        (json!({"sql": "select 1", "timeout": "soon"}), 400, "user"),
        (json!({"sql": "select 1", "timeout": -1}), 400, "user"),
        (json!({}), 400, "user"),
        (json!([1]), 400, "user"),
        (json!({"sql": "drop table process_events"}), 403, "read_only"),
        (json!({"sql": endless, "timeout": "100ms"}), 504, "timeout"),
        (json!({"sql": endless, "timeout": 0.1}), 504, "timeout"),
        (json!({"sql": format!("select '{}'", "x".repeat(MAX_BODY))}), 413, "limit"),
    ] {
        let (got, content, text) = server.ask(body.clone()).await;
        let error = &parsed(&text)["error"];
        assert_eq!((got.as_u16(), content.as_str()), (status, "application/json"), "{body:.100} {text}");
        assert_eq!(error["kind"], kind, "{text}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{text}");
    }
    for (path, status) in [("/api/v1/query", 405), ("/api/v1/nothing", 404)] {
        assert_eq!(server.get(path).await.0.as_u16(), status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_after_rows_is_visible() {
    let server = Server::start(many(1_000).await, Limits::default()).await;
    let ask =
        |format: &str| json!({"sql": "select pid from process_events order by pid", "max_rows": 2, "format": format});
    let (status, _, text) = server.ask(ask("json")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(parsed(&text)["rows"], json!([{"pid": 0}, {"pid": 1}]));
    assert_eq!(parsed(&text)["error"]["kind"], "limit");
    assert!(parsed(&text).get("row_count").is_none());
    let (_, _, text) = server.ask(ask("ndjson")).await;
    assert_eq!(text.lines().count(), 3);
    assert_eq!(parsed(text.lines().last().unwrap())["error"]["kind"], "limit");
    for format in ["csv", "arrow", "markdown", "table"] {
        let request = server.client.post(server.url("/api/v1/query")).header("content-type", "application/json");
        let mut response = request.body(ask(format).to_string()).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let mut came = Vec::new();
        let end = loop {
            match response.chunk().await {
                Ok(Some(piece)) => came.extend_from_slice(&piece),
                end => break end,
            }
        };
        assert!(end.is_err(), "{format}: a cut answer looks whole");
        let last = String::from_utf8_lossy(&came).lines().last().unwrap_or_default().to_owned();
        let says = last.starts_with("error: the result has more than 2 rows");
        assert_eq!(says, format != "arrow", "{format}: {last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_says_when_to_retry() {
    let capacity = Capacity { max_running: NonZeroUsize::MIN, patience: Duration::ZERO, ..Capacity::default() };
    let server = Server::start_of(many(100_000).await, capacity, Limits::default()).await;
    // The first answer is held at its first rows: the rest waits for a reader.
    let request = server.client.post(server.url("/api/v1/query")).header("accept", "application/x-ndjson");
    let wide = "select a.pid, repeat(a.cmd_line, 100) as x from process_events a cross join (select * from generate_series(1, 50))";
    let first = request.body(wide).send().await.unwrap();
    assert_eq!(first.status(), StatusCode::OK);
    let second = server.client.post(server.url("/api/v1/query")).body("select 1").send().await.unwrap();
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(second.headers()["retry-after"], "1");
    // A client that goes away stops its query.
    drop(first);
    let freed = async {
        loop {
            let again = server.client.post(server.url("/api/v1/query")).body("select 1 as a").send().await.unwrap();
            if again.status() == StatusCode::OK {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(240), freed).await.expect("the query of a client that left still runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_from_other_web_pages_are_refused() {
    let server = Server::start(many(1).await, Limits::default()).await;
    let port = server.address.port();
    for (host, extra, status) in [
        (format!("127.0.0.1:{port}"), String::new(), 200),
        (format!("localhost:{port}"), format!("Origin: http://localhost:{port}\r\n"), 200),
        (format!("rebound.example:{port}"), String::new(), 403),
        (format!("127.0.0.1:{port}"), "Origin: http://evil.example\r\n".to_owned(), 403),
        (format!("127.0.0.1:{port}"), "Origin: null\r\n".to_owned(), 403),
    ] {
        let request = format!(
            "POST /api/v1/query HTTP/1.1\r\nHost: {host}\r\n{extra}Content-Type: text/plain\r\nContent-Length: 8\r\nConnection: close\r\n\r\nselect 1"
        );
        let answer = server.raw(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host} {extra} {answer}");
        let refused = answer.contains("\"error\"");
        assert_eq!(refused, status == 403, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_clients_are_disconnected_and_a_stop_waits_for_requests() {
    let routes = axum::Router::new().route("/", axum::routing::get(async || "here"));
    let bounds = ClientBounds { head: Duration::from_secs(1), ..ClientBounds::default() };
    for head in ["", "GET / HTTP/1.1\r\nHost: 127", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, routes.clone(), bounds, stop.clone()));
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(240), socket.read_to_end(&mut answer)).await;
        ended.expect("a silent connection stays").unwrap();
        assert_eq!(answer.ends_with(b"here"), head.ends_with("\r\n\r\n"), "{head:?}");
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(240), task).await.expect("it does not stop").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stories_over_http() {
    let server = Server::start(escape().rows.into_lake().await, Limits::default()).await;
    let (status, text) = server.get("/api/v1/timeline?pod=prod/web-0").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(parsed(&text)["summary"]["refused"], 0);
    let (status, text) = server.get("/api/v1/timeline?finding=5f0d1c2b&format=text").await;
    assert!(status == StatusCode::OK && text.starts_with("Timeline of finding 5f0d1c2b3a49"), "{text}");
    let (status, text) = server.get("/api/v1/tree?process=4207&format=markdown").await;
    assert!(status == StatusCode::OK && text.starts_with("# Processes of process 4207"), "{text}");
    for path in [
        "/api/v1/timeline",
        "/api/v1/timeline?pod=a/b/c",
        "/api/v1/timeline?pod=prod/web-0&process=1",
        "/api/v1/timeline?pod=prod/web-0&since=later",
        "/api/v1/timeline?pod=prod/web-0&format=html",
        "/api/v1/tree?podd=x",
        "/api/v1/tree?pod=nobody",
        "/api/v1/tree?max_processes=0",
    ] {
        let (status, text) = server.get(path).await;
        assert_eq!((status, &parsed(&text)["error"]["kind"]), (StatusCode::BAD_REQUEST, &json!("user")), "{path}");
    }
}

#[test]
fn only_loopback_may_be_listened_on() {
    for (address, may) in [
        ("127.0.0.1:8642", true),
        ("127.9.9.9:1", true),
        ("[::1]:8642", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("0.0.0.0:8642", false),
        ("[::]:8642", false),
        ("192.0.2.1:8642", false),
        ("[fe80::1]:8642", false),
    ] {
        assert_eq!(check_loopback(address.parse().unwrap()).is_ok(), may, "{address}");
    }
    let error = check_loopback("0.0.0.0:8642".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("0.0.0.0:8642") && error.contains("127.0.0.1"), "{error}");
}
