//! Crates depend on each other only as declared, and each concern is handled in one place only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

/// The workspace crates that each crate may use besides `common`, as in `docs/design.md`.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("common", &[]),
    ("schemas", &[]),
    ("session", &[]),
    ("ebpf", &[]),
    ("transport", &["schemas"]),
    ("lake", &["schemas", "session"]),
    ("collector", &["schemas", "ebpf", "transport"]),
    ("pipeline", &["schemas", "session", "transport", "lake"]),
    ("sinks", &["schemas", "session", "transport"]),
    ("query-engine", &["session"]),
    ("query-service", &["schemas", "lake", "query-engine"]),
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
    ("axum", &["query-service", "testbed", ""]),
    ("hyper", &["query-service", "testbed"]),
];

/// Folders of a crate's sources that are layers: each names only those before it.
const LAYERS: &[(&str, &[&str])] = &[("query-service/src", &["history", "stories", "server", "isolation"])];

/// Types that DataFusion's settings come with; only `session/` makes them.
const SESSIONS: [&str; 3] = ["SessionContext", "SessionConfig", "SessionStateBuilder"];

/// The crate's short name; empty for the program itself.
fn short(package: &str) -> &str {
    package.strip_prefix("kerntrail").map_or(package, |name| name.trim_start_matches('-'))
}

/// The crate's folder in the workspace.
fn folder(name: &str) -> &str {
    match name {
        "query-engine" => "query-service/engine",
        "testbed" => "tests/testbed",
        name => name,
    }
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
fn dependencies_match_the_declared_ones() {
    let all = dependencies();
    for (name, known) in all.iter().filter(|(name, _)| !name.is_empty()) {
        let (_, may) =
            MAY_KNOW.iter().find(|(have, _)| have == name).unwrap_or_else(|| panic!("{name} is not in the map"));
        for other in known.iter().filter(|other| other.starts_with("kerntrail-")).map(|other| short(other)) {
            assert!(may.contains(&other) || other == "common", "{name} must not know {other}");
        }
        for drawn in *may {
            assert!(known.contains(&format!("kerntrail-{drawn}")), "{name} is drawn to know {drawn}, and does not");
        }
    }
}

#[test]
fn the_design_draws_these_dependencies() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/design.md");
    let page = std::fs::read_to_string(page).expect("docs/design.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|row| row.split_once("` |"));
    let drawn = |name: &str| {
        let (_, rest) = rows.clone().find(|(crate_folder, _)| *crate_folder == folder(name))?;
        let knows = rest.split('|').nth(1)?.split(',').map(|known| known.trim().trim_matches('`').to_owned());
        Some(knows.filter(|known| !known.is_empty()).collect::<BTreeSet<_>>())
    };
    for (name, may) in MAY_KNOW.iter().filter(|(name, _)| *name != "testbed") {
        let expected = may.iter().map(|known| folder(known).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(drawn(name), Some(expected), "docs/design.md, row of {name}");
    }
}

#[test]
fn the_design_names_each_file_of_the_kernel_side() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/design.md")).expect("docs/design.md");
    for file in std::fs::read_dir(root.join("ebpf/bpf")).expect("ebpf/bpf") {
        let name = file.expect("a file").file_name().into_string().expect("a name");
        // This one only includes the others.
        if name != "kerntrail.bpf.c" {
            let row = page.lines().any(|line| line.starts_with("| `") && line.contains(&format!("`{name}`")));
            assert!(row, "docs/design.md, \"What the kernel programs see\", has no row for {name}");
        }
    }
}

#[test]
fn libraries_are_used_only_where_they_belong() {
    for (name, known) in dependencies() {
        for (foreign, homes) in ONLY_IN {
            assert!(!known.contains(*foreign) || homes.contains(&name.as_str()), "{name} must not use {foreign}");
        }
    }
}

/// Names of import formats and of kinds of sinks.
static KINDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["pipeline/src/import/formats", "sinks/src/kinds"].map(|folder| root.join(folder));
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).expect("a folder"));
    let names =
        files.map(|file| file.expect("a file").path().file_stem().expect("a name").to_string_lossy().into_owned());
    names.filter(|name| name != "mod").collect()
});

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

/// The first word of `line`, which is in lower case, that is of the domain or the plural of one that is.
fn domain_word(line: &str) -> Option<&str> {
    let is_of_domain = |word: &str| DOMAIN_WORDS.contains(&word) || KINDS.iter().any(|kind| kind == word);
    let mut words = line.split(|c: char| !c.is_alphabetic());
    words.find(|word| is_of_domain(word) || word.strip_suffix('s').is_some_and(is_of_domain))
}

