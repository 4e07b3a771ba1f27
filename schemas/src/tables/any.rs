//! Rows of any table, for producers of more than one table.

/// Generates [`AnyColumns`](super::AnyColumns) and [`TableBuilders`](super::TableBuilders) from the list of tables.
macro_rules! any_table {
    ($($variant:ident = $module:ident::$own:ident;)*) => {
        /// Own columns of a row of any table.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AnyColumns {
            $(
                #[doc = concat!("Of [`Table::", stringify!($variant), "`].")]
                $variant(Box<$own>),
            )*
        }

        impl AnyColumns {
            /// The table they belong to.
            pub fn table(&self) -> Table {
                match self { $(Self::$variant(_) => Table::$variant,)* }
            }

            /// Bytes of all text in them.
            pub fn text_bytes(&self) -> usize {
                match self { $(Self::$variant(own) => own.text_bytes(),)* }
            }
        }

        $(
            impl From<$own> for AnyColumns {
                fn from(columns: $own) -> Self {
                    Self::$variant(Box::new(columns))
                }
            }

            impl TryFrom<AnyColumns> for $own {
                type Error = AnyColumns;
                /// Gives the columns back when they belong to another table.
                fn try_from(columns: AnyColumns) -> Result<Self, AnyColumns> {
                    match columns {
                        AnyColumns::$variant(own) => Ok(*own),
                        other => Err(other),
                    }
                }
            }
        )*

        /// A builder for each table.
        #[derive(Default)]
        pub struct TableBuilders {
            $($module: TableBuilder<$own>,)*
        }

        impl TableBuilders {
            /// Appends a row to the table of `own`. The same `Arc` of an actor is stored once per table.
            pub fn append(&mut self, envelope: &Envelope, actor: Option<&Arc<Actor>>, own: &AnyColumns) {
                match own { $(AnyColumns::$variant(own) => self.$module.append(envelope, actor, own),)* }
            }

            /// Number of rows of `table` since its last `finish`.
            pub fn rows(&self, table: Table) -> usize {
                match table { $(Table::$variant => self.$module.rows(),)* }
            }

            /// The rows of `table` since its last `finish`.
            ///
            /// Errors: none that a caller can cause; Arrow reports arrays of unequal length.
            pub fn finish(&mut self, table: Table) -> Result<TableBatch, ArrowError> {
                match table { $(Table::$variant => self.$module.finish(),)* }
            }
        }
    };
}
pub(super) use any_table;
