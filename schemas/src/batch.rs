//! Rows of one table in the two forms they have: with the actors apart (built, on the wire) and flat (lake, SQL).

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int32Array, Int32Builder, RecordBatch, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::columns::{Column, Columns, ColumnsBuilder};
use crate::tables::{Actor, ActorBuilder, Envelope, EnvelopeBuilder, OwnColumns, Table, schema_of};

/// Column of `events` that points into `actors`; NULL where the actor is unknown.
pub(crate) const ACTOR: &str = "actor";

/// Rows of one table; each actor is held once, however many events it has.
#[derive(Clone, Debug, PartialEq)]
pub struct TableBatch {
    /// The table the rows belong to.
    pub table: Table,
    /// Columns of [`Actor`]; `None` for a table without actors.
    pub actors: Option<RecordBatch>,
    /// Envelope, pointer to the actor (only with `actors`), own columns.
    pub events: RecordBatch,
}

impl TableBatch {
    /// Schema of [`TableBatch::actors`], with the columns of the newest version.
    pub fn actors_schema() -> SchemaRef {
        schema_of(&Actor::columns())
    }

    /// Schema of [`TableBatch::events`] of `table`, with the columns of the newest version.
    pub fn events_schema(table: Table) -> SchemaRef {
        events_schema(&Envelope::columns(), table.has_actor(), &table.own_columns())
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.events.num_rows()
    }

    /// Number of the column of [`TableBatch::events`] that points into the actors.
    pub fn actor_column(&self) -> Option<usize> {
        self.events.schema_ref().index_of(ACTOR).ok()
    }

    /// The rows with every column of the table, as the lake stores them ([`Table::schema`]): NULL where the batches do not
    /// have a column, as those of an earlier schema version do not have all.
    ///
    /// Errors: the batches have a column that the table does not have, or columns in another order, or an actor index is
    /// out of range.
    pub fn flatten(&self) -> Result<RecordBatch, ArrowError> {
        let held = match &self.actors {
            None => named(&self.events),
            Some(actors) => self.with_actors(actors)?,
        };
        let schema = self.table.schema();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        let mut held = held.into_iter().peekable();
        for field in schema.fields() {
            let column = held.next_if(|(name, _)| *name == field.name());
            columns.push(column.map_or_else(|| new_null_array(field.data_type(), self.rows()), |(_, column)| column));
        }
        match held.next() {
            None => RecordBatch::try_new(schema, columns),
            Some((name, _)) => {
                Err(ArrowError::SchemaError(format!("{} has no column {name} at this place", self.table)))
            }
        }
    }

    /// The columns of the events with those of their actors in place of the pointer.
    fn with_actors<'a>(&'a self, actors: &'a RecordBatch) -> Result<Vec<(&'a str, ArrayRef)>, ArrowError> {
        let place = self.actor_column();
        let place =
            place.ok_or_else(|| ArrowError::SchemaError(format!("events of {} have no actor column", self.table)))?;
        let pointer = self.events.column(place).as_any().downcast_ref::<Int32Array>();
        let pointer = pointer
            .ok_or_else(|| ArrowError::SchemaError(format!("the actor column of {} is not Int32", self.table)))?;
        if pointer.iter().flatten().any(|index| index < 0 || index as usize >= actors.num_rows()) {
            return Err(ArrowError::InvalidArgumentError(format!("an event of {} points to no actor", self.table)));
        }
        let mut held = named(&self.events);
        let own = held.split_off(place);
        for (name, column) in named(actors) {
            held.push((name, take(&column, pointer, None)?));
        }
        held.extend(own.into_iter().skip(1));
        Ok(held)
    }
}

/// Schema of events that have `envelope`, a pointer to their actor where they have one, and `own`.
pub(crate) fn events_schema(envelope: &[Column], has_actor: bool, own: &[Column]) -> SchemaRef {
    let field = |column: &Column| (*column.field()).clone();
    let pointer = has_actor.then(|| Field::new(ACTOR, DataType::Int32, true));
    Arc::new(Schema::new(envelope.iter().map(field).chain(pointer).chain(own.iter().map(field)).collect::<Vec<_>>()))
}

/// The columns of `batch` with their names.
fn named(batch: &RecordBatch) -> Vec<(&str, ArrayRef)> {
    let fields = batch.schema_ref().fields().iter();
    fields.zip(batch.columns()).map(|(field, column)| (field.name().as_str(), Arc::clone(column))).collect()
}

/// Collects rows of the table that `Own` belongs to.
pub struct TableBuilder<Own: OwnColumns> {
    envelopes: EnvelopeBuilder,
    actors: ActorBuilder,
    pointers: Int32Builder,
    own: Own::Builder,
    /// Actors already appended. Holding each keeps its address from being used again.
    seen: HashMap<*const Actor, (i32, Arc<Actor>)>,
    /// The same for actors appended by key.
    keyed: HashMap<u64, i32>,
    rows: usize,
}

// SAFETY: the raw pointers are only keys; what they point to is kept alive by the `Arc` stored with them.
unsafe impl<Own: OwnColumns> Send for TableBuilder<Own> where Own::Builder: Send {}

impl<Own: OwnColumns> Default for TableBuilder<Own> {
    fn default() -> Self {
        Self {
            envelopes: EnvelopeBuilder::default(),
            actors: ActorBuilder::default(),
            pointers: Int32Builder::new(),
            own: Own::Builder::default(),
            seen: HashMap::new(),
            keyed: HashMap::new(),
            rows: 0,
        }
    }
}

