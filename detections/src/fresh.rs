//! One reading of the new rows for all rules.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use kerntrail_schemas::Table;

use crate::evaluate::{Match, all_columns, with_types};
use crate::rules::{RuleKind, Rules, Step};
use crate::scan::Scanner;

/// All steps of all rules, by table.
pub(crate) struct Scans(BTreeMap<Table, TableScan>);

struct TableScan {
    scanner: Scanner,
    /// Whose each of the scanner's steps is.
    owners: Vec<Owner>,
}

/// The rule of a step.
struct Owner {
    /// Its place among all rules.
    rule: usize,
    /// Whether the rule is about one event, whose row becomes a finding.
    is_single: bool,
}

/// What one rule found.
#[derive(Default)]
pub(crate) struct RuleScan {
    /// The rows that a rule of one event matches; of a sequence, whether any step matches is enough.
    pub(crate) matches: Vec<Match>,
    /// Whether a row matches.
    pub(crate) touched: bool,
    /// Why it could not be evaluated to the end.
    pub(crate) error: Option<DataFusionError>,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Scans {
    /// The steps of `rules`.
    pub(crate) fn new(session: &SessionContext, rules: &Rules) -> Self {
        Self(rules.tables().into_iter().map(|table| (table, TableScan::new(session, table, rules))).collect())
    }

    /// Reads the rows `added` to `table` once for all rules in `scanned`, each for `limit` at most.
    ///
    /// Errors: the rows cannot be read.
    pub(crate) async fn scan(
        &self,
        session: &SessionContext,
        (table, added): (Table, &Arc<dyn TableProvider>),
        limit: Duration,
        scanned: &mut BTreeMap<usize, RuleScan>,
    ) -> Result<(), DataFusionError> {
        let Some(scan) = self.0.get(&table) else { return Ok(()) };
        let frame = session.read_table(Arc::clone(added))?.select(all_columns(table))?;
        let mut rows = frame.execute_stream().await?;
        while let Some(batch) = rows.next().await.transpose()? {
            let batch = with_types(table, &batch)?;
            let left = |step: usize| {
                let so_far = scanned.get(&scan.owners[step].rule).filter(|scan| scan.error.is_none())?;
                limit.checked_sub(so_far.took).filter(|left| !left.is_zero())
            };
            for (step, found) in scan.scanner.scan(&batch, &left)? {
                let owner = &scan.owners[step];
                let Some(so_far) = scanned.get_mut(&owner.rule) else { continue };
                so_far.took += found.took;
                match found.rows {
                    Ok(rows) => so_far.add(owner, table, &batch, rows)?,
                    Err(error) => so_far.error = Some(error),
                }
            }
            // A batch may take long, and others want the thread as well.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

impl TableScan {
    fn new(session: &SessionContext, table: Table, rules: &Rules) -> Self {
        let steps = rules.iter().enumerate().flat_map(|(place, rule)| {
            let is_single = matches!(rule.kind, RuleKind::Single(_));
            rule.steps().iter().map(move |step| (Owner { rule: place, is_single }, step))
        });
        let (owners, steps): (Vec<Owner>, Vec<&Step>) = steps.filter(|(_, step)| step.table == table).unzip();
        Self { scanner: Scanner::new(session, table, &steps), owners }
    }
}

impl RuleScan {
    fn add(&mut self, owner: &Owner, table: Table, batch: &RecordBatch, rows: Vec<u32>) -> Result<(), DataFusionError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.touched = true;
        if owner.is_single {
            // Copied, so that a few rows do not keep the whole batch in memory.
            let rows = take_record_batch(batch, &UInt32Array::from(rows))?;
            self.matches.extend((0..rows.num_rows()).map(|row| Match::of(table, rows.slice(row, 1), String::new())));
        }
        Ok(())
    }
}
