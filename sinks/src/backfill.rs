//! Sends rows that the lake has to one sink: those that it did not get, or those from before it was configured.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::error::ArrowError;
use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::ident;
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use kerntrail_schemas::Table;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{Settings, SinkConfig, SinkConfigError};
use crate::deliver::{Delivery, Stop};
use crate::destination::Record;
use crate::dlq::{Content, DlqError, Letter, Letters};
use crate::outcome::Reason;
use crate::select::{Identified, Selection, select_rows};
use crate::state::{SinkState, StateReporter};

/// Why a backfill ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// The sink cannot be used as it is configured.
    #[error("cannot use the configuration")]
    Config(#[source] Box<SinkConfigError>),
    /// Its dead letters cannot be used.
    #[error("cannot use the dead letters of sink {sink}")]
    Letters {
        /// The sink.
        sink: String,
        /// Why.
        #[source]
        source: DlqError,
    },
    /// The rows of a table cannot be read.
    #[error("cannot read {table}")]
    Read {
        /// The table.
        table: Table,
        /// Why.
        #[source]
        source: DataFusionError,
    },
    /// Rows of a table have other columns than it should have.
    #[error("{table} does not have the columns of that table")]
    Rows {
        /// The table.
        table: Table,
        /// Why.
        #[source]
        source: ArrowError,
    },
    /// The destination accepts nothing until an operator fixes something.
    #[error("the destination is not accepting events: {alert}")]
    Paused {
        /// What is wrong.
        alert: String,
    },
    /// It was asked to end.
    #[error("it was stopped")]
    Stopped,
}

/// Which rows are sent.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// First time, in µs since the Unix epoch, where there is one.
    pub since: Option<i64>,
    /// Last time.
    pub until: Option<i64>,
    /// The times are those of storing the rows (`ingest_time`), and not those of the events (`time`).
    pub is_of_ingestion: bool,
}

impl Span {
    fn filter(self) -> Option<Expr> {
        let column = if self.is_of_ingestion { "ingest_time" } else { "time" };
        let micros = |time| lit(ScalarValue::TimestampMicrosecond(Some(time), Some("UTC".into())));
        let day = |time: i64| lit(ScalarValue::Date32(Some(time.div_euclid(86_400_000_000) as i32)));
        let since = self.since.map(|time| ident(column).gt_eq(micros(time)));
        let until = self.until.map(|time| ident(column).lt_eq(micros(time)));
        // Whole partitions are skipped by the day of the events.
        let first = self.since.filter(|_| !self.is_of_ingestion).map(|time| ident("date").gt_eq(day(time)));
        let last = self.until.filter(|_| !self.is_of_ingestion).map(|time| ident("date").lt_eq(day(time)));
        [since, until, first, last].into_iter().flatten().reduce(Expr::and)
    }
}

/// What was done with the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackfillReport {
    /// Rows that the destination has, or that are dead letters now.
    pub settled: u64,
    /// Of these, rows for which the sink's `where` failed: dead letters.
    pub failed: u64,
    /// Rows that the sink's `where` did not select.
    pub filtered: u64,
}

/// A sink that gets rows from elsewhere than the event log. Can be used while the server runs.
pub struct Backfill {
    settings: Settings,
    delivery: Delivery,
    stop: Stop,
    /// What the destination needs.
    alert: Arc<OnceLock<String>>,
    /// Batches of rows so far.
    batches: u64,
    report: BackfillReport,
}

impl Backfill {
    /// The sink that `config` describes; dead letters go below `dlq_dir`. Connects to nothing. `cancel` ends it.
    ///
    /// Errors: the configuration is wrong, or a folder cannot be used.
    pub fn open(config: &SinkConfig, dlq_dir: &Path, cancel: CancellationToken) -> Result<Self, BackfillError> {
        let wrong = |error| BackfillError::Config(Box::new(error));
        let settings = config.settings().map_err(wrong)?;
        let destination = settings.connect().map_err(wrong)?;
        let letters = Letters::open(dlq_dir, &settings.name, settings.delivery.dead_letters())
            .map_err(|source| BackfillError::Letters { sink: settings.name.clone(), source })?;
        let state = Arc::new(StateReporter::new(&settings.name));
        let delivery = Delivery::new(settings.clone(), destination, Arc::new(letters), Arc::clone(&state));
        // A pause needs a person, who is there: it ends the backfill.
        let (asked, paused) = (cancel.child_token(), state.subscribe());
        let alert = Arc::<OnceLock<String>>::default();
        tokio::spawn(end_at_pause(paused, Arc::clone(&alert), asked.clone()));
        let stop = Stop { asked, now: cancel };
        Ok(Self { settings, delivery, stop, alert, batches: 0, report: BackfillReport::default() })
    }

