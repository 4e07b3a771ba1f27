//! A row of any table, from the format that makes it to the message it leaves in.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use arrow::error::ArrowError;
use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::tables::{Envelope, OwnColumns};
use kerntrail_schemas::{Table, TableBatch, TableBuilder};

use super::identity::row_number;
use super::scope::{EventOrigin, KeyedActor};

/// A row of any table, as a format builds it from a record.
#[derive(Debug)]
pub struct ImportedRow {
    /// Where the row comes from. It gives `node` and, unless the envelope has one, `stream`.
    pub origin: Arc<EventOrigin>,
    /// When it happened: the columns `time` and `date`.
    pub time: Micros,
    /// The other columns of the envelope that the record fills. Filled by the import where they are empty: `source`,
    /// `stream`, `cpu` (0), `seq` (the hash of the record), `action` (`observed`) and `count` (1). A format whose records
    /// have numbers of their own sets `stream`, `cpu` and `seq` together.
    pub envelope: Envelope,
    /// The process that acted; `None` in a table without actors, and where it is unknown.
    pub actor: Option<KeyedActor>,
    own: Box<dyn OwnRow>,
}

impl ImportedRow {
    /// A row of the table that `own` belongs to, without an actor. `envelope`: what the record has of it, see the field.
    pub fn new<Own>(origin: Arc<EventOrigin>, time: Micros, activity: &str, envelope: Envelope, own: Own) -> Self
    where
        Own: OwnColumns + Debug + Send + Sync + 'static,
        Own::Builder: Send,
    {
        let envelope = Envelope { activity: Some(activity.to_owned()), ..envelope };
        Self { origin, time, envelope, actor: None, own: Box::new(own) }
    }

    /// The row with `actor` as the process that acted.
    pub fn with_actor(mut self, actor: KeyedActor) -> Self {
        self.actor = Some(actor);
        self
    }

    /// Its table.
    pub fn table(&self) -> Table {
        self.own.table()
    }

    /// Fills what the format left to the import: the row is the one at `place` among those of the record with the number
    /// `record`, of a format with this `source`.
    pub(super) fn complete(&mut self, source: &'static str, record: i64, place: usize) {
        let envelope = &mut self.envelope;
        envelope.date = Some(self.time.day());
        envelope.time = Some(self.time);
        envelope.source.get_or_insert(source);
        envelope.cpu.get_or_insert(0);
        envelope.seq.get_or_insert_with(|| row_number(record, place));
        envelope.action.get_or_insert("observed");
        envelope.count.get_or_insert(1);
    }

    /// A builder of rows of its table.
    pub(super) fn builder(&self) -> Box<dyn RowBuilder> {
        self.own.builder()
    }
}

/// Own columns of a row, without naming their type.
trait OwnRow: Any + Debug + Send + Sync {
    fn table(&self) -> Table;
    fn builder(&self) -> Box<dyn RowBuilder>;
}

impl<Own> OwnRow for Own
where
    Own: OwnColumns + Debug + Send + Sync + 'static,
    Own::Builder: Send,
{
    fn table(&self) -> Table {
        Own::TABLE
    }

    fn builder(&self) -> Box<dyn RowBuilder> {
        Box::new(TableBuilder::<Own>::default())
    }
}

/// Collects rows of one table, without naming the type of its own columns.
pub(super) trait RowBuilder: Send {
    /// Appends `row`.
    ///
    /// Errors: the row is of another table.
    fn append(&mut self, row: &ImportedRow) -> Result<(), ArrowError>;

    /// The rows since the last `finish`.
    fn finish(&mut self) -> Result<TableBatch, ArrowError>;
}

impl<Own> RowBuilder for TableBuilder<Own>
where
    Own: OwnColumns + 'static,
    Own::Builder: Send,
{
    fn append(&mut self, row: &ImportedRow) -> Result<(), ArrowError> {
        let own: &dyn Any = &*row.own;
        let own = own.downcast_ref::<Own>().ok_or_else(|| {
            ArrowError::InvalidArgumentError(format!("a row of {} among rows of {}", row.table(), Own::TABLE))
        })?;
        let actor = row.actor.as_ref().filter(|_| Own::TABLE.has_actor());
        self.append_keyed(&row.envelope, actor.map(|actor| (actor.key, &*actor.actor)), own);
        Ok(())
    }

    fn finish(&mut self) -> Result<TableBatch, ArrowError> {
        TableBuilder::finish(self)
    }
}