#[test]
fn domain_words_are_detected() {
    for (line, found) in [
        ("/// labels in kubernetes.", Some("kubernetes")),
        ("/// fields of ecs", Some("ecs")),
        ("let pod_name = 1;", Some("pod")),
        ("fn waits_for_sinks() {}", Some("sinks")),
        ("/// a podium and its process", None),
    ] {
        assert_eq!(domain_word(line), found, "{line}");
    }
}

#[test]
fn the_foundation_has_no_domain_words() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("common/src");
    let (mut files, mut left) = (0, vec![folder.clone()]);
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
            continue;
        }
        // Test cases may use names from anywhere.
        if path.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a file").to_lowercase();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let found = domain_word(line);
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
        let folder = folder(name);
        let manifest = std::fs::read_to_string(root.join(folder).join("Cargo.toml")).expect(folder);
        let stray = manifest.lines().find(|line| line.contains("version =") && !line.starts_with("version."));
        assert!(stray.is_none(), "{folder}/Cargo.toml: {stray:?}: versions stand in the workspace's manifest");
    }
}

/// Every Rust file below `folder`, with its path from there.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap_or_else(|error| panic!("{}: {error}", next.display())) {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).expect("text");
                found.push((path.strip_prefix(folder).expect("it is below").to_owned(), text));
            }
        }
    }
    found
}

/// The module that a file of a crate's `src` holds: `stories/tree/mod.rs` is `["stories", "tree"]`.
fn module(file: &Path) -> Vec<String> {
    let mut parts: Vec<String> = file.with_extension("").iter().map(|part| part.to_string_lossy().into()).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts
}

/// The top modules of its own crate that the code of `file` names, by `crate::` or by enough `super::`.
fn named(file: &Path, code: &str) -> BTreeSet<String> {
    let depth = module(file).len();
    let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut roots: Vec<&str> = code.split("crate::").skip(1).collect();
    roots.extend(code.split(&"super::".repeat(depth.max(1))).skip(1).filter(|_| depth > 0));
    let first = |path: &str| {
        let name = path.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        name.to_owned()
    };
    let of_group = |group: &str| {
        let (mut level, mut items) = (0, vec![String::new()]);
        for c in group.chars() {
            match c {
                '{' => level += 1,
                '}' if level == 0 => break,
                '}' => level -= 1,
                ',' if level == 0 => items.push(String::new()),
                _ => items.last_mut().expect("one at least").push(c),
            }
        }
        items.iter().map(|item| first(item)).collect::<Vec<_>>()
    };
    let names = roots.into_iter().flat_map(|path| match path.strip_prefix('{') {
        Some(group) => of_group(group),
        None => vec![first(path)],
    });
    names.filter(|name| !name.is_empty()).collect()
}

/// The layers behind its own that the code of `file` names.
fn named_behind(layers: &[&str], file: &Path, code: &str) -> Vec<String> {
    let own = module(file).first().and_then(|own| layers.iter().position(|layer| layer == own));
    let Some(own) = own else { return Vec::new() };
    named(file, code).into_iter().filter(|name| layers[own + 1..].contains(&name.as_str())).collect()
}

#[test]
fn a_layer_uses_only_layers_before_it() {
    for (folder, layers) in LAYERS {
        let files = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        for layer in *layers {
            assert!(files.iter().any(|(file, _)| file.starts_with(layer)), "{folder} has no layer {layer}");
        }
        for (file, code) in files {
            let behind = named_behind(layers, &file, &code);
            assert!(behind.is_empty(), "{folder}/{} must not know {behind:?}", file.display());
        }
    }
}

#[test]
fn uses_in_the_wrong_direction_are_detected() {
    let layers = ["history", "stories", "server"];
    for (file, code, behind) in [
        ("stories/tree/mod.rs", "use crate::server::router;", &["server"][..]),
        ("stories/tree/mod.rs", "use crate::{history::Tables, server::{router, serve}};", &["server"]),
        ("history/mod.rs", "fn f() { crate::stories::timeline::timeline(); }", &["stories"]),
        ("history/views.rs", "use super::super::server;", &["server"]),
        ("stories/timeline/mod.rs", "use super::super::server::Callers;", &["server"]),
        ("stories/timeline/mod.rs", "use super::tree;\nuse crate::history::Tables;\n// crate::server", &[]),
        ("server/story.rs", "use crate::stories::tree;", &[]),
        ("lib.rs", "pub use crate::server::router;", &[]),
    ] {
        assert_eq!(named_behind(&layers, Path::new(file), code), behind, "{file}: {code}");
    }
}

#[test]
fn only_the_session_crate_makes_sessions() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, code) in sources(root).into_iter().filter(|(file, _)| !file.starts_with("session")) {
        for name in SESSIONS {
            let makes = [format!("{name}::new"), format!("{name}::default"), format!("{name}::from_")];
            let made = makes.iter().find(|made| code.contains(made.as_str()));
            assert!(made.is_none(), "{}: {made:?}: use kerntrail_session", file.display());
        }
    }
}
