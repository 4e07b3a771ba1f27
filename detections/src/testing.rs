//! Tests in a rule's file: events, and how many findings the file's rules make of them.
//!
//! ```yaml
//! kerntrail:
//!   tests:
//!     - name: what is tested
//!       finds: 1
//!       events:
//!         - {table: process_events, activity: exec, at: 0, args: [sh]}   # at: seconds; other keys are columns
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::json::ReaderBuilder;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use kerntrail_common::shell;
use kerntrail_common::suggest::did_you_mean;
use kerntrail_schemas::Table;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::correlation::{RowsOf, completed};
use crate::evaluate::{all_columns, session, with_types};
use crate::rules::{Rule, RuleError, RuleKind, Rules, Step};
use crate::scan::Scanner;

/// Time of an event at 0.
const BEGIN_US: i64 = 1_767_225_600_000_000;

/// A test and its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestResult {
    /// The test's name.
    pub name: String,
    /// Findings that the test asks for.
    pub expected: usize,
    /// Titles of the rules that made a finding.
    pub found: Vec<String>,
}

impl TestResult {
    /// Whether the rules made the expected number of findings.
    pub fn passed(&self) -> bool {
        self.found.len() == self.expected
    }
}

/// Why a test could not run.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The file's rules are wrong.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The file's tests are wrong.
    #[error("{file}: invalid tests: {reason}")]
    Tests {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A rule's query failed.
    #[error("test \"{name}\" could not be evaluated")]
    Evaluate {
        /// The test.
        name: String,
        /// Why.
        #[source]
        source: datafusion::error::DataFusionError,
    },
}

#[derive(Deserialize)]
struct Document {
    kerntrail: Option<Section>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    #[serde(default)]
    tests: Vec<Test>,
    /// Read with the rule.
    #[serde(default, rename = "suppress")]
    _suppress: serde::de::IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    name: String,
    finds: usize,
    events: Vec<Map<String, Value>>,
}

/// Runs the tests of the file `path` with the content `text` on those of the `rules` that are in this file.
pub async fn run(rules: &Rules, path: &Path, text: &str) -> Result<Vec<TestResult>, TestError> {
    let mut outcomes = Vec::new();
    for test in tests(path, text)? {
        let rows = rows(&test).map_err(|reason| TestError::Tests { file: path.display().to_string(), reason })?;
        let mut found = Vec::new();
        for rule in rules.iter().filter(|rule| rule.file == path) {
            let count = count(rule, &rows).await;
            let count = count.map_err(|source| TestError::Evaluate { name: test.name.clone(), source })?;
            found.extend(std::iter::repeat_n(rule.title.clone(), count));
        }
        outcomes.push(TestResult { name: test.name, expected: test.finds, found });
    }
    Ok(outcomes)
}

/// Whether the tests of the file `path` with the content `text` can be run; how many there are.
pub fn check(path: &Path, text: &str) -> Result<usize, TestError> {
    let tests = tests(path, text)?;
    for test in &tests {
        rows(test).map_err(|reason| TestError::Tests { file: path.display().to_string(), reason })?;
    }
    Ok(tests.len())
}

fn tests(path: &Path, text: &str) -> Result<Vec<Test>, TestError> {
    let wrong =
        |error: serde_yaml_ng::Error| TestError::Tests { file: path.display().to_string(), reason: error.to_string() };
    let mut tests = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        let document = Document::deserialize(document).map_err(wrong)?;
        tests.extend(document.kerntrail.into_iter().flat_map(|section| section.tests));
    }
    Ok(tests)
}

/// The test's events as rows; every table that is not mentioned is empty.
fn rows(test: &Test) -> Result<RowsOf, String> {
    let mut by_table: BTreeMap<Table, Vec<Value>> = BTreeMap::new();
    for (seq, event) in test.events.iter().enumerate() {
        let (table, row) =
            row(seq, event.clone()).map_err(|reason| format!("test \"{}\", event {}: {reason}", test.name, seq + 1))?;
        by_table.entry(table).or_default().push(row);
    }
    let tables = Table::ALL.iter().map(|table| {
        let rows = by_table.remove(table).unwrap_or_default();
        Ok((*table, provider(table.schema(), &rows).map_err(|error| format!("test \"{}\": {error}", test.name))?))
    });
    tables.collect()
}

