//! Rules on rows in memory: what benchmarks measure, and `rules list` shows as the cost of each rule.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use kerntrail_schemas::tables::process_events::EXEC;
use kerntrail_schemas::tables::{Actor, Envelope, ProcessColumns};
use kerntrail_schemas::{Table, TableBuilder};

use crate::evaluate::session;
use crate::rules::{RuleKind, Rules, Step};
use crate::scan::Scanner;

/// Programs that nodes run all the time, each with its parent; `#` becomes a number.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("/usr/bin/pg_isready", "pg_isready -U postgres -h 127.0.0.1 -p 5432", "/bin/sh"),
    ("/bin/bash", "/bin/bash -c 'redis-cli ping | grep -q PONG'", "/usr/bin/containerd-shim-runc-v2"),
    ("/usr/bin/redis-cli", "redis-cli ping", "/bin/bash"),
    ("/bin/grep", "grep -q PONG", "/bin/bash"),
    ("/usr/bin/wget", "wget -q -O /dev/null http://127.0.0.1:8080/healthz", "/bin/sh"),
    ("/usr/bin/git", "git fetch --depth=1 origin refs/heads/feature-#", "/bin/bash"),
    ("/usr/bin/gcc", "gcc -O2 -Wall -Iinclude -c src/unit#.c -o build/unit#.o", "/usr/bin/make"),
    ("/usr/bin/as", "as --64 -o build/unit#.o /tmp/cc#.s", "/usr/bin/gcc"),
    ("/usr/bin/find", "find /var/log/app -name *.log -mtime +#", "/bin/sh"),
    ("/bin/gzip", "gzip -9 /var/log/app/app.#.log", "/bin/sh"),
    ("/usr/bin/python3", "python3 -m jobs.report --shard # --since '1 hour ago'", "/bin/sh"),
    ("/usr/bin/curl", "curl -sS --max-time 10 http://10.2.#.7:9000/reports/#", "/usr/bin/python3"),
    ("/usr/local/bin/node", "node dist/task.js --id=#", "/bin/sh"),
    ("/usr/sbin/iptables-restore", "iptables-restore -w 5 --noflush --counters", "/usr/local/bin/kube-proxy"),
    (
        "/usr/sbin/runc",
        "runc --root /run/containerd/runc/k8s.io exec --process /tmp/runc-process# --detach #",
        "/usr/bin/containerd-shim-runc-v2",
    ),
    ("/bin/ls", "ls -la /srv/data/#", "/bin/bash"),
];

/// `count` exec events of [`PROGRAMS`], as rows of their table.
///
/// Errors: Arrow cannot make them.
pub fn exec_events(count: usize) -> Result<RecordBatch, ArrowError> {
    let mut rows = TableBuilder::<ProcessColumns>::default();
    for number in 0..count {
        let (path, cmd_line, parent) = PROGRAMS[number % PROGRAMS.len()];
        let cmd_line = cmd_line.replace('#', &number.to_string());
        let envelope = Envelope { activity: Some(EXEC.name.into()), source: Some("kernel"), ..Envelope::default() };
        let actor = Actor {
            pid: Some(number as i32),
            process_path: Some(path.into()),
            args: Some(cmd_line.split(' ').map(str::to_owned).collect()),
            cmd_line: Some(cmd_line),
            cwd: Some("/srv".into()),
            parent_path: Some(parent.into()),
            ..Actor::default()
        };
        rows.append(&envelope, Some(&Arc::new(actor)), &ProcessColumns::default());
    }
    rows.finish()?.flatten()
}

/// The rules of one event over a table, ready to be evaluated on rows in memory.
pub struct InMemory {
    scanner: Scanner,
    /// The place of each step's rule among all rules.
    rules: Vec<usize>,
}

impl InMemory {
    /// Those of `rules` that are over `table`.
    pub fn new(rules: &Rules, table: Table) -> Self {
        let single = rules.iter().enumerate().filter_map(|(place, rule)| match &rule.kind {
            RuleKind::Single(step) if step.table == table => Some((place, step)),
            _ => None,
        });
        let (places, steps): (Vec<usize>, Vec<&Step>) = single.unzip();
        Self { scanner: Scanner::new(&session(), table, &steps), rules: places }
    }

    /// How many rules there are.
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    /// How often the rules match the rows of `batch`.
    ///
    /// Errors: a rule cannot be evaluated.
    pub fn matches(&self, batch: &RecordBatch) -> Result<usize, DataFusionError> {
        let found = self.scanner.scan(batch, &|_| Some(Duration::MAX))?.into_values();
        found.map(|found| found.rows.map(|rows| rows.len())).sum()
    }

    /// How long each rule takes for the rows of `batch`, by its place among all rules, beside what all of them share.
    ///
    /// Errors: the batch has not the table's columns.
    pub fn costs(&self, batch: &RecordBatch) -> Result<Vec<(usize, Duration)>, DataFusionError> {
        let found = self.scanner.scan(batch, &|_| Some(Duration::MAX))?;
        Ok(found.into_iter().map(|(step, found)| (self.rules[step], found.took)).collect())
    }
}
