//! Which columns a message holds: those of the schema version that its writer had.
//!
//! A column has the version that introduced it ([`Column::since`]). The columns of version N are those introduced up to N,
//! in the order of their declaration; so a column that was released keeps its place among the others.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use arrow::datatypes::SchemaRef;

use crate::SCHEMA_VERSION;
use crate::batch::events_schema;
use crate::columns::{Column, Columns};
use crate::tables::{Actor, Envelope, Table, schema_of};

/// The columns that messages are made of, of all versions.
#[derive(Clone, Debug)]
pub struct MessageColumns {
    /// Columns of every event.
    pub envelope: Vec<Column>,
    /// Columns of every actor.
    pub actor: Vec<Column>,
    /// Own columns of each table.
    pub own: BTreeMap<Table, Vec<Column>>,
}

impl MessageColumns {
    /// The columns as they are declared.
    pub fn declared() -> Self {
        let own = Table::ALL.iter().map(|&table| (table, table.own_columns())).collect();
        Self { envelope: Envelope::columns(), actor: Actor::columns(), own }
    }

    /// The columns of `table` in a message of `version`.
    fn layout(&self, table: Table, version: u16) -> MessageLayout {
        let known = |columns: &[Column]| -> Vec<Column> {
            columns.iter().filter(|column| column.since <= version).cloned().collect()
        };
        let own = self.own.get(&table).map(|own| known(own)).unwrap_or_default();
        MessageLayout {
            actors: table.has_actor().then(|| schema_of(&known(&self.actor))),
            events: events_schema(&known(&self.envelope), table.has_actor(), &own),
        }
    }
}

/// The columns of a message of one table and version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageLayout {
    /// Of the actors; `None` for a table without.
    pub actors: Option<SchemaRef>,
    /// Of the events: envelope, pointer to the actor (only with `actors`), own columns.
    pub events: SchemaRef,
}

/// The columns of messages of each table, in every version up to the newest that is known.
#[derive(Clone, Debug)]
pub struct SchemaHistory {
    /// Layouts of version 1, 2, ...
    versions: Vec<HashMap<Table, MessageLayout>>,
}

static CURRENT: LazyLock<Arc<SchemaHistory>> =
    LazyLock::new(|| Arc::new(SchemaHistory::new(&MessageColumns::declared(), SCHEMA_VERSION)));

impl SchemaHistory {
    /// What this release knows.
    pub fn current() -> Arc<Self> {
        Arc::clone(&CURRENT)
    }

    /// The history known to a release with schema version `version` (at least 1): the columns introduced up to it.
    pub fn new(columns: &MessageColumns, version: u16) -> Self {
        let layouts = |version| Table::ALL.iter().map(|&table| (table, columns.layout(table, version))).collect();
        Self { versions: (1..=version.max(1)).map(layouts).collect() }
    }

    /// The newest version.
    pub fn version(&self) -> u16 {
        // As many as a `u16` counted.
        self.versions.len() as u16
    }

    /// The columns of a message of `table` that a writer of `version` made; `None` of a version that is not known.
    pub fn layout(&self, table: Table, version: u16) -> Option<&MessageLayout> {
        self.versions.get(usize::from(version).checked_sub(1)?)?.get(&table)
    }

    /// The columns of a message of `table` in the newest version.
    pub fn newest(&self, table: Table) -> Option<&MessageLayout> {
        self.layout(table, self.version())
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;

    fn names(schema: &SchemaRef) -> Vec<&str> {
        schema.fields().iter().map(|field| field.name().as_str()).collect()
    }

    #[test]
    fn the_schema_version_is_that_of_the_newest_column() {
        let columns = MessageColumns::declared();
        let all = columns.own.values().flatten().chain(&columns.envelope).chain(&columns.actor);
        assert_eq!(all.map(|column| column.since).max(), Some(SCHEMA_VERSION));
    }

    #[test]
    fn a_version_has_the_columns_introduced_up_to_it_in_their_order() {
        let column = |name, since| Column { name, data_type: DataType::Int64, meaning: "", since };
        let columns = MessageColumns {
            envelope: vec![column("a", 1), column("b", 3), column("c", 1)],
            actor: vec![column("p", 2), column("q", 1)],
            own: BTreeMap::from([(Table::Findings, vec![column("x", 1)]), (Table::EventLoss, vec![column("y", 2)])]),
        };
        let history = SchemaHistory::new(&columns, 3);
        assert_eq!(history.version(), 3);
        for (table, version, actors, events) in [
            (Table::Findings, 1, Some(&["q"][..]), &["a", "c", "actor", "x"][..]),
            (Table::Findings, 2, Some(&["p", "q"]), &["a", "c", "actor", "x"]),
            (Table::Findings, 3, Some(&["p", "q"]), &["a", "b", "c", "actor", "x"]),
            (Table::EventLoss, 1, None, &["a", "c"]),
            (Table::EventLoss, 2, None, &["a", "c", "y"]),
        ] {
            let layout = history.layout(table, version).unwrap();
            assert_eq!(layout.actors.as_ref().map(names).as_deref(), actors, "{table} {version}");
            assert_eq!(names(&layout.events), events, "{table} {version}");
        }
        assert_eq!(history.newest(Table::EventLoss), history.layout(Table::EventLoss, 3));
        assert_eq!((history.layout(Table::Findings, 0), history.layout(Table::Findings, 4)), (None, None));
    }
}
