//! Dependencies point one way: a crate knows only what is left of it.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// What each crate may know of the workspace, as `docs/design.md` draws it.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("schemas", &[]),
    ("ebpf", &["schemas"]),
    ("transport", &["schemas"]),
    ("lake", &["schemas"]),
    ("collector", &["schemas", "ebpf", "transport"]),
    ("pipeline", &["schemas", "transport", "lake"]),
    ("sinks", &["schemas", "transport"]),
    ("query-service", &["schemas", "lake"]),
    ("detections", &["schemas", "transport", "lake", "query-service"]),
    ("testbed", &[]),
];

/// Crates of others that only some of ours may use.
const ONLY_IN: &[(&str, &[&str])] = &[
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

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata");
    let normal = |package: &cargo_metadata::Package| {
        let kinds = [DependencyKind::Normal, DependencyKind::Build];
        package.dependencies.iter().filter(|one| kinds.contains(&one.kind)).map(|one| one.name.clone()).collect()
    };
    metadata.packages.iter().map(|package| (short(&package.name).to_owned(), normal(package))).collect()
}

#[test]
fn a_crate_knows_only_what_is_left_of_it() {
    let all = dependencies();
    for (name, known) in all.iter().filter(|(name, _)| !name.is_empty()) {
        let (_, may) = MAY_KNOW.iter().find(|(have, _)| have == name).unwrap_or_else(|| panic!("{name} is not in the map"));
        for other in known.iter().filter(|other| other.starts_with("kerntrail-")).map(|other| short(other)) {
            assert!(may.contains(&other), "{name} must not know {other}");
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

#[test]
fn one_version_of_each_dependency_is_written_down_once() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in MAY_KNOW {
        let folder = if *name == "testbed" { "tests/testbed" } else { name };
        let manifest = std::fs::read_to_string(root.join(folder).join("Cargo.toml")).expect(folder);
        for line in manifest.lines().filter(|line| line.contains("version =") && !line.starts_with("version.")) {
            panic!("{folder}/Cargo.toml: `{line}`: versions stand in the workspace's manifest");
        }
    }
}
