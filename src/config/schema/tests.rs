use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;
use crate::config::{Overrides, load};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the schema says against the configuration `text`; empty where it fits.
fn error_of(text: &str) -> String {
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("kerntrail.json", schema()).unwrap();
    let index = compiler.compile("kerntrail.json", &mut schemas).unwrap();
    let document = serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap();
    schemas.validate(&document, index).err().map(|error| error.to_string()).unwrap_or_default()
}

/// The TOML examples of the Markdown pages, each with its page.
fn examples() -> Vec<(PathBuf, String)> {
    let pages = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.chain(["README.md", "CONTRIBUTING.md"].map(|page| root().join(page)));
    let mut found = Vec::new();
    for page in pages.filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
        let text = std::fs::read_to_string(&page).unwrap();
        for example in text.split("```toml\n").skip(1) {
            found.push((page.clone(), example.split("```").next().unwrap().to_owned()));
        }
    }
    found
}

#[test]
fn the_shipped_configuration_and_the_examples_are_valid() {
    let shipped = root().join("deploy/kerntrail.toml");
    let mut all = examples();
    assert!(!all.is_empty(), "the documentation has no example of a configuration");
    all.push((shipped.clone(), std::fs::read_to_string(shipped).unwrap()));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    for (page, text) in all {
        assert_eq!(error_of(&text), "", "{}:\n{text}", page.display());
        std::fs::write(&file, &text).unwrap();
        load(Some(&file), &Overrides::default()).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    }
}

#[test]
fn configurations_that_the_schema_refuses() {
    let sink = |keys: &str| format!("[[sinks]]\nname = \"s\"\n{keys}");
    assert_eq!(error_of(""), "");
    assert_eq!(error_of(&sink("kind = \"splunk_hec\"\nurl = \"https://s\"\ntoken = { env = \"T\" }")), "");
    for (text, part) in [
        ("tenent = \"a\"".to_owned(), "tenent"),
        ("tenant = \"../up\"".to_owned(), "/tenant"),
        ("[node]\nnmae = \"a\"".to_owned(), "nmae"),
        ("[node]\npid = 0".to_owned(), "/node/pid"),
        ("[collector]\nring_size = 65536".to_owned(), "/collector/ring_size"),
        ("[log]\nkind = \"kafak\"".to_owned(), "/log/kind"),
        ("[lake]\nflush_interval = 5".to_owned(), "/lake/flush_interval"),
        ("[lake]\nflush_interval = \"5\"".to_owned(), "/lake/flush_interval"),
        ("[query]\nmemory = \"much\"".to_owned(), "/query/memory"),
        ("[query]\nmax_running = 3".to_owned(), "max_running"),
        (sink(""), "/sinks/0"),
        (sink("kind = \"splunk\""), "/sinks/0"),
        (sink("kind = \"ndjson\""), "path"),
        (sink("kind = \"ndjson\"\npath = \"/x\"\nurl = \"http://x\""), "url"),
        (sink("kind = \"ndjson\"\npath = \"/x\"\nbatch_event = 3"), "batch_event"),
        (sink("kind = \"ndjson\"\npath = \"/x\"\nbatch_events = 0"), "batch_events"),
        (sink("kind = \"ndjson\"\npath = \"/x\"\ntables = [\"process_event\"]"), "tables"),
    ] {
        let error = error_of(&text);
        assert!(error.contains(part), "{text}: {error:?}");
    }
}

fn value_paths(prefix: &str, value: &toml::Value, into: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) if !table.is_empty() => {
            for (key, value) in table {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                value_paths(&path, value, into);
            }
        }
        _ => {
            into.insert(prefix.to_owned());
        }
    }
}

#[test]
fn the_list_has_exactly_the_settings_of_the_configuration() {
    let mut have = BTreeSet::new();
    value_paths("", &toml::Value::try_from(Config::default()).unwrap(), &mut have);
    // Sinks are tables of their own, with keys of their own.
    assert!(have.remove("sinks"));
    let listed: BTreeSet<String> = SETTINGS.iter().map(|setting| setting.path.clone()).collect();
    assert_eq!(have, listed);
}

#[test]
fn no_two_settings_share_a_flag() {
    let flags: BTreeSet<String> = SETTINGS.iter().map(Setting::flag).collect();
    assert_eq!(flags.len(), SETTINGS.len());
}

#[test]
fn every_setting_is_documented() {
    let tables = sink_keys();
    let sinks = tables.iter().flat_map(|table| &table.keys);
    for setting in SETTINGS.iter().chain(sinks) {
        assert!(!setting.doc.is_empty(), "{} has no documentation", setting.path);
    }
    assert!(tables.iter().skip(1).all(|table| table.kind.is_some() && !table.doc.is_empty()));
}

#[test]
fn text_becomes_the_type_of_the_setting() {
    let setting = |path: &str| SETTINGS.iter().find(|setting| setting.path == path).unwrap();
    for (path, text, value) in [
        ("tenant", "7", toml::Value::from("7")),
        ("node.pid", "7", 7.into()),
        ("collector.enabled", "false", false.into()),
        ("collector.mask", "[\"a\"]", vec!["a"].into()),
        ("http.listen", "127.0.0.1:1", "127.0.0.1:1".into()),
        ("node.pid", "one", "one".into()),
    ] {
        assert_eq!(setting(path).value(text), value, "{path}");
    }
}
