//! One golden document per table and activity; `UPDATE_EXPECT=1` writes them instead of comparing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::DataType;
use expect_test::expect_file;
use serde_json::{Value, json};

use super::*;
use crate::cell::Micros;
use crate::identity::{BootHash, BootId, ContainerId, FindingId, PodUid, ProcessUid, RuleId, StreamId};
use crate::tables::{
    Actor, Envelope, FileColumns, FindingColumns, HookColumns, KernelColumns, LossColumns, NetworkColumns, OwnColumns,
    ProcessColumns, Table,
};
use crate::{Columns, TableBuilder};

const BOOT: &str = "59a5a6c4-8f13-4d0b-9a3f-4be4a4a1b9a7";
/// 2026-08-01T12:00:00.123456Z
const TIME: Micros = Micros(1_785_585_600_123_456);

fn envelope(activity: &str) -> Envelope {
    Envelope {
        date: Some(TIME.day()),
        time: Some(TIME),
        boot_ns: Some(81_000_000_123),
        ingest_time: Some(Micros(TIME.0 + 900_000)),
        cluster: Some("prod".into()),
        node: Some("node-1".into()),
        host_id: Some("0123456789abcdef0123456789abcdef".into()),
        boot_id: Some(BootId::new(BOOT)),
        source: Some("kernel"),
        stream: Some(StreamId::of_collector(&BootId::new(BOOT), 70_000)),
        cpu: Some(1),
        seq: Some(42),
        activity: Some(activity.into()),
        action: Some("observed"),
        policy: Some("default".into()),
        count: Some(1),
    }
}

fn uid(start: u64, tgid: u32) -> ProcessUid {
    ProcessUid::new(&BootHash::of(BOOT), start, tgid)
}

fn strings(items: &[&str]) -> Option<Vec<String>> {
    Some(items.iter().map(|item| (*item).to_owned()).collect())
}

/// A shell in a pod, every column known.
fn actor() -> Actor {
    Actor {
        process_uid: Some(uid(900, 77)),
        exec_seq: Some(2),
        pid: Some(77),
        process_name: Some("bash".into()),
        process_path: Some("/usr/bin/bash".into()),
        args: strings(&["bash", "-c", "id; cat /etc/shadow"]),
        args_truncated: Some(false),
        cmd_line: Some("bash -c 'id; cat /etc/shadow'".into()),
        cwd: Some("/root".into()),
        process_start_time: Some(Micros(TIME.0 - 5_000_000)),
        uid: Some(1000),
        gid: Some(1001),
        euid: Some(0),
        egid: Some(1002),
        user_name: Some("root".into()),
        login_uid: Some(1000),
        cap_effective: Some(1 << 21 | 1),
        tty: Some("pts0".into()),
        session_leader_uid: Some(uid(800, 70)),
        group_leader_uid: Some(uid(900, 77)),
        entry_leader_uid: Some(uid(800, 70)),
        entry_type: Some("container_exec".into()),
        parent_process_uid: Some(uid(800, 70)),
        parent_pid: Some(70),
        parent_euid: Some(1000),
        parent_interactive: Some(true),
        parent_path: Some("/bin/sh".into()),
        parent_args: strings(&["sh", "-c", "bash -i"]),
        ancestor_uids: strings(&[&uid(2, 1).to_string()]),
        ancestor_paths: strings(&["/usr/bin/containerd-shim"]),
        container_id: Some(ContainerId::new("c".repeat(64))),
        container_name: Some("web".into()),
        image: Some("registry:5000/team/web:1.2".into()),
        image_digest: Some("sha256:abcd".into()),
        container_privileged: Some(true),
        pod_uid: Some(PodUid::new("7f8d2a9e-0000-4000-8000-000000000001")),
        pod_name: Some("web-5d9".into()),
        namespace: Some("shop".into()),
        pod_labels: Some(BTreeMap::from([
            ("app".into(), "web".into()),
            ("app.kubernetes.io/name".into(), "web".into()),
        ])),
        workload_kind: Some("Deployment".into()),
        workload_name: Some("web".into()),
        service_account: Some("default".into()),
        origin_container_id: Some(ContainerId::new("c".repeat(64))),
        origin_pod_uid: Some(PodUid::new("7f8d2a9e-0000-4000-8000-000000000001")),
        origin_pod_name: Some("web-5d9".into()),
        origin_namespace: Some("shop".into()),
        mnt_ns: Some(4_026_531_841),
        pid_ns: Some(4_026_531_836),
        net_ns: Some(4_026_531_840),
        user_ns: Some(4_026_531_837),
        in_host_mnt_ns: Some(false),
        in_host_pid_ns: Some(false),
        enrichment_state: Some("complete".into()),
    }
}

