//! `docs/importing.md`, written from the formats' mapping tables.

use std::fmt::Write as _;

use super::envelope::FIELDS;
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
    page.push_str(&around());
    for format in formats {
        section(&mut page, *format);
    }
    page
}

/// What may be around the records.
fn around() -> String {
    let fields: Vec<String> = FIELDS.iter().map(|field| format!("`{field}`")).collect();
    format!(
        "\n## What may be around a record\n\n\
         A record has the same rows whatever is around it, so it is imported once from all of these.\n\n\
         | where | what is read |\n|---|---|\n\
         | a container's log in the CRI format (`/var/log/pods`), in Docker's json-file, and from `kubectl logs` with or \
         without `--prefix` and `--timestamps` | the text of each line; parts of a line are joined |\n\
         | an object of a log shipper or a SIEM (Vector, Fluent Bit, Fluentd, journald, Splunk's HEC and exports, \
         OpenTelemetry, Google Cloud Logging, Elasticsearch) | the object, or the text with an object, in one of these \
         fields: {}; up to four deep |\n\
         | a folder | every file in it and below, rotated logs first |\n\n\
         `--node-name NAME` gives records that name no node this one. A record with a time before 1970 or after \
         2262-04-11, in which nanoseconds do not fit 64 bits, is rejected; rejected records are kept with their \
         line and reason.\n",
        fields.join(", ")
    )
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
