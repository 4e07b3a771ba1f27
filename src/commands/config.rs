//! `kerntrail config`: is it right, and what does it say?

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use kerntrail_transport::KafkaOptions;

use crate::config::{Config, SETTINGS};
use crate::parts;

/// Checks everything that the configuration names, without starting anything.
pub fn check(config: &Config, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let rules = parts::rules(config)?;
    parts::check_paths(config)?;
    parts::sinks::check(config)?;
    let from = file.map_or_else(|| "built-in defaults".to_owned(), |path| path.display().to_string());
    println!("{from}: ok ({} rules, {} sinks)", rules.iter().count(), config.sinks.len());
    Ok(ExitCode::SUCCESS)
}

/// Prints every setting with its present value and meaning, as a configuration file; secrets are `***`.
pub fn show(config: &Config) -> anyhow::Result<ExitCode> {
    let mut config = config.clone();
    for (name, value) in &mut config.log.kafka.properties {
        if KafkaOptions::is_secret(name) {
            "***".clone_into(value);
        }
    }
    let values = toml::Value::try_from(&config)?;
    let mut shown = String::new();
    let mut section = "";
    for setting in SETTINGS {
        let (parent, key) = setting.path.rsplit_once('.').unwrap_or(("", setting.path));
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

/// Writes the keys that a sink has; secrets that stand in the file are `***`.
fn show_sink(sink: &toml::Value, shown: &mut String) -> std::fmt::Result {
    writeln!(shown, "\n[[sinks]]")?;
    for field in kerntrail_sinks::config::FIELDS {
        if let Some(value) = sink.get(field.name) {
            writeln!(shown, "# {}\n{} = {value}", field.meaning, field.name)?;
        }
    }
    Ok(())
}

/// The page that describes every setting, in Markdown.
#[cfg(test)]
fn page() -> String {
    use crate::config::default_of;

    let mut page = String::from(
        "# Configuration\n\nWritten from the program; `make docs` writes it again. Every setting is also a flag and an environment \
         variable: `node.root` is `--node-root` and `KERNTRAIL_NODE_ROOT`.\n\n| setting | default | meaning |\n|---|---|---|\n",
    );
    for setting in SETTINGS {
        // The folder depends on who asks; its line says how.
        let default = if setting.path == "data_dir" { None } else { default_of(setting.path) };
        let default = default.map(|value| format!("`{}`", value.to_string().trim_matches('"'))).unwrap_or_default();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} |",
            setting.path,
            default.replace("``", ""),
            setting.doc.replace('|', "\\|")
        );
    }
    page.push_str("\n## `[[sinks]]`\n\n| key | kinds | default | meaning |\n|---|---|---|---|\n");
    for field in kerntrail_sinks::config::FIELDS {
        let kinds = field.kinds.iter().map(|kind| format!("`{}`", kind.word())).collect::<Vec<_>>().join(", ");
        let kinds = if kinds.is_empty() { "all".to_owned() } else { kinds };
        let _ = writeln!(page, "| `{}` | {kinds} | {} | {} |", field.name, field.default, field.meaning);
    }
    page
}

#[cfg(test)]
mod tests {
    /// `KERNTRAIL_WRITE_DOCS=1` (what `make docs` sets) writes the page instead of comparing it.
    #[test]
    fn configuration_page_is_current() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
        if std::env::var_os("KERNTRAIL_WRITE_DOCS").is_some() {
            std::fs::write(&path, super::page()).unwrap();
        }
        let page = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(page == super::page(), "docs/configuration.md is not what the program says: run `make docs`");
    }
}
