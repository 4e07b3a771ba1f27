//! What a producer makes: the activities and columns of the rows that its test produced.
//!
//! Each crate that makes rows has a test that runs it on inputs for everything it can make, collects the rows here and
//! compares the listing with `schemas/producers/<producer>.txt` (`UPDATE_EXPECT=1` writes it). The tests below
//! compare the declared activities and columns with all these lists: what has no producer must not be declared.

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::activity::Activity;
use crate::columns::{Column, Columns};
use crate::tables::{Actor, Envelope, Table};

/// Activities and columns, each as a line: `activity process_events.exec`, `column actor.pid`.
#[derive(Debug, Default)]
pub struct Produced {
    lines: BTreeSet<String>,
}

impl Produced {
    /// Adds the activities of `rows`, and the columns in which one of them has a value.
    ///
    /// `rows`: flat rows of `table`, with the columns of [`Table::schema`] or some of them.
    pub fn add(&mut self, table: Table, rows: &RecordBatch) {
        let activities = rows.column_by_name("activity").and_then(|column| cast(column, &DataType::Utf8).ok());
        if let Some(activities) = activities {
            let names = activities.as_string::<i32>().iter().flatten();
            self.lines.extend(names.map(|name| activity_line(table, name)));
        }
        for (line, column) in column_lines(table) {
            if rows.column_by_name(column.name).is_some_and(|array| array.null_count() < array.len()) {
                self.lines.insert(line);
            }
        }
    }

    /// The lines in order, each ended by a line feed.
    pub fn listing(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// A line for everything that is declared.
pub fn declared() -> BTreeSet<String> {
    let activities = Activity::all().map(|activity| activity_line(activity.table, activity.name));
    let columns = Table::ALL.iter().flat_map(|table| column_lines(*table)).map(|(line, _)| line);
    activities.chain(columns).collect()
}

fn activity_line(table: Table, activity: &str) -> String {
    format!("activity {table}.{activity}")
}

/// Columns of envelope and actor are the same ones in every table.
fn column_lines(table: Table) -> Vec<(String, Column)> {
    let actor = if table.has_actor() { Actor::columns() } else { Vec::new() };
    let groups = [("envelope", Envelope::columns()), ("actor", actor), (table.name(), table.own_columns())];
    let lines = |(group, columns): (&'static str, Vec<Column>)| {
        columns.into_iter().map(move |column| (format!("column {group}.{}", column.name), column))
    };
    groups.into_iter().flat_map(lines).collect()
}

/// The lists in `schemas/producers/`: name of the producer and text.
#[cfg(test)]
pub(crate) fn lists_of_producers() -> Vec<(String, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("producers");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut lists: Vec<(String, String)> = files
        .map(|file| {
            let name = file.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&file).unwrap())
        })
        .collect();
    lists.sort();
    lists
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_declared_has_a_producer() {
        let lists = lists_of_producers();
        let made: BTreeSet<&str> = lists.iter().flat_map(|(_, list)| list.lines()).collect();
        let nobody: Vec<String> = declared().into_iter().filter(|line| !made.contains(line.as_str())).collect();
        assert!(
            nobody.is_empty(),
            "declared, but in no list of schemas/producers: {nobody:#?}; let a producer's tests/produced.rs make it, and run that with UPDATE_EXPECT=1"
        );
    }

    #[test]
    fn producers_make_only_what_is_declared() {
        let declared = declared();
        for (producer, list) in lists_of_producers() {
            let unknown: Vec<&str> = list.lines().filter(|line| !declared.contains(*line)).collect();
            assert!(unknown.is_empty(), "{producer} makes what is not declared: {unknown:#?}");
        }
    }
}
