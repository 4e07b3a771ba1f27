//! OpenSearch: a single node, for everything that uses the Elasticsearch bulk API.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::cache;
use crate::http::{self, Answer, send_json};
use crate::port::Port;
use crate::process::Process;

const LOGGING: &str = "\
rootLogger.level=info
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=[%d{ISO8601}][%-5p][%c{1.}] %m%n
";

/// Without these permissions the shutdown hook fails, and a shutdown takes half a minute.
const POLICY: &str = "\
grant {
  permission java.lang.RuntimePermission \"getClassLoader\";
  permission java.lang.RuntimePermission \"shutdownHooks\";
  permission java.lang.RuntimePermission \"accessDeclaredMembers\";
};
";

/// An OpenSearch node that keeps its data and port over a restart.
#[derive(Debug)]
pub struct OpenSearch {
    dir: PathBuf,
    home: PathBuf,
    port: Port,
    transport_port: Port,
    process: Option<Process>,
}

impl OpenSearch {
    /// Starts a node that writes only into `dir`, and waits until it is ready for writes.
    pub fn start(dir: &Path) -> Result<Self> {
        Self::start_with(dir, &[])
    }

    /// As [`OpenSearch::start`], with further node settings, for example
    /// `("indexing_pressure.memory.limit", "16kb")`.
    pub fn start_with(dir: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let mut node = Self {
            dir: dir.canonicalize()?,
            home: cache::fetch("opensearch")?,
            port: Port::reserve()?,
            transport_port: Port::reserve()?,
            process: None,
        };
        node.write_config(settings)?;
        node.start_again()?;
        Ok(node)
    }

    /// The base URL, without a trailing slash. It stays the same after a restart.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The process id while it is running.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Shuts it down (SIGTERM). Does nothing when it is not running.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |process| process.terminate(Duration::from_secs(120)).map(drop))
    }

    /// Kills it (SIGKILL), as a crash would.
    pub fn kill(&mut self) {
        drop(self.process.take());
    }

    /// Starts it again with the same port and data, and waits until every index is ready for writes.
    pub fn start_again(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "OpenSearch is already running");
        let mut process = Process::start("OpenSearch", self.java(), &self.dir.join("opensearch.log"))?;
        process.wait_ready(Duration::from_secs(240), || self.healthy())?;
        self.process = Some(process);
        Ok(())
    }

    /// Sends a GET request; `path` begins with a slash.
    pub fn get(&self, path: &str) -> Result<Answer> {
        http::get(&format!("{}{path}", self.url()))
    }

    /// Sends JSON with POST.
    pub fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        send_json("POST", &format!("{}{path}", self.url()), body)
    }

    /// Sends JSON with PUT, for templates, settings and data streams.
    pub fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        send_json("PUT", &format!("{}{path}", self.url()), body)
    }

    /// Sends a bulk request: `lines` is newline-delimited JSON.
    pub fn bulk(&self, lines: &str) -> Result<Answer> {
        let headers = [("content-type", "application/x-ndjson")];
        http::request("POST", &format!("{}/_bulk", self.url()), &headers, lines.as_bytes())
    }

    /// Reads every document of an index, data stream or pattern: the hits, with `_index`, `_id` and `_source`.
    ///
    /// Refreshes first, so that everything acknowledged before is included. No such index is an empty list.
    pub fn documents(&self, target: &str) -> Result<Vec<Value>> {
        let refreshed = self.post(&format!("/{target}/_refresh"), &json!({}))?;
        if refreshed.status == 404 {
            return Ok(Vec::new());
        }
        refreshed.success()?;
        let first = json!({"size": 1000, "sort": ["_doc"], "query": {"match_all": {}}});
        let mut page = self.post(&format!("/{target}/_search?scroll=1m"), &first)?.success()?.json()?;
        let mut all = Vec::new();
        loop {
            let hits = page["hits"]["hits"].as_array().context("an answer without hits")?;
            if hits.is_empty() {
                return Ok(all);
            }
            all.extend(hits.iter().cloned());
            let next = json!({"scroll": "1m", "scroll_id": page["_scroll_id"]});
            page = self.post("/_search/scroll", &next)?.success()?.json()?;
        }
    }

    fn healthy(&self) -> Result<()> {
        let answer = self.get("/_cluster/health")?.success()?;
        let health = answer.json()?;
        // A single node has no replicas, so an index that asks for one is at most yellow.
        let ready = matches!(health["status"].as_str(), Some("green" | "yellow"));
        ensure!(ready && health["initializing_shards"] == 0, "cluster health is {}", answer.text);
        Ok(())
    }

    fn write_config(&self, settings: &[(&str, &str)]) -> Result<()> {
        let (dir, config) = (self.dir.display(), self.dir.join("config"));
        let mut text = format!(
            "cluster.name: kerntrail-test\nnode.name: node-1\nnetwork.host: 127.0.0.1\ndiscovery.type: single-node\n\
             http.port: {}\ntransport.port: {}\npath.data: {dir}/data\npath.logs: {dir}/logs\n\
             cluster.routing.allocation.disk.threshold_enabled: false\n",
            self.port, self.transport_port
        );
        for (key, value) in settings {
            text += &format!("{key}: {value}\n");
        }
        for folder in ["config", "data", "logs", "tmp"] {
            std::fs::create_dir_all(self.dir.join(folder)).with_context(|| format!("create {folder}"))?;
        }
        for (name, text) in
            [("opensearch.yml", text.as_str()), ("log4j2.properties", LOGGING), ("extra.policy", POLICY)]
        {
            std::fs::write(config.join(name), text).with_context(|| format!("write OpenSearch's {name}"))?;
        }
        Ok(())
    }

    fn java(&self) -> Command {
        let (dir, home) = (self.dir.display(), self.home.display());
        let mut command = Command::new("java");
        command
            .current_dir(&self.dir)
            .args(["-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            // Without its native library OpenSearch neither locks memory nor refuses to run as root.
            .args(["-Djna.nosys=true", "-Djna.noclasspath=true"])
            .arg("-Djava.security.manager=allow")
            .arg(format!("-Djava.security.policy={dir}/config/extra.policy"))
            .arg(format!("-Dopensearch.path.home={home}"))
            .arg(format!("-Dopensearch.path.conf={dir}/config"))
            .arg(format!("-Djava.io.tmpdir={dir}/tmp"))
            .args(["-cp", &format!("{home}/lib/*"), "org.opensearch.bootstrap.OpenSearch"]);
        command
    }
}