fn process_columns() -> ProcessColumns {
    ProcessColumns {
        exit_code: Some(3),
        exit_signal: Some(9),
        binary_inode: Some(123),
        binary_dev: Some(8),
        binary_memfd: Some(false),
        stdin_kind: Some("tty".into()),
        stdout_kind: Some("pipe".into()),
    }
}

fn kernel_columns() -> KernelColumns {
    KernelColumns {
        host_ns_entered: Some("mnt".into()),
        source_path: Some("/dev/sda1".into()),
        target_path: Some("/mnt".into()),
        fs_type: Some("ext4".into()),
        flags: Some(1),
        ret: Some(-1),
        ns_type: Some("mnt,pid".into()),
        mount_is_host: Some(true),
        target_process_uid: Some(uid(1, 1)),
        target_pid: Some(1),
        old_uid: Some(0),
        new_uid: Some(0),
        old_cap_effective: Some(1),
        new_cap_effective: Some(2),
        old_mnt_ns: Some(1),
        new_mnt_ns: Some(2),
        old_pid_ns: Some(1),
        new_pid_ns: Some(2),
        old_net_ns: Some(1),
        new_net_ns: Some(2),
        old_user_ns: Some(1),
        new_user_ns: Some(2),
        old_cgroup_id: Some(1),
        new_cgroup_id: Some(2),
    }
}

fn network_columns() -> NetworkColumns {
    NetworkColumns {
        protocol: Some("TCP".into()),
        direction: Some("outbound".into()),
        src_ip: Some("10.0.0.5".into()),
        src_port: Some(41_000),
        dst_ip: Some("169.254.169.254".into()),
        dst_port: Some(80),
        bytes_out: Some(100),
        bytes_in: Some(2_000),
        start_time: Some(Micros(TIME.0 - 1_000)),
        end_time: Some(TIME),
        tcp_state: Some("ESTABLISHED".into()),
        ret: Some(0),
    }
}

fn finding_columns() -> FindingColumns {
    FindingColumns {
        finding_id: Some(FindingId::new("f1")),
        rule_id: Some(RuleId::new("0d1c2b3a-0000-4000-8000-000000000002")),
        rule_name: Some("Shell enters the node".into()),
        rule_version: Some("ab12".into()),
        severity: Some("high".into()),
        risk_score: Some(73),
        attack_tactics: strings(&["privilege_escalation", "TA0005"]),
        attack_techniques: strings(&["T1611", "t1548.001"]),
        first_time: Some(Micros(TIME.0 - 2_000_000)),
        last_time: Some(TIME),
        event_refs: strings(&["process_events/s-0-1", "kernel_events/s-0-2"]),
        group_key: Some("pod=web-5d9".into()),
        message: Some("bash in pod web-5d9 entered the node's namespaces".into()),
        suppressed_count: Some(2),
    }
}

