//! Checks the files in `deploy/`: the systemd unit by systemd's grammar, the configuration by the program itself.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};

use crate::program::Program;

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

#[test]
fn the_example_configuration_is_accepted() {
    let program = Program::new();
    let output =
        program.command(&["config", "check"]).env("KERNTRAIL_CONFIG", deploy("kerntrail.toml")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 sink)"));
}

#[test]
fn the_schema_describes_the_settings_without_a_configuration() {
    let program = Program::new();
    let output = program.command(&["config", "schema"]).env("KERNTRAIL_CONFIG", "/no/such/file.toml").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["properties"]["query"]["properties"]["memory"]["default"], "512MiB");
    assert_eq!(schema["properties"]["sinks"]["items"]["oneOf"].as_array().unwrap().len(), 3);
}

#[test]
fn a_closed_pipe_ends_the_output_quietly() {
    let program = Program::new();
    for args in [["config", "schema"], ["config", "show"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = program.command(&args).stdout(writer).output().unwrap();
        assert_eq!(output.status.signal(), Some(libc::SIGPIPE), "{args:?}: {}", output.status);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
    }
}

#[test]
fn the_unit_starts_the_program_and_lets_it_drain() {
    let text = std::fs::read_to_string(deploy("kerntrail.service")).unwrap();
    let sections = parse_unit(&text);
    let service = &sections["Service"];
    assert!(service["ExecStart"].ends_with("kerntrail run"));
    assert_eq!(service["KillSignal"], "SIGTERM");
    assert!(service["CapabilityBoundingSet"].split(' ').any(|capability| capability == "CAP_BPF"));
    assert_eq!(sections["Install"]["WantedBy"], "multi-user.target");
}

/// Sections and their `Key=Value` lines (systemd.syntax(7)); panics on anything else.
fn parse_unit(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut section = None;
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = Some(name.to_owned());
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("no key: {line}"));
        assert!(key.chars().all(char::is_alphanumeric), "no key: {line}");
        let section = section.clone().expect("a line outside a section");
        sections.entry(section).or_default().insert(key.into(), value.into());
    }
    sections
}
