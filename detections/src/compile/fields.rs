//! The column that a Sigma field stands for.
//!
//! A rule may name any column of its table; fields of Sigma's Linux taxonomy map to columns, and a few are computed.
//! Source: Sigma specification, appendix "Taxonomy", categories process_creation, network_connection, file_event.

use datafusion::arrow::datatypes::DataType;
use datafusion::functions_nested::expr_fn::array_element;
use datafusion::prelude::{Expr, coalesce, col, lit, when};
use kerntrail_common::suggest::typo_of;
use kerntrail_schemas::Table;

use super::command_lines::CommandLine;
use super::functions::{script_file, written_file};

/// A field as an expression, with the type that decides how it is matched.
pub(super) struct Field {
    pub(super) expr: Expr,
    pub(super) data_type: DataType,
    /// The only text that it can be compared to; empty: any.
    pub(super) only: &'static str,
}

impl Field {
    pub(super) fn new(expr: Expr, data_type: DataType) -> Self {
        Self { expr, data_type, only: "" }
    }

    fn text(expr: Expr) -> Self {
        Self::new(expr, DataType::Utf8)
    }
}

/// Sigma field -> column.
const TAXONOMY: &[(&str, &str)] = &[
    ("Image", "process_path"),
    ("CurrentDirectory", "cwd"),
    ("ProcessId", "pid"),
    ("ProcessGuid", "process_uid"),
    ("ParentImage", "parent_path"),
    ("ParentProcessId", "parent_pid"),
    ("ParentProcessGuid", "parent_process_uid"),
    ("TargetFilename", "path"),
    ("SourceIp", "src_ip"),
    ("SourcePort", "src_port"),
    ("DestinationIp", "dst_ip"),
    ("DestinationPort", "dst_port"),
    ("Protocol", "protocol"),
];

/// The field `name` of `table`; `None` when the table has no such field.
pub(super) fn field(table: Table, name: &str) -> Option<Field> {
    let column = TAXONOMY.iter().find(|(sigma, _)| *sigma == name).map_or(name, |(_, column)| *column);
    if let Some(column) = table.columns().into_iter().find(|have| have.name == column) {
        return Some(Field::new(col(column.name), column.data_type));
    }
    if !table.has_actor() {
        return None;
    }
    if let Some(line) = CommandLine::named(name) {
        return Some(Field::text(line.expr()));
    }
    match name {
        // The kernel knows users by their numbers, of which one has the same name everywhere.
        "User" => Some(Field { only: ROOT, ..Field::text(user()?) }),
        // As Sysmon for Linux has it for processes that nobody logged in for.
        "LogonId" => Some(Field::new(coalesce(vec![col("login_uid"), col("uid")]), DataType::Int32)),
        // auditd's `a0`, `a1`, …
        argument if argument_number(argument).is_some() => {
            let number = argument_number(argument)?;
            Some(Field::text(array_element(col("args"), lit(number.checked_add(1)?))))
        }
        "argv0" => Some(Field::text(array_element(col("args"), lit(1i64)))),
        "container_or_host" => Some(Field::text(coalesce(vec![col("origin_container_id"), lit("")]))),
        "written_file" => Some(Field::text(written_file(col("args"), col("cwd")))),
        "script_file" => Some(Field::text(script_file(col("args"), col("cwd")))),
        "Initiated" if table.own_columns().iter().any(|column| column.name == "direction") => {
            Some(Field::new(col("direction").eq(lit("outbound")), DataType::Boolean))
        }
        _ => None,
    }
}

/// The number of `arg0`, `arg1`, …
fn argument_number(name: &str) -> Option<i64> {
    name.strip_prefix("arg")?.parse::<u8>().ok().map(i64::from)
}

const ROOT: &str = "root";

/// The name of user 0, and an empty text for others.
fn user() -> Option<Expr> {
    when(col("uid").eq(lit(0)), lit(ROOT)).when(col("uid").is_not_null(), lit("")).end().ok()
}

/// Fields of Sigma's taxonomy that no column holds.
const NOT_RECORDED: &[&str] = &[
    "ParentUser",
    "SubjectUserName",
    "LogonGuid",
    "TerminalSessionId",
    "IntegrityLevel",
    "Hashes",
    "md5",
    "sha1",
    "sha256",
    "Imphash",
    "Product",
    "Company",
    "Description",
    "FileVersion",
    "OriginalFileName",
    "DestinationHostname",
    "SourceHostname",
    "DestinationIsIpv6",
    "SourceIsIpv6",
    "DestinationPortName",
    "SourcePortName",
    "Contents",
];
/// Most different characters of a misspelled name.
const MOST_DIFFERENT: usize = 2;

/// What to say of the name of a field that `table` does not have: nothing, or a name that means the same thing.
pub(super) fn hint(table: Table, name: &str) -> String {
    if NOT_RECORDED.contains(&name) {
        return "; kerntrail does not record what it stands for".to_owned();
    }
    let same = name.to_ascii_lowercase();
    let known = names(table);
    let alike = known.iter().find(|known| known.to_ascii_lowercase() == same).copied();
    match alike.or_else(|| typo_of(name, known, MOST_DIFFERENT.min(name.len() / 3).max(1))) {
        Some(right) => format!("; did you mean `{right}`?"),
        None => String::new(),
    }
}

/// Every name that [`field`] knows for `table`, for the message about one it does not know.
pub(super) fn names(table: Table) -> Vec<&'static str> {
    let computed = ["User", "LogonId", "argv0", "container_or_host", "written_file", "script_file"]
        .into_iter()
        .chain(CommandLine::names());
    let columns = table.columns().into_iter().map(|column| column.name);
    let own = table.columns();
    let taxonomy = TAXONOMY.iter().filter(|(_, column)| own.iter().any(|have| have.name == *column));
    columns.chain(taxonomy.map(|(sigma, _)| *sigma)).chain(computed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_about_sigma_has_every_field() {
        let page = include_str!("../../../docs/sigma.md");
        for (field, column) in TAXONOMY {
            assert!(page.contains(&format!("| `{field}` | `{column}` |")), "docs/sigma.md: `{field}` is `{column}`");
        }
        for name in names(Table::ProcessEvents) {
            let is_column = Table::ProcessEvents.columns().iter().any(|column| column.name == name);
            assert!(is_column || page.contains(&format!("`{name}`")), "docs/sigma.md does not have `{name}`");
        }
    }
}
