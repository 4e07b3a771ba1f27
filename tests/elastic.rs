//! Delivery to OpenSearch's bulk API: a refused record among good ones, a restart of the server, dead letters.

use kerntrail_testbed::opensearch::OpenSearch;
use kerntrail_testbed::require;
use serde_json::json;

use crate::program::{Program, wait_for, write};
use crate::tetragon::exec;

const STREAMS: &str = "logs-kerntrail.process_events-default";

fn ids(server: &OpenSearch) -> Result<Vec<String>, String> {
    let documents = server.documents(STREAMS).map_err(|error| format!("{error:#}"))?;
    let mut ids: Vec<String> =
        documents.iter().map(|document| document["_id"].as_str().unwrap_or_default().to_owned()).collect();
    ids.sort();
    Ok(ids)
}

fn wait_for_ids(server: &OpenSearch, wanted: &[String]) {
    wait_for("the documents are there", || {
        let have = ids(server)?;
        if have.len() >= wanted.len() { Ok(()) } else { Err(format!("{} of {}", have.len(), wanted.len())) }
    });
    assert_eq!(ids(server).unwrap(), wanted);
}

#[test]
fn every_row_arrives_once_and_a_refused_one_becomes_a_dead_letter() {
    if !require::root() || !require::java() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut server = OpenSearch::start(folder.path()).expect("OpenSearch");
    // A template of the operator with a higher priority than ours, which gives one field another type.
    let template = json!({
        "index_patterns": ["logs-kerntrail.*"], "priority": 1000, "data_stream": {},
        "template": {"mappings": {"properties": {"process": {"properties": {"working_directory": {"type": "ip"}}}}}},
    });
    server.put("/_index_template/mine", &template).and_then(|answer| answer.success()).expect("the template");
    let program = Program::new();
    std::fs::create_dir_all(program.data_dir()).unwrap();
    let config = format!(
        "[[sinks]]\nname = \"search\"\nkind = \"elasticsearch\"\nurl = \"{}\"\nbackoff_max_ms = 500\n",
        server.url()
    );
    let file = write(&program.data_dir(), "c.toml", config.as_bytes());
    let config = ["--config", file.to_str().unwrap(), "--collector-enabled=false"];
    let running = program.start(&config);
    // That type accepts working directories that are IP addresses and refuses any other.
    let with_cwd = |from, to, odd: Option<u64>| {
        let text: String = (from..to)
            .map(|number| {
                exec(number).replace(
                    "\"cwd\":\"/\"",
                    if odd == Some(number) { "\"cwd\":\"/tmp\"" } else { "\"cwd\":\"10.0.0.1\"" },
                ) + "\n"
            })
            .collect();
        let file = write(&program.data_dir(), "in.json", text.as_bytes());
        program.run(&["replay", "-q", file.to_str().unwrap()]);
    };
    with_cwd(0, 300, Some(42));
    let wanted = || {
        let mut ids = program.rows("select event_id from process_events where cwd <> '/tmp'");
        ids.sort();
        ids
    };
    wait_for_ids(&server, &wanted());
    server.stop().expect("OpenSearch stops");
    with_cwd(300, 600, None);
    server.start_again().expect("OpenSearch");
    wait_for_ids(&server, &wanted());
    assert_eq!(wanted().len(), 599);
    let listed = program.run(&["sinks", "dlq", "list", "-o", "csv", config[0], config[1]]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains("working_directory"), "the server's words are missing: {listed}");
    assert_eq!(running.terminate(), 0);
}
