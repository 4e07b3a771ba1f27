//! Dependencies point one way, and each concern has one home.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What each crate may know of the workspace besides `common`, as `docs/design.md` draws it.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("common", &[]),
    ("schemas", &[]),
    ("session", &[]),
    ("ebpf", &["schemas"]),
    ("transport", &["schemas"]),
    ("lake", &["schemas", "session"]),
    ("collector", &["schemas", "ebpf", "transport"]),
    ("pipeline", &["schemas", "session", "transport", "lake"]),
    ("sinks", &["schemas", "session", "transport"]),
    ("query-service", &["schemas", "session", "lake"]),
    ("detections", &["schemas", "session", "transport", "lake"]),
    ("testbed", &[]),
];

/// Third-party crates that only some of ours may use.
const ONLY_IN: &[(&str, &[&str])] = &[
    // What these are for exists once, in `common`: random waits, lengths of time, nearest names.
    ("fastrand", &["common"]),
    ("rand", &[]),
    ("humantime", &["common"]),
    ("strsim", &["common"]),
    ("aya", &["ebpf"]),
    ("rdkafka", &["transport"]),
    ("fjall", &["transport"]),
    ("deltalake-core", &["lake"]),
    ("kube", &["collector"]),
    ("reqwest", &["sinks", ""]),
    ("rsigma-parser", &["detections"]),
    ("rsigma-ir", &["detections"]),
];

/// The crate's short name; empty for the program itself.
fn short(package: &str) -> &str {
    package.strip_prefix("kerntrail").map_or(package, |name| name.trim_start_matches('-'))
}

/// The dependencies of each package of the workspace, without those of its tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]).arg(root);
    let metadata: Value = serde_json::from_slice(&cargo.output().expect("cargo metadata").stdout).expect("JSON");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let built_with = |package: &Value| {
        let all = package["dependencies"].as_array().expect("a list").iter();
        all.filter(|one| one["kind"] != "dev").map(name).collect()
    };
    let packages = metadata["packages"].as_array().expect("a list").iter();
    packages.map(|package| (short(&name(package)).to_owned(), built_with(package))).collect()
}

#[test]
fn dependencies_point_one_way() {
    let all = dependencies();
    for (name, known) in all.iter().filter(|(name, _)| !name.is_empty()) {
        let (_, may) =
            MAY_KNOW.iter().find(|(have, _)| have == name).unwrap_or_else(|| panic!("{name} is not in the map"));
        for other in known.iter().filter(|other| other.starts_with("kerntrail-")).map(|other| short(other)) {
            assert!(may.contains(&other) || other == "common", "{name} must not know {other}");
        }
    }
}

#[test]
fn a_concern_has_one_home() {
    for (name, known) in dependencies() {
        for (foreign, homes) in ONLY_IN {
            assert!(!known.contains(*foreign) || homes.contains(&name.as_str()), "{name} must not use {foreign}");
        }
    }
}

/// Words of the domain: code that needs one belongs in another crate.
const DOMAIN_WORDS: &[&str] = &[
    "actor",
    "cluster",
    "collector",
    "container",
    "delta",
    "detection",
    "ebpf",
    "ecs",
    "elasticsearch",
    "event",
    "finding",
    "kafka",
    "kernel",
    "kerntrail",
    "kubernetes",
    "lake",
    "namespace",
    "ocsf",
    "parquet",
    "pipeline",
    "pod",
    "sigma",
    "sink",
    "splunk",
    "tenant",
    "tetragon",
];

#[test]
fn the_foundation_has_no_domain_words() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("common/src");
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).expect("common/src") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a file").to_lowercase();
        // Test cases may use names from anywhere.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let words = line.split(|c: char| !c.is_alphabetic());
            let mut words = words.map(|word| word.strip_suffix('s').unwrap_or(word));
            let found = words.find(|word| DOMAIN_WORDS.contains(word));
            assert!(found.is_none(), "{}:{}: {found:?} is a word of the domain", path.display(), number + 1);
        }
        files += 1;
    }
    assert!(files > 1, "{} has no modules", folder.display());
}

#[test]
fn one_version_of_each_dependency_is_written_down_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in MAY_KNOW {
        let folder = if *name == "testbed" { "tests/testbed" } else { name };
        let manifest = std::fs::read_to_string(root.join(folder).join("Cargo.toml")).expect(folder);
        let stray = manifest.lines().find(|line| line.contains("version =") && !line.starts_with("version."));
        assert!(stray.is_none(), "{folder}/Cargo.toml: {stray:?}: versions stand in the workspace's manifest");
    }
}
