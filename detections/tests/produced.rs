//! Everything that rules make: each activity and each column of `findings`.

use expect_test::expect_file;
use kerntrail_schemas::Table;
use kerntrail_schemas::produced::Produced;
use serde_json::json;

use crate::cursor::{SEQUENCE, a_minute_passes};
use crate::support::Bench;

#[tokio::test]
async fn the_list_of_activities_and_columns_of_rules_is_current() {
    let bench = Bench::new();
    let common = json!({"container_id": "c1", "cluster": "prod", "boot_id": "b"});
    let event = |own: serde_json::Value| {
        let mut row = common.clone();
        row.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        row
    };
    bench.event(Table::ProcessEvents, 100, event(json!({"activity": "exec", "process_path": "/first"}))).await;
    bench.event(Table::KernelEvents, 101, event(json!({"activity": "setns"}))).await;
    // Tags give the attack columns.
    let rules = SEQUENCE
        .replace("kerntrail: {suppress: {within: never}}\n", "")
        .replace("id: rule-2\n", "id: rule-2\ntags: [attack.privilege_escalation, attack.t1611]\n");
    assert_eq!(bench.detector(&rules).pass().await.unwrap(), 1);
    // The same again is an update, once its time has come.
    bench.event(Table::ProcessEvents, 200, event(json!({"activity": "exec", "process_path": "/first"}))).await;
    bench.event(Table::KernelEvents, 201, event(json!({"activity": "setns"}))).await;
    assert_eq!(bench.detector(&rules).pass().await.unwrap(), 0);
    a_minute_passes(&bench);
    assert_eq!(bench.detector(&rules).pass().await.unwrap(), 0);
    let mut produced = Produced::default();
    for rows in bench.findings() {
        produced.add(Table::Findings, &rows);
    }
    let list = expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/producers/rules.txt")];
    list.assert_eq(&produced.listing());
}
