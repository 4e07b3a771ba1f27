//! OpenSearch: a data stream, bulk items that are refused, and documents that survive a restart.

use kerntrail_testbed::{OpenSearch, require};
use serde_json::json;

#[test]
fn opensearch_keeps_a_data_stream_over_a_restart() {
    if !require::java() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut node = OpenSearch::start(dir.path()).unwrap();
    let template = json!({
        "index_patterns": ["logs-*"], "data_stream": {},
        "template": {"settings": {"number_of_replicas": 0}, "mappings": {"properties": {"n": {"type": "long"}}}},
    });
    node.put("/_index_template/logs", &template).unwrap().success().unwrap();
    assert!(node.documents("logs-none").unwrap().is_empty());

    let item = |id: &str, n: &str| {
        format!(
            "{{\"create\":{{\"_index\":\"logs-test\",\"_id\":\"{id}\"}}}}\n{{\"@timestamp\":\"2026-01-01T00:00:00Z\",\"n\":{n}}}\n"
        )
    };
    let lines = item("a", "1") + &item("b", "\"no number\"") + &item("a", "1");
    let answer = node.bulk(&lines).unwrap().success().unwrap().json().unwrap();
    let items = answer["items"].as_array().unwrap();
    let statuses: Vec<_> = items.iter().map(|item| item["create"]["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 400, 409]);

    let more: String = (0..2500).map(|n| item(&format!("more-{n}"), &n.to_string())).collect();
    assert_eq!(node.bulk(&more).unwrap().success().unwrap().json().unwrap()["errors"], false);
    assert_eq!(node.documents("logs-test").unwrap().len(), 2501);

    let before = node.url();
    node.stop().unwrap();
    assert!(node.get("/").is_err());
    node.start_again().unwrap();
    assert_eq!(node.url(), before);
    assert_eq!(node.documents("logs-test").unwrap().len(), 2501);
    node.kill();
    node.start_again().unwrap();
    assert_eq!(node.documents("logs-test").unwrap().len(), 2501);
}