fn hook_columns() -> HookColumns {
    HookColumns {
        function: Some("tcp_sendmsg".into()),
        path: Some("/bin/bash".into()),
        arguments: strings(&["69", "", r#"{"daddr":"10.0.0.1"}"#]),
        ret: Some(3),
        return_value: Some("3".into()),
        message: Some("data leaves the pod".into()),
        tags: strings(&["observability.network"]),
        kernel_stack: strings(&["tcp_sendmsg+5", "sock_sendmsg+100"]),
        user_stack: strings(&["/bin/bash main+16"]),
        hash: Some("sha256:73d1".into()),
        build_id: Some("aabb".into()),
    }
}

fn loss_columns() -> LossColumns {
    LossColumns {
        from_seq: Some(10),
        to_seq: Some(19),
        lost: Some(10),
        start_time: Some(Micros(TIME.0 - 1_000_000)),
        end_time: Some(TIME),
        event_kind: Some("exec".into()),
    }
}

/// One row, through the builders and [`rows`].
fn row<Own: OwnColumns>(activity: &str, actor: Option<Actor>, own: &Own) -> Row {
    let mut builder = TableBuilder::<Own>::default();
    builder.append(&envelope(activity), actor.map(Arc::new).as_ref(), own);
    rows(&builder.finish().unwrap().flatten().unwrap()).unwrap().remove(0)
}

#[test]
fn each_table_has_a_golden_document() {
    let with_document: Vec<Table> = cases().into_iter().map(|(_, table, _)| table).collect();
    for table in Table::ALL {
        assert!(with_document.contains(table), "{table} is in none of the cases below");
    }
}

/// Rows worth a golden document: name, table, row.
fn cases() -> Vec<(&'static str, Table, Row)> {
    let file = FileColumns {
        path: Some("/etc/new.conf".into()),
        old_path: Some("/etc/old".into()),
        mode: Some(0o644),
        flags: Some(2),
        bytes: Some(9),
    };
    let refused =
        NetworkColumns { ret: Some(-111), bytes_in: None, bytes_out: None, end_time: None, ..network_columns() };
    let inbound = NetworkColumns {
        direction: Some("inbound".into()),
        src_ip: Some("fd00::1".into()),
        dst_ip: Some("fd00::2".into()),
        ..network_columns()
    };
    let none = ProcessColumns::default();
    vec![
        ("process_events.exec", Table::ProcessEvents, row("exec", Some(actor()), &process_columns())),
        ("process_events.fork", Table::ProcessEvents, row("fork", Some(actor()), &none)),
        ("process_events.exit", Table::ProcessEvents, row("exit", Some(actor()), &process_columns())),
        (
            "process_events.existing",
            Table::ProcessEvents,
            row("existing", Some(Actor { pid: Some(1), ..Actor::default() }), &none),
        ),
        ("file_events.rename", Table::FileEvents, row("rename", Some(actor()), &file)),
        ("kernel_events.setns", Table::KernelEvents, row("setns", Some(actor()), &kernel_columns())),
        ("network_flows.close", Table::NetworkFlows, row("close", Some(actor()), &network_columns())),
        ("network_flows.connect_refused", Table::NetworkFlows, row("connect", Some(actor()), &refused)),
        ("network_flows.accept", Table::NetworkFlows, row("accept", None, &inbound)),
        ("hook_events.kprobe", Table::HookEvents, row("kprobe", Some(actor()), &hook_columns())),
        ("findings.create", Table::Findings, row("create", Some(actor()), &finding_columns())),
        ("event_loss.ring_full", Table::EventLoss, row("ring_full", None, &loss_columns())),
    ]
}

fn check(profile: &str, name: &str, mut document: Value) {
    let version = document.pointer_mut("/metadata/product/version");
    if let Some(version) = version {
        *version = "VERSION".into();
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/mapping/golden/{profile}/{name}.json"));
    expect_file![golden].assert_eq(&format!("{:#}\n", sorted(&document)));
}

/// The same document, keys in order, whatever map `serde_json` was built with.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let ordered: BTreeMap<&String, &Value> = fields.iter().collect();
            Value::Object(ordered.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[test]
fn ocsf_documents_match_the_golden_files() {
    for (name, table, row) in cases() {
        check("ocsf", name, ocsf::map(table, &row));
    }
}

#[test]
fn ecs_documents_match_the_golden_files() {
    for (name, table, row) in cases() {
        check("ecs", name, ecs::map(table, &row, "default"));
    }
}

/// Each leaf of `value` as text.
fn leaves(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            into.push(key.clone());
            leaves(value, into);
        }),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, into)),
        Value::String(text) => into.push(text.clone()),
        other => into.push(other.to_string()),
    }
}

/// Every text column is filled with its own name, in turn alone: its value must be somewhere in both documents.
#[test]
fn no_column_is_lost() {
    for &table in Table::ALL {
        for column in table.columns() {
            let value = match column.data_type {
                DataType::Utf8 => json!(format!("value of {}", column.name)),
                DataType::List(_) => json!([format!("value of {}", column.name)]),
                DataType::Map(..) => json!({"key": format!("value of {}", column.name)}),
                DataType::Int32 | DataType::Int64 => json!(7_654_321),
                _ => continue,
            };
            // Only beside its pod is a workload's name a field of ECS.
            let row = Row::from_iter([(column.name.to_owned(), value)]);
            for document in [ocsf::map(table, &row), ecs::map(table, &row, "default")] {
                let mut found = Vec::new();
                leaves(&document, &mut found);
                let is_there = found.iter().any(|leaf| {
                    let leaf = leaf.to_lowercase();
                    leaf.contains(&format!("value of {}", column.name))
                        || leaf.contains("7654321")
                        || leaf == column.name
                });
                // Event ids and the capability mask change their form; the others do not.
                let changes_form = column.name == "cap_effective";
                assert!(is_there || changes_form, "{table}.{} is not in {document:#}", column.name);
            }
        }
    }
}

