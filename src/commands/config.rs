//! `kerntrail config`: checks and shows the configuration, and describes it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use kerntrail_common::error::chain;
use kerntrail_common::words::counted;

#[cfg(test)]
use crate::config::Setting;
use crate::config::{Config, SETTINGS, schema, sink_keys};
use crate::parts;

/// Checks everything that the configuration names, without starting anything.
pub fn check(config: &Config, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let rules = parts::rules(config)?;
    parts::check_paths(config)?;
    parts::sinks::check(config)?;
    let from = file.map_or_else(|| "built-in defaults".to_owned(), |path| path.display().to_string());
    for error in rules.refused().chain(parts::exceptions(config)?.refused()) {
        eprintln!("kerntrail: not used: {}", chain(error));
    }
    let (rules, refused) = (rules.iter().count(), rules.refused().len());
    let refused = if refused == 0 { String::new() } else { format!(", {refused} cannot be used") };
    let (rules, sinks) = (counted(rules, "rule"), counted(config.sinks()?.len(), "sink"));
    println!("{from}: ok ({rules}{refused}, {sinks})");
    Ok(ExitCode::SUCCESS)
}

/// Prints the JSON Schema of the configuration file.
pub fn print_schema() -> anyhow::Result<ExitCode> {
    let schema = serde_json::to_string_pretty(&schema())?;
    writeln!(std::io::stdout(), "{schema}").context("cannot write the schema")?;
    Ok(ExitCode::SUCCESS)
}

/// Prints every setting with its present value and meaning, as a configuration file; secrets are `***`.
pub fn show(config: &Config) -> anyhow::Result<ExitCode> {
    config.sinks()?;
    let values = toml::Value::try_from(config)?;
    let mut shown = String::new();
    let mut section = "";
    for setting in SETTINGS.iter() {
        let (parent, key) = setting.path.rsplit_once('.').unwrap_or(("", &setting.path));
        if parent != section {
            section = parent;
            writeln!(shown, "\n[{section}]")?;
        }
        let value = setting.path.split('.').try_fold(&values, |value, key| value.get(key));
        writeln!(shown, "# {}\n{key} = {}", setting.doc, value.map(toml::Value::to_string).unwrap_or_default())?;
    }
    for sink in values.get("sinks").and_then(toml::Value::as_array).into_iter().flatten() {
        show_sink(sink, &mut shown)?;
    }
    std::io::stdout().write_all(shown.as_bytes()).context("cannot write the configuration")?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the keys that have a value: name and kind, those that every sink has, those of the kind.
fn show_sink(sink: &toml::Value, shown: &mut String) -> std::fmt::Result {
    writeln!(shown, "\n[[sinks]]")?;
    for key in ["name", "kind"] {
        writeln!(shown, "{key} = {}", sink.get(key).map(toml::Value::to_string).unwrap_or_default())?;
    }
    let kind = sink.get("kind").and_then(toml::Value::as_str);
    let own = sink_keys().into_iter().filter(|table| table.kind.is_none() || table.kind.as_deref() == kind);
    for setting in own.flat_map(|table| table.keys).filter(|setting| setting.path != "name") {
        if let Some(value) = sink.get(&setting.path) {
            writeln!(shown, "# {}\n{} = {value}", setting.doc, setting.path)?;
        }
    }
    Ok(())
}

/// The page that describes every setting, in Markdown.
#[cfg(test)]
fn page() -> String {
    let mut page = String::from(
        "# Configuration\n\nGenerated from the program by `make docs`. Every setting is also a flag and an environment \
         variable: `node.root` is `--node-root` and `KERNTRAIL_NODE_ROOT`. `kerntrail config schema` prints the JSON \
         Schema of this file, for editors.\n\n| setting | default | meaning |\n|---|---|---|\n",
    );
    for setting in SETTINGS.iter() {
        // The folder depends on the user; its meaning names both.
        let default = if setting.path == "data_dir" { String::new() } else { default_cell(setting) };
        page.push_str(&row(setting, &default));
    }
    page.push_str(
        "\n## `[[sinks]]`\n\nEach sink is a table with a `name`, a `kind`, the keys that every sink has, and those of its kind. \
         A key is also `--sink NAME.KEY=VALUE` and `KERNTRAIL_SINK_<NAME>__<KEY>`.\n",
    );
    for table in sink_keys() {
        if let Some(kind) = &table.kind {
            let _ = write!(page, "\n### `kind = \"{kind}\"`\n\n{}\n", table.doc);
        }
        page.push_str("\n| key | default | meaning |\n|---|---|---|\n");
        for setting in &table.keys {
            let default = if setting.required { "required".to_owned() } else { default_cell(setting) };
            page.push_str(&row(setting, &default));
        }
    }
    page
}

#[cfg(test)]
fn row(setting: &Setting, default: &str) -> String {
    format!("| `{}` | {default} | {} |\n", setting.path, setting.doc.replace('|', "\\|"))
}

#[cfg(test)]
fn default_cell(setting: &Setting) -> String {
    let text = setting.default_text();
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

#[cfg(test)]
mod tests {
    #[test]
    fn configuration_page_is_current() {
        let page = expect_test::expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")];
        page.assert_eq(&super::page());
    }
}
