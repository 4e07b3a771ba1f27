//! `docs/importing.md`, written from the formats' mapping tables.

use std::fmt::Write as _;

use super::format::{ImportFormat, MappedColumn, MappedRow};

/// The page that describes every format of `formats` and its mapping, in Markdown.
pub fn importing_page(formats: &[&dyn ImportFormat]) -> String {
    let mut page = String::from(
        "# Importing\n\nGenerated from the formats' mapping tables by `make docs`. `kerntrail replay FILE…` imports \
         exports of other tools: JSON objects, one per line, over several lines, concatenated or in arrays; plain or \
         compressed with gzip or zstd. The format of each record is recognized by its content. Importing a file again \
         adds nothing.\n\n\
         Columns that are not listed are NULL. In every row, `source` is the format's name, `stream` consists of that \
         name and the node, and `seq` is a hash of the record; if a record becomes several rows, the hashes of the \
         second and later rows include the row's position. Of a kernel call, text 1 is the first argument that is \
         a text, and number 1 the first that is a number.\n",
    );
    for format in formats {
        section(&mut page, *format);
    }
    page
}

fn section(page: &mut String, format: &dyn ImportFormat) {
    let mapping = format.mapping();
    let _ = writeln!(page, "\n## {}\n\n`source`: `{}`.", format.description(), format.source());
    columns(page, "The envelope", &mapping.envelope);
    if !mapping.actor.is_empty() {
        columns(page, "The actor", &mapping.actor);
    }
    page.push_str("\n### Rows\n\n| record | table | activity | columns |\n|---|---|---|---|\n");
    for row in &mapping.rows {
        let _ = writeln!(page, "| {} | `{}` | `{}` | {} |", records(row), row.table, row.activity, own(&row.columns));
    }
}

fn columns(page: &mut String, title: &str, columns: &[MappedColumn]) {
    let _ = writeln!(page, "\n### {title}\n\n| column | from |\n|---|---|");
    for MappedColumn { column, from } in columns {
        let _ = writeln!(page, "| `{column}` | {from} |");
    }
}

fn records(row: &MappedRow) -> String {
    let names: Vec<String> = row.records.iter().map(|name| format!("`{name}`")).collect();
    match row.when {
        "" => names.join(", "),
        when => format!("{}: {when}", names.join(", ")),
    }
}

fn own(columns: &[MappedColumn]) -> String {
    let columns: Vec<String> = columns.iter().map(|origin| format!("`{}`: {}", origin.column, origin.from)).collect();
    columns.join("; ")
}
