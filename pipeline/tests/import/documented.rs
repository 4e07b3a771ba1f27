//! What the mapping tables of the formats say is true, and documentation says the same.

use std::collections::BTreeSet;

use expect_test::expect_file;
use kerntrail_pipeline::import::format::{FormatMapping, MappedColumn};
use kerntrail_pipeline::import::{FORMATS, importing_page};
use kerntrail_schemas::Columns;
use kerntrail_schemas::tables::{Actor, Envelope};

use super::*;

#[test]
fn importing_page_is_current() {
    let page = expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/importing.md")];
    page.assert_eq(&importing_page(FORMATS));
}

fn names(columns: &[MappedColumn]) -> BTreeSet<&'static str> {
    columns.iter().map(|column| column.column).collect()
}

#[test]
fn mappings_name_activities_and_columns_that_exist() {
    for format in FORMATS {
        let FormatMapping { envelope, actor, rows } = format.mapping();
        let known = |columns: Vec<kerntrail_schemas::Column>| columns.iter().map(|column| column.name).collect();
        let unknown = |named: BTreeSet<&'static str>, known: BTreeSet<&'static str>| {
            named.difference(&known).copied().collect::<Vec<_>>()
        };
        assert_eq!(unknown(names(&envelope), known(Envelope::columns())), [""; 0], "{format:?}");
        assert_eq!(unknown(names(&actor), known(Actor::columns())), [""; 0], "{format:?}");
        for row in rows {
            let declared = row.table.activities().iter().any(|activity| activity.name == row.activity);
            assert!(declared, "{format:?}: {row:?}");
            assert_eq!(unknown(names(&row.columns), known(row.table.own_columns())), [""; 0], "{format:?}: {row:?}");
        }
    }
}

#[test]
fn format_names_are_unique_and_documented() {
    let names: BTreeSet<_> = FORMATS.iter().map(|format| format.name()).collect();
    assert_eq!(names.len(), FORMATS.len());
    let columns = Envelope::columns();
    let source = columns.iter().find(|column| column.name == "source").unwrap();
    for format in FORMATS {
        let named = format!("`{}`", format.source());
        assert!(source.meaning.contains(&named), "the meaning of the column `source` does not name {named}");
        let list = format!("{}/../schemas/producers/{}.txt", env!("CARGO_MANIFEST_DIR"), format.name());
        assert!(Path::new(&list).exists(), "no test lists what an import of {} produces in {list}", format.name());
    }
}

/// The columns that have a value in any row of `table`, among `columns`.
async fn filled(importing: &Importing, table: Table, columns: &[&'static str]) -> BTreeSet<&'static str> {
    let mut filled = BTreeSet::new();
    for row in importing.rows(table, &columns.join(", ")).await {
        filled.extend(columns.iter().zip(row).filter(|(_, value)| value != "-").map(|(column, _)| *column));
    }
    filled
}

/// A record with every field of a process: its row has the columns of the mapping, and no others.
#[tokio::test(flavor = "multi_thread")]
async fn the_actor_of_tetragon_has_the_columns_of_its_mapping() {
    let record = r#"{"process_exec":{"process":{"exec_id":"bjoxNzo3","pid":7,"uid":0,"cwd":"/","binary":"/bin/sh",
        "arguments":"-c id","flags":"execve","start_time":"2026-11-24T12:00:00Z","auid":5,
        "pod":{"namespace":"s","name":"p","uid":"u","container":{"id":"containerd://abc","name":"c",
            "image":{"id":"r/i@sha256:12","name":"r/i:1"},"security_context":{"privileged":true}},
            "pod_labels":{"a":"b"},"workload":"w","workload_kind":"Deployment"},
        "docker":"abc","parent_exec_id":"bjo1OjM=","cap":{"effective":["CAP_CHOWN"]},
        "ns":{"mnt":{"inum":1,"is_host":true},"pid":{"inum":2},"net":{"inum":3},"user":{"inum":4}},
        "process_credentials":{"uid":1,"gid":2,"euid":0,"egid":3}},
        "parent":{"exec_id":"bjo1OjM=","pid":3,"binary":"/b/runc","arguments":"exec c"},"ancestors":[{"exec_id":"bjoxOjE=","pid":1}],
        "policy_name":"x"},"node_name":"n","time":"2026-11-24T12:00:00Z","cluster_name":"k"}"#;
    let importing = Importing::new();
    assert_eq!(importing.import("full", record).await.rows, 1);
    let mapping = FORMATS.iter().find(|format| format.name() == "tetragon").unwrap().mapping();
    let columns: Vec<_> = Actor::columns().iter().map(|column| column.name).collect();
    assert_eq!(filled(&importing, Table::ProcessEvents, &columns).await, names(&mapping.actor));
    let by_import = ["date", "ingest_time", "source", "stream", "cpu", "seq", "activity"];
    let mut envelope = names(&mapping.envelope);
    envelope.extend(by_import);
    let columns: Vec<_> = Envelope::columns().iter().map(|column| column.name).collect();
    assert_eq!(filled(&importing, Table::ProcessEvents, &columns).await, envelope);
}
