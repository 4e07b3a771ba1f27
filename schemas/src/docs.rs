//! `docs/tables.md`, written from the tables themselves.

use std::fmt::Write as _;

use arrow::datatypes::DataType;

use crate::columns::{Column, Columns};
use crate::tables::{Actor, Envelope, Table};

/// A producer of rows: its name, and what its test found that it makes (see [`crate::produced`]).
pub type Producer = (String, String);

/// The page that describes every table, activity and column, in Markdown.
pub fn tables_page(producers: &[Producer]) -> String {
    let mut page = String::from(
        "# Tables\n\nGenerated from the `schemas` crate by `make docs`. \
         Every event table starts with the envelope, then the actor, then its own columns. Unknown is NULL.\n",
    );
    section(&mut page, "The envelope: where and when an event happened, and its identity", &Envelope::columns());
    section(&mut page, "The actor: the process that did it", &Actor::columns());
    page.push_str(
        "\nQueries have computed columns too: `event_id` (`stream`-`cpu`-`seq`) in every table; where there is an actor, \
         `exec_id` (`process_uid`.`exec_seq`) and `ancestors` (programs from the parent up to the root, list of text).\n",
    );
    for &table in Table::ALL {
        let _ = write!(page, "\n## `{table}`\n\n{}\n", table.declaration().meaning);
        activities(&mut page, table, producers);
        let starts = if table.has_actor() { "envelope, actor, and:" } else { "envelope, and:" };
        let _ = writeln!(page, "\nColumns: {starts}");
        rows(&mut page, &table.own_columns());
    }
    page
}

fn activities(page: &mut String, table: Table, producers: &[Producer]) {
    page.push_str(
        "\n| activity | meaning | made by | OCSF | ECS `event.action` | Sigma category |\n|---|---|---|---|---|---|\n",
    );
    for activity in table.activities() {
        let line = format!("activity {activity:?}");
        let makes = |(_, list): &&Producer| list.lines().any(|known| known == line);
        let made_by: Vec<&str> = producers.iter().filter(makes).map(|(name, _)| name.as_str()).collect();
        let ocsf = &activity.ocsf;
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {}: {} | `{}` | {} |",
            activity.name,
            activity.meaning,
            made_by.join(", "),
            ocsf.class.name,
            ocsf.activity,
            activity.ecs.action,
            join_code(activity.sigma),
        );
    }
}

fn section(page: &mut String, title: &str, columns: &[Column]) {
    let _ = writeln!(page, "\n## {title}\n");
    if !columns.is_empty() {
        rows(page, columns);
    }
}

fn rows(page: &mut String, columns: &[Column]) {
    page.push_str("\n| column | type | meaning |\n|---|---|---|\n");
    for column in columns {
        let since = match column.since {
            1 => String::new(),
            version => format!(" (since schema version {version})"),
        };
        let data_type = type_name(&column.data_type);
        let _ = writeln!(page, "| `{}` | {data_type} | {}{since} |", column.name, column.meaning);
    }
}

fn join_code(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn type_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Utf8 => "text",
        DataType::Boolean => "boolean",
        DataType::Int32 => "integer",
        DataType::Int64 => "long",
        DataType::Date32 => "date",
        DataType::Timestamp(..) => "timestamp (µs, UTC)",
        DataType::List(_) => "list of text",
        DataType::Map(..) => "map of text",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;
    use crate::produced;

    #[test]
    fn tables_page_is_current() {
        let page = expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/tables.md")];
        page.assert_eq(&tables_page(&produced::lists_of_producers()));
    }

    #[test]
    fn every_column_has_a_meaning_and_a_known_type() {
        for table in Table::ALL {
            for column in table.columns() {
                assert!(
                    !column.meaning.is_empty() && type_name(&column.data_type) != "other",
                    "{table}.{}",
                    column.name
                );
            }
        }
    }
}