fn row(seq: usize, mut event: Map<String, Value>) -> Result<(Table, Value), String> {
    let table = event.remove("table").and_then(|name| name.as_str().map(str::to_owned)).ok_or("names no table")?;
    let table: Table = table.parse().map_err(|error: kerntrail_schemas::tables::UnknownTable| error.to_string())?;
    let at = event.remove("at").map_or(Some(seq as f64), |at| at.as_f64()).ok_or("`at` is not a number of seconds")?;
    let columns = table.columns();
    if let Some(unknown) = event.keys().find(|key| !columns.iter().any(|column| column.name == key.as_str())) {
        let hint = did_you_mean(unknown, columns.iter().map(|column| column.name));
        return Err(format!("{table} has no column `{unknown}`{hint}"));
    }
    if let Some(activity) = event.get("activity").and_then(Value::as_str)
        && table.activity(activity).is_none()
    {
        let hint = did_you_mean(activity, table.activities().iter().map(|activity| activity.name));
        return Err(format!("{table} has no activity `{activity}`{hint}"));
    }
    // As they belong together in an event: `CommandLine` is made of the arguments.
    match (event.get("cmd_line").and_then(Value::as_str), event.get("args").and_then(Value::as_array)) {
        (None, Some(args)) => {
            let args: Vec<&str> = args.iter().filter_map(Value::as_str).collect();
            event.insert("cmd_line".into(), shell::quoted(&args).into());
        }
        (Some(line), None) if columns.iter().any(|column| column.name == "args") => {
            let words: Vec<Value> = line.split(' ').map(Value::from).collect();
            event.insert("args".into(), words.into());
        }
        _ => {}
    }
    event.insert("time".into(), micros(at).into());
    for (column, value) in
        [("stream", Value::from("test")), ("node", "node".into()), ("cpu", 0.into()), ("seq", seq.into())]
    {
        event.entry(column).or_insert(value);
    }
    Ok((table, Value::Object(event)))
}

fn micros(at: f64) -> i64 {
    BEGIN_US + (at * 1e6) as i64
}

fn provider(schema: SchemaRef, rows: &[Value]) -> Result<Arc<dyn TableProvider>, arrow::error::ArrowError> {
    let mut decoder = ReaderBuilder::new(Arc::clone(&schema)).build_decoder()?;
    decoder.serialize(rows)?;
    let batches = decoder.flush()?.into_iter().collect();
    let table = MemTable::try_new(schema, vec![batches]);
    Ok(Arc::new(table.map_err(|error| arrow::error::ArrowError::ExternalError(Box::new(error)))?))
}

async fn count(rule: &Rule, rows: &RowsOf) -> Result<usize, datafusion::error::DataFusionError> {
    let session = session();
    match &rule.kind {
        RuleKind::Single(step) => match rows.get(&step.table) {
            Some(rows) => found(&session, step, Arc::clone(rows)).await,
            None => Ok(0),
        },
        RuleKind::Correlation(correlation) => {
            Ok(completed(&session, correlation, rows, rows, &|_, _| false).await?.len())
        }
    }
}

/// How many of `rows` match `step`, evaluated as on rows that arrive.
async fn found(
    session: &SessionContext,
    step: &Step,
    rows: Arc<dyn TableProvider>,
) -> Result<usize, datafusion::error::DataFusionError> {
    let scanner = Scanner::new(session, step.table, &[step]);
    let batches = session.read_table(rows)?.select(all_columns(step.table))?.collect().await?;
    let mut count = 0;
    for batch in &batches {
        for found in scanner.scan(&with_types(step.table, batch)?, &|_| Some(Duration::MAX))?.into_values() {
            count += found.rows?.len();
        }
    }
    Ok(count)
}
