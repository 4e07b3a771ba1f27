//! DuckDB, an independent reader of the Parquet files that the program writes.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cache;

/// Runs SQL statements in a new in-memory database and returns the rows of the last one as JSON objects.
///
/// Types that JSON lacks (times, decimals, bytes) are returned as Python's text of them.
pub fn query(sql: &str) -> Result<Vec<Value>> {
    let folder = cache::fetch("duckdb")?;
    let mut child = Command::new(folder.join("bin/python"))
        .arg(folder.join("query.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start DuckDB's Python")?;
    let sent = child.stdin.take().context("no standard input")?.write_all(sql.as_bytes());
    let output = child.wait_with_output().context("wait for DuckDB's Python")?;
    ensure!(output.status.success(), "DuckDB refused {sql}: {}", String::from_utf8_lossy(&output.stderr));
    sent.context("send the SQL")?;
    serde_json::from_slice(&output.stdout).context("read DuckDB's rows")
}
