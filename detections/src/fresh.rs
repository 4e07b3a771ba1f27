//! One reading of the new rows for all rules.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::rules::{Rule, RuleKind, Rules, Step};
use crate::scan::Scanner;

/// All steps of all rules, by table.
pub(crate) struct Scans {
    tables: BTreeMap<Table, TableScan>,
    /// Rules with a step that cannot be planned by itself; they are evaluated one by one, and their error is reported there.
    alone: BTreeSet<usize>,
}

struct TableScan {
    scanner: Scanner,
    /// The rule of each of the scanner's steps.
    rules: Vec<usize>,
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
        let mut alone = BTreeSet::new();
        let tables = rules.tables();
        loop {
            let built =
                tables.iter().map(|table| TableScan::new(session, *table, rules, &alone).map(|scan| (*table, scan)));
            match built.collect::<Result<_, _>>() {
                Ok(tables) => return Self { tables, alone },
                Err(rule) => alone.insert(rule),
            };
        }
    }

    /// Whether `rule` has to be evaluated by itself.
    pub(crate) fn is_alone(&self, rule: usize) -> bool {
        self.alone.contains(&rule)
    }

    /// Reads the rows `added` to `table` once for the rules that are `wanted`, each for `limit` at most.
    ///
    /// Errors: the rows cannot be read.
    pub(crate) async fn scan(
        &self,
        session: &SessionContext,
        rules: &Rules,
        (table, added): (Table, &Arc<dyn TableProvider>),
        (wanted, limit): (&BTreeSet<usize>, Duration),
        scanned: &mut BTreeMap<usize, RuleScan>,
    ) -> Result<(), DataFusionError> {
        let Some(scan) = self.tables.get(&table) else { return Ok(()) };
        let frame = session.read_table(Arc::clone(added))?.select(all_columns(table))?;
        let mut rows = frame.execute_stream().await?;
        while let Some(batch) = rows.next().await.transpose()? {
            let batch = with_types(table, &batch)?;
            let goes_on = |rule: &usize| {
                let so_far = scanned.get(rule);
                wanted.contains(rule) && so_far.is_none_or(|scan| scan.error.is_none() && scan.took < limit)
            };
            let found = scan.scanner.scan(&batch, &|step| goes_on(&scan.rules[step]));
            for (step, found) in found {
                let index = scan.rules[step];
                let Some(rule) = rules.iter().nth(index) else { continue };
                let so_far = scanned.entry(index).or_default();
                so_far.took += found.took;
                match found.rows {
                    Ok(rows) => so_far.add(rule, table, &batch, rows)?,
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
    /// Errors: a rule of which a step cannot be planned.
    fn new(session: &SessionContext, table: Table, rules: &Rules, alone: &BTreeSet<usize>) -> Result<Self, usize> {
        let (owners, steps): (Vec<usize>, Vec<&Step>) = rules
            .iter()
            .enumerate()
            .filter(|(index, _)| !alone.contains(index))
            .flat_map(|(index, rule)| rule.steps().iter().map(move |step| (index, step)))
            .filter(|(_, step)| step.table == table)
            .unzip();
        let scanner = Scanner::new(session, table, &steps).map_err(|(place, _)| owners[place])?;
        Ok(Self { scanner, rules: owners })
    }
}

impl RuleScan {
    fn add(&mut self, rule: &Rule, table: Table, batch: &RecordBatch, rows: Vec<u32>) -> Result<(), DataFusionError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.touched = true;
        if let RuleKind::Single(_) = rule.kind {
            // Copied, so that a few rows do not keep the whole batch in memory.
            let rows = take_record_batch(batch, &UInt32Array::from(rows))?;
            self.matches.extend((0..rows.num_rows()).map(|row| Match::of(table, rows.slice(row, 1), String::new())));
        }
        Ok(())
    }
}