/// A value that a column of `data_type` can hold; another one for each `number`.
fn sample(data_type: &DataType, number: i64) -> Value {
    match data_type {
        DataType::Boolean => json!(number == 1),
        DataType::Int32 | DataType::Int64 => json!(7_654_321 + number),
        DataType::Timestamp(..) => json!(TIME.0 + number * 1_000_000),
        DataType::Date32 => json!(format!("2026-08-0{}", number + 1)),
        DataType::List(_) => json!([format!("value {number}")]),
        DataType::Map(..) => json!({"key": format!("value {number}")}),
        _ => json!(format!("value {number}")),
    }
}

/// Two rows that differ in one column become documents that differ, whichever column it is: in a row that has only
/// this column, and in a row of each activity that has them all. What `LEFT_OUT` names is in no document.
#[test]
fn every_column_is_in_the_documents_or_left_out_by_name() {
    for &table in Table::ALL {
        let columns = table.columns();
        let mut rows = vec![Row::new()];
        for activity in table.activities() {
            let mut full: Row = columns.iter().map(|c| (c.name.to_owned(), sample(&c.data_type, 0))).collect();
            full.insert("activity".into(), activity.name.into());
            rows.push(full);
        }
        for (column, row) in columns.iter().flat_map(|column| rows.iter().map(move |row| (column, row))) {
            let with = |number| {
                let mut row = row.clone();
                row.insert(column.name.to_owned(), sample(&column.data_type, number));
                (ocsf::map(table, &row), ecs::map(table, &row, "default"))
            };
            let (one, other) = (with(0), with(1));
            let left_out = |list: &[(&str, &str)]| list.iter().any(|(name, _)| *name == column.name);
            let activity = row.get("activity").and_then(Value::as_str).unwrap_or("alone");
            let name = format!("{table}.{} ({activity})", column.name);
            assert_eq!(one.0 == other.0, left_out(ocsf::LEFT_OUT), "OCSF: {name}");
            assert_eq!(one.1 == other.1, left_out(ecs::LEFT_OUT), "ECS: {name}");
        }
    }
}

#[test]
fn placements_name_existing_columns() {
    for &table in Table::ALL {
        let declaration = table.declaration();
        for (column, ..) in declaration.ocsf.columns.iter().chain(declaration.ecs.columns) {
            assert!(table.own_columns().iter().any(|own| own.name == *column), "{table} has no column {column}");
        }
    }
}

/// A time without a place would arrive as a bare number of µs.
#[test]
fn every_time_is_mapped() {
    for &table in Table::ALL {
        for column in table.columns().iter().filter(|column| matches!(column.data_type, DataType::Timestamp(..))) {
            let row = Row::from_iter([(column.name.to_owned(), json!(TIME.0))]);
            assert!(ocsf::map(table, &row).get("unmapped").is_none(), "{table}.{}", column.name);
            assert!(ecs::map(table, &row, "default").get("kerntrail").is_none(), "{table}.{}", column.name);
        }
    }
}

#[test]
fn an_empty_row_maps_to_a_document_without_invented_values() {
    for &table in Table::ALL {
        let ocsf = ocsf::map(table, &Row::new());
        assert_eq!(ocsf["activity_id"], 0, "{table}");
        assert!(ocsf.get("time").is_none() && ocsf["metadata"].get("uid").is_none(), "{table}");
        assert!(ecs::map(table, &Row::new(), "default").get("@timestamp").is_none(), "{table}");
    }
}

#[test]
fn absent_columns_are_absent_from_rows() {
    let row = row("exit", None, &ProcessColumns { exit_code: Some(0), ..ProcessColumns::default() });
    assert_eq!(row["exit_code"], 0);
    assert_eq!(row["date"], "2026-08-01");
    assert!(!row.contains_key("pid"));
    assert_eq!(event_id(&row).unwrap(), format!("{BOOT}+70000-1-42"));
    assert_eq!(row.len(), Envelope::columns().len() + 1);
}
