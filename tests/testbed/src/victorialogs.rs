//! VictoriaLogs: a HEC, syslog and OTLP receiver written by somebody else.
//!
//! Its HEC checks no token, has no acknowledgement and drops a malformed tail of a batch while answering 200, so it
//! proves that ordinary delivery works with a foreign server, and no more; for the rest there is [`crate::hec`].

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::port::Port;
use crate::process::Process;
use crate::{cache, http, wait};

/// A VictoriaLogs server whose data and ports outlive a stop.
#[derive(Debug)]
pub struct VictoriaLogs {
    dir: PathBuf,
    binary: PathBuf,
    port: Port,
    syslog_port: Port,
    process: Option<Process>,
}

impl VictoriaLogs {
    /// Starts a server that keeps everything it writes in `dir`, and waits until it is healthy.
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

    /// The base address, without a slash at the end; HEC is at `/services/collector/event` below it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The address of the syslog listener (TCP).
    pub fn syslog_address(&self) -> String {
        format!("127.0.0.1:{}", self.syslog_port)
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Stops it in an orderly way (SIGTERM). Does nothing if it is stopped.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |process| process.terminate(Duration::from_secs(20)).map(drop))
    }

    /// Ends it as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        drop(self.process.take());
    }

    /// Starts it again on the same ports and data.
    pub fn start_again(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "VictoriaLogs already runs");
        let mut command = Command::new(&self.binary);
        command
            // It drops what is older than a week or of the future otherwise, and a test's events may have any time.
            .args(["-retentionPeriod=100y", "-futureRetention=100y"])
            .arg(format!("-storageDataPath={}", self.dir.join("data").display()))
            .arg(format!("-httpListenAddr=127.0.0.1:{}", self.port))
            .arg(format!("-syslog.listenAddr.tcp=127.0.0.1:{}", self.syslog_port));
        let mut process = Process::start("VictoriaLogs", command, &self.dir.join("victoria-logs.log"))?;
        let health = format!("{}/health", self.url());
        process.wait_ready(Duration::from_secs(30), || http::get(&health)?.success())?;
        self.process = Some(process);
        Ok(())
    }

    /// Runs a LogsQL query (`*` for everything; a field of a HEC event is `"event.<name>"`) and returns the log entries in no particular order.
    pub fn query(&self, query: &str) -> Result<Vec<Value>> {
        // Without a limit the answer is cut at a number of entries.
        let form = format!("limit=1000000&query={}", percent_encoded(query));
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let url = format!("{}/select/logsql/query", self.url());
        http::request("POST", &url, &headers, form.as_bytes())?.success()?.json_lines()
    }

    /// Waits until `query` returns at least `count` entries: they can be read about a second after they came in.
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
