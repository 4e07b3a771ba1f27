//! The tables: one file each, with its columns, its activities and how its rows look in other schemas.
//!
//! Every event table starts with the [`Envelope`], then the [`Actor`], then its own columns.
//! Unknown is NULL, never an empty string or 0.

mod actor;
mod any;
mod declaration;
mod envelope;
pub mod event_loss;
pub mod file_events;
pub mod findings;
pub mod hook_events;
pub mod kernel_events;
pub mod network_flows;
pub mod process_events;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use kerntrail_common::suggest::did_you_mean;

use crate::activity::Activity;
use crate::batch::{TableBatch, TableBuilder};
use crate::columns::{Column, Columns};

pub use self::actor::{Actor, ActorBuilder};
pub use self::declaration::{Declaration, Unknown};
pub use self::envelope::{Envelope, EnvelopeBuilder, imported_from};

/// Lists the tables: module and row type of each.
macro_rules! tables {
    ($($variant:ident = $module:ident::$own:ident;)*) => {
        $(pub use self::$module::$own;)*

        /// A table of the lake; also a topic of the event log.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Table {
            $(
                #[doc = concat!("Declared in [`", stringify!($module), "`].")]
                $variant,
            )*
        }

        impl Table {
            /// All tables, in the order of their documentation.
            pub const ALL: &[Table] = &[$(Table::$variant,)*];

            /// Everything that is declared of it.
            pub fn declaration(self) -> &'static Declaration {
                match self { $(Table::$variant => &$module::DECLARATION,)* }
            }

            /// Its own columns, without envelope and actor.
            pub fn own_columns(self) -> Vec<Column> {
                match self { $(Table::$variant => <$own>::columns(),)* }
            }
        }

        $(impl OwnColumns for $own {
            const TABLE: Table = Table::$variant;
        })*

        any::any_table! { $($variant = $module::$own;)* }
    };
}

tables! {
    ProcessEvents = process_events::ProcessColumns;
    FileEvents = file_events::FileColumns;
    KernelEvents = kernel_events::KernelColumns;
    NetworkFlows = network_flows::NetworkColumns;
    HookEvents = hook_events::HookColumns;
    Findings = findings::FindingColumns;
    EventLoss = event_loss::LossColumns;
}

/// The columns that make a table what it is.
pub trait OwnColumns: Columns {
    /// The table they belong to.
    const TABLE: Table;
}

impl Table {
    /// Its name in SQL, in the lake and in topics.
    pub fn name(self) -> &'static str {
        self.declaration().name
    }

    /// Its number in the payload of a message.
    pub fn number(self) -> u8 {
        self.declaration().number
    }

    /// Whether its rows have an actor.
    pub fn has_actor(self) -> bool {
        self.declaration().has_actor
    }

    /// What can happen in it: the values of the column `activity`.
    pub fn activities(self) -> &'static [&'static Activity] {
        self.declaration().activities
    }

    /// The activity called `name`; `None` for one that this version does not know.
    pub fn activity(self, name: &str) -> Option<&'static Activity> {
        self.activities().iter().copied().find(|activity| activity.name == name)
    }

    /// All columns: envelope, actor, own.
    pub fn columns(self) -> Vec<Column> {
        let actor = if self.has_actor() { Actor::columns() } else { Vec::new() };
        [Envelope::columns(), actor, self.own_columns()].concat()
    }

    /// Arrow schema of all columns.
    pub fn schema(self) -> SchemaRef {
        schema_of(&self.columns())
    }
}

/// Arrow schema of `columns`.
pub(crate) fn schema_of(columns: &[Column]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|column| (*column.field()).clone()).collect::<Vec<Field>>()))
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no table has.
#[derive(Debug, thiserror::Error)]
#[error("there is no table `{0}`{hint}", hint = did_you_mean(.0, Table::ALL.iter().map(|table| table.name())))]
pub struct UnknownTable(String);

impl FromStr for Table {
    type Err = UnknownTable;
    fn from_str(name: &str) -> Result<Self, UnknownTable> {
        Self::ALL.iter().copied().find(|table| table.name() == name).ok_or_else(|| UnknownTable(name.to_owned()))
    }
}
