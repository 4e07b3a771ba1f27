//! VictoriaLogs: a third party's receiver of HEC, syslog and OTLP.
//!
//! Its HEC endpoint checks no token, has no acknowledgement and answers 200 while dropping the malformed end of a batch.
//! So it only proves that plain delivery works with a third-party server; everything else is tested with
//! [`crate::hec`].

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::port::Port;
use crate::process::Process;
use crate::{cache, http, wait};

/// A VictoriaLogs server that keeps its data and ports over a restart.
#[derive(Debug)]
pub struct VictoriaLogs {
    dir: PathBuf,
    binary: PathBuf,
    port: Port,
    syslog_port: Port,
    process: Option<Process>,
}

impl VictoriaLogs {
    /// Starts a server that writes only into `dir`, and waits until it is healthy.
    pub fn start(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let mut server = Self {
            dir: dir.canonicalize()?,
            binary: cache::fetch("victorialogs")?.join("bin/victoria-logs"),
            port: Port::reserve()?,
            syslog_port: Port::reserve()?,
            process: None,
        };
        server.start_again()?;
        Ok(server)
    }

    /// The base URL, without a trailing slash; HEC is at `/services/collector/event` below it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The address of the syslog listener (TCP).
    pub fn syslog_address(&self) -> String {
        format!("127.0.0.1:{}", self.syslog_port)
    }

    /// The process id while it is running.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Shuts it down (SIGTERM). Does nothing when it is not running.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |process| process.terminate(Duration::from_secs(60)).map(drop))
    }

    /// Kills it (SIGKILL), as a crash would.
    pub fn kill(&mut self) {
        drop(self.process.take());
    }

    /// Starts it again with the same ports and data.
    pub fn start_again(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "VictoriaLogs is already running");
        let mut command = Command::new(&self.binary);
        command
            // By default it drops events that are older than a week or in the future; a test's may have any time.
            .args(["-retentionPeriod=100y", "-futureRetention=100y"])
            .arg(format!("-storageDataPath={}", self.dir.join("data").display()))
            .arg(format!("-httpListenAddr=127.0.0.1:{}", self.port))
            .arg(format!("-syslog.listenAddr.tcp=127.0.0.1:{}", self.syslog_port));
        let mut process = Process::start("VictoriaLogs", command, &self.dir.join("victoria-logs.log"))?;
        let health = format!("{}/health", self.url());
        process.wait_ready(Duration::from_secs(240), || http::get(&health)?.success())?;
        self.process = Some(process);
        Ok(())
    }

    /// Runs a LogsQL query and returns its log entries in no particular order.
    ///
    /// `*` selects everything; a field of a HEC event is `"event.<name>"`.
    pub fn query(&self, query: &str) -> Result<Vec<Value>> {
        // Without a limit the response is truncated.
        let form = format!("limit=1000000&query={}", percent_encoded(query));
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let url = format!("{}/select/logsql/query", self.url());
        http::request("POST", &url, &headers, form.as_bytes())?.success()?.json_lines()
    }

    /// Waits until `query` returns at least `count` entries; they become visible about a second after delivery.
    pub fn wait_entries(&self, query: &str, count: usize, limit: Duration) -> Result<Vec<Value>> {
        wait::until(&format!("{count} entries of {query}"), limit, || {
            let entries = self.query(query)?;
            ensure!(entries.len() >= count, "{} entries", entries.len());
            Ok(entries)
        })
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