    /// The tables whose rows the sink sends.
    pub fn tables(&self) -> &[Table] {
        &self.settings.tables
    }

    /// What was done so far.
    pub fn report(&self) -> BackfillReport {
        self.report
    }

    /// Sends the rows of `span` that `rows` of `table` have and the sink's `where` selects, in no certain order.
    ///
    /// Errors: the rows cannot be read, or the destination has to be repaired; what was sent before is in the report.
    pub async fn send(&mut self, table: Table, rows: Arc<dyn TableProvider>, span: Span) -> Result<(), BackfillError> {
        let read = |source| BackfillError::Read { table, source };
        let session = kerntrail_session::unguarded(|config| config);
        let mut frame = session.read_table(rows).map_err(read)?;
        if let Some(filter) = span.filter() {
            frame = frame.filter(filter).map_err(read)?;
        }
        let mut batches = frame.execute_stream().await.map_err(read)?;
        while let Some(batch) = batches.next().await {
            self.send_batch(table, &batch.map_err(read)?).await?;
        }
        Ok(())
    }

    async fn send_batch(&mut self, table: Table, batch: &RecordBatch) -> Result<(), BackfillError> {
        let flat = as_declared(table, batch).map_err(|source| BackfillError::Rows { table, source })?;
        // Tells rows apart that have no id.
        let position = format!("backfill-{table}-{}", self.batches);
        self.batches += 1;
        let selection = select_rows(&self.settings.filter, table, &flat, &position)
            .map_err(|source| BackfillError::Rows { table, source })?;
        let Selection { selected, failed, filtered } = selection;
        self.report.filtered += filtered as u64;
        for (row, words) in failed {
            let letter = self.failed(table, row, words);
            if !self.delivery.keep(&letter, &self.stop).await {
                return Err(self.ended());
            }
            self.report.failed += 1;
            self.report.settled += 1;
        }
        let records: Vec<Record> = selected.into_iter().map(|row| self.record(table, row)).collect();
        let count = records.len();
        let left = self.delivery.deliver(records, &self.stop, &|_| {}).await.len();
        self.report.settled += (count - left) as u64;
        if left > 0 || self.stop.asked.is_cancelled() { Err(self.ended()) } else { Ok(()) }
    }

    fn record(&self, table: Table, Identified { event_id, row, place }: Identified) -> Record {
        let bytes = self.delivery.destination().encode(table, &event_id, &row);
        Record { table, event_id, row, bytes, message: 0, place }
    }

    /// The dead letter of a row for which the sink's `where` failed.
    fn failed(&self, table: Table, row: Identified, words: String) -> Letter {
        Letter::new(&self.settings.name, table, row.event_id, Reason::RowFilter, words, Content::Row(row.row))
    }

    fn ended(&self) -> BackfillError {
        match self.alert.get() {
            Some(alert) => BackfillError::Paused { alert: alert.clone() },
            None => BackfillError::Stopped,
        }
    }
}

/// `batch` with the columns of `table` as they are declared; a reader may have given them other types.
fn as_declared(table: Table, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = table.schema();
    let column = |field: &arrow::datatypes::FieldRef| {
        let named = batch.column_by_name(field.name());
        let named = named.ok_or_else(|| ArrowError::SchemaError(format!("there is no {}", field.name())))?;
        cast(named, field.data_type())
    };
    let columns = schema.fields().iter().map(column).collect::<Result<_, _>>()?;
    RecordBatch::try_new(schema, columns)
}

/// Ends the backfill at the first pause, and says why in `alert`.
async fn end_at_pause(mut state: watch::Receiver<SinkState>, alert: Arc<OnceLock<String>>, end: CancellationToken) {
    let paused = async {
        let paused = state.wait_for(|state| matches!(state, SinkState::Paused { .. })).await;
        if let Ok(SinkState::Paused { alert: said }) = paused.as_deref() {
            alert.get_or_init(|| said.clone());
            end.cancel();
        }
    };
    tokio::select! {
        () = paused => {}
        () = end.cancelled() => {}
    }
}
