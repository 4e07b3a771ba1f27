//! Command lines as rules mean them: the arguments joined by single spaces, without quotes.
//!
//! They are no columns of a table. A scan computes them once per batch for all rules ([`with_columns`]); elsewhere they are
//! expressions over the list of arguments.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::functions_nested::expr_fn::array_to_string;
use datafusion::prelude::{Expr, col, lit};

/// A command line.
pub(crate) struct CommandLine {
    /// Sigma's name.
    sigma: &'static str,
    /// The column in a scan.
    pub(crate) name: &'static str,
    /// The column of arguments.
    list: &'static str,
}

const COMMAND_LINES: [CommandLine; 2] = [
    CommandLine { sigma: "CommandLine", name: "command_line", list: "args" },
    CommandLine { sigma: "ParentCommandLine", name: "parent_command_line", list: "parent_args" },
];

impl CommandLine {
    /// The one that a rule calls `name`.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        COMMAND_LINES.iter().find(|line| line.sigma == name || line.name == name)
    }

    /// All names.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        COMMAND_LINES.iter().flat_map(|line| [line.sigma, line.name])
    }

    /// Its text, from the column of arguments; an argument that is not known is left out.
    pub(crate) fn expr(&self) -> Expr {
        array_to_string(col(self.list), lit(" "))
    }

    /// Those whose arguments `schema` has.
    fn of(schema: &Schema) -> impl Iterator<Item = (&'static Self, usize)> {
        COMMAND_LINES.iter().filter_map(|line| Some((line, schema.index_of(line.list).ok()?)))
    }
}

/// `schema`, and behind its columns a column for each command line.
pub(crate) fn with_fields(schema: &Schema) -> SchemaRef {
    let lines = CommandLine::of(schema).map(|(line, _)| Arc::new(Field::new(line.name, DataType::Utf8, true)));
    Arc::new(Schema::new(schema.fields().iter().cloned().chain(lines).collect::<Vec<_>>()))
}

/// `batch`, and behind its columns each command line, with the schema that [`with_fields`] gives for its own.
pub(crate) fn with_columns(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let lines = CommandLine::of(batch.schema_ref()).map(|(_, place)| joined(batch.column(place)));
    let columns = batch.columns().iter().cloned().chain(lines).collect();
    RecordBatch::try_new(Arc::clone(schema), columns)
}

/// `expr` with command lines as columns.
pub(crate) fn as_columns(expr: Expr) -> Result<Expr, DataFusionError> {
    let lines: Vec<_> = COMMAND_LINES.iter().map(|line| (line.expr(), line.name)).collect();
    let replaced = expr.transform_down(|part| match lines.iter().find(|(line, _)| *line == part) {
        Some((_, name)) => Ok(Transformed::yes(col(*name))),
        None => Ok(Transformed::no(part)),
    });
    Ok(replaced?.data)
}

/// The items of each list, joined by spaces, as DataFusion's `array_to_string` joins them.
fn joined(lists: &ArrayRef) -> ArrayRef {
    let lists = lists.as_list::<i32>();
    let items = lists.values().as_string::<i32>();
    let mut texts = StringBuilder::with_capacity(lists.len(), items.value_data().len() + items.len());
    let offsets = lists.value_offsets();
    for row in 0..lists.len() {
        if lists.is_null(row) {
            texts.append_null();
            continue;
        }
        let mut text = String::new();
        let known = (offsets[row] as usize..offsets[row + 1] as usize).filter(|item| items.is_valid(*item));
        for (place, item) in known.enumerate() {
            if place > 0 {
                text.push(' ');
            }
            text.push_str(items.value(item));
        }
        texts.append_value(&text);
    }
    Arc::new(texts.finish())
}