impl<Own: OwnColumns> TableBuilder<Own> {
    /// Appends a row. The same `Arc` of an actor is stored once.
    pub fn append(&mut self, envelope: &Envelope, actor: Option<&Arc<Actor>>, own: &Own) {
        self.envelopes.append(envelope);
        let pointer = actor.map(|actor| self.point_to(actor));
        self.pointers.append_option(pointer);
        self.own.append(own);
        self.rows += 1;
    }

    /// Appends a row whose actor has a key. Actors with the same key are equal and stored once; no reference is kept.
    pub fn append_keyed(&mut self, envelope: &Envelope, actor: Option<(u64, &Actor)>, own: &Own) {
        self.envelopes.append(envelope);
        let pointer = actor.map(|(key, actor)| {
            let next = self.actor_count();
            let pointer = *self.keyed.entry(key).or_insert(next);
            if pointer == next {
                self.actors.append(actor);
            }
            pointer
        });
        self.pointers.append_option(pointer);
        self.own.append(own);
        self.rows += 1;
    }

    fn actor_count(&self) -> i32 {
        (self.seen.len() + self.keyed.len()) as i32
    }

    fn point_to(&mut self, actor: &Arc<Actor>) -> i32 {
        let next = self.actor_count();
        let (pointer, _) = *self.seen.entry(Arc::as_ptr(actor)).or_insert_with(|| (next, Arc::clone(actor)));
        if pointer == next {
            self.actors.append(actor);
        }
        pointer
    }

    /// Number of rows since the last `finish`.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The rows since the last `finish`.
    ///
    /// Errors: none that a caller can cause; Arrow reports arrays of unequal length.
    pub fn finish(&mut self) -> Result<TableBatch, ArrowError> {
        let table = Own::TABLE;
        let mut columns = self.envelopes.finish();
        let pointers: ArrayRef = Arc::new(self.pointers.finish());
        let actors = self.actors.finish();
        if table.has_actor() {
            columns.push(pointers);
        }
        columns.extend(self.own.finish());
        self.seen.clear();
        self.keyed.clear();
        self.rows = 0;
        Ok(TableBatch {
            table,
            actors: table.has_actor().then(|| RecordBatch::try_new(TableBatch::actors_schema(), actors)).transpose()?,
            events: RecordBatch::try_new(TableBatch::events_schema(table), columns)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int32Array};

    use super::*;
    use crate::tables::{LossColumns, ProcessColumns};

    #[test]
    fn an_actor_is_stored_once_and_flattens_into_each_row() {
        let shell = Arc::new(Actor {
            pid: Some(7),
            args: Some(vec!["sh".into(), "-c".into(), "a b".into()]),
            ..Actor::default()
        });
        let other = Arc::new(Actor { pid: Some(8), ..Actor::default() });
        let mut builder = TableBuilder::<ProcessColumns>::default();
        for (seq, actor) in [Some(&shell), Some(&other), None, Some(&shell)].into_iter().enumerate() {
            builder.append(
                &Envelope { seq: Some(seq as i64), ..Envelope::default() },
                actor,
                &ProcessColumns::default(),
            );
        }
        let batch = builder.finish().unwrap();
        assert_eq!(batch.actors.as_ref().unwrap().num_rows(), 2);
        let flat = batch.flatten().unwrap();
        assert_eq!(flat.schema(), Table::ProcessEvents.schema());
        let pids: &Int32Array = flat.column_by_name("pid").unwrap().as_primitive();
        assert_eq!(pids.iter().collect::<Vec<_>>(), [Some(7), Some(8), None, Some(7)]);
        assert_eq!(builder.rows(), 0);
    }

    #[test]
    fn actors_of_a_key_are_stored_once_beside_those_without() {
        let actor = |pid| Actor { pid: Some(pid), ..Actor::default() };
        let mut builder = TableBuilder::<ProcessColumns>::default();
        for _ in 0..2 {
            let held = Arc::new(actor(1));
            let (envelope, own) = (Envelope::default(), ProcessColumns::default());
            builder.append(&envelope, Some(&held), &own);
            builder.append_keyed(&envelope, Some((7, &actor(2))), &own);
            builder.append_keyed(&envelope, None, &own);
            builder.append(&envelope, Some(&held), &own);
            builder.append_keyed(&envelope, Some((8, &actor(3))), &own);
            builder.append_keyed(&envelope, Some((7, &actor(2))), &own);
            let batch = builder.finish().unwrap();
            assert_eq!(batch.actors.as_ref().unwrap().num_rows(), 3);
            let flat = batch.flatten().unwrap();
            let pids: &Int32Array = flat.column_by_name("pid").unwrap().as_primitive();
            assert_eq!(pids.iter().collect::<Vec<_>>(), [Some(1), Some(2), None, Some(1), Some(3), Some(2)]);
        }
    }

    #[test]
    fn a_table_without_actors_flattens_as_it_is() {
        let mut builder = TableBuilder::<LossColumns>::default();
        builder.append(&Envelope::default(), None, &LossColumns { lost: Some(3), ..LossColumns::default() });
        let flat = builder.finish().unwrap().flatten().unwrap();
        assert_eq!(flat.schema(), Table::EventLoss.schema());
        assert_eq!(flat.num_rows(), 1);
    }
}
