//! The settings as the JSON Schema of [`Config`] describes them. Flags, environment variables, the help of the command
//! line, the reference page and `config show` are made from this list; the schema is made from the structs of the parts.

use std::sync::LazyLock;

use kerntrail_common::settings;
use serde_json::Value;

use super::Config;

/// One setting.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its path in the file: `node.root`.
    pub path: String,
    /// What it means, with its unit and allowed values.
    pub doc: String,
    /// The default value; null if there is none.
    pub default: Value,
    /// Whether it has to be set.
    #[cfg_attr(not(test), expect(dead_code, reason = "only the reference page, which a test writes, shows it"))]
    pub required: bool,
}

/// A table of settings that may be repeated: the keys of every sink, or those of one kind.
pub struct SinkKeys {
    /// The kind; none for the keys of every sink.
    pub kind: Option<String>,
    /// What the kind is.
    #[cfg_attr(not(test), expect(dead_code, reason = "only the reference page, which a test writes, shows it"))]
    pub doc: String,
    /// The keys.
    pub keys: Vec<Setting>,
}

/// All settings outside `[[sinks]]`; those of a table come before those of the tables in it.
pub static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    let mut found = Vec::new();
    leaves("", settings::schema::<Config>().as_value(), &mut found);
    found.retain(|setting| setting.path != "sinks");
    found
});

/// The JSON Schema of the configuration file.
pub fn schema() -> Value {
    let mut schema = settings::schema::<Config>().to_value();
    // The default depends on the user who runs the command; the description names both.
    if let Some(data_dir) = schema.pointer_mut("/properties/data_dir").and_then(Value::as_object_mut) {
        data_dir.remove("default");
    }
    schema
}

/// The keys of `[[sinks]]`: first those of every sink, then those of each kind.
pub fn sink_keys() -> Vec<SinkKeys> {
    let schema = settings::schema::<Config>().to_value();
    let sink = &schema["properties"]["sinks"]["items"];
    let mut tables = vec![SinkKeys { kind: None, doc: String::new(), keys: own_keys(sink) }];
    for variant in sink["oneOf"].as_array().into_iter().flatten() {
        let kind = variant["properties"]["kind"]["const"].as_str().map(str::to_owned);
        let mut keys = own_keys(variant);
        keys.retain(|setting| setting.path != "kind");
        tables.push(SinkKeys { kind, doc: text(&variant["description"]), keys });
    }
    tables
}

impl Setting {
    fn of(path: String, schema: &Value, required: bool) -> Self {
        Self { path, doc: doc(schema), default: schema["default"].clone(), required }
    }

    /// Its flag, without the dashes: `node-root`.
    pub fn flag(&self) -> String {
        self.path.replace(['.', '_'], "-")
    }

    /// Its environment variable: `KERNTRAIL_NODE_ROOT`.
    pub fn variable(&self) -> String {
        format!("KERNTRAIL_{}", self.path.replace('.', "_").to_uppercase())
    }

    /// The default as written in a flag; empty if there is none.
    pub fn default_text(&self) -> String {
        match &self.default {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// `text`, of a flag or variable, as the type of the default. Text that is not a value of that type stays text, for
    /// the setting's own check to refuse.
    pub fn value(&self, text: &str) -> toml::Value {
        let as_text = || toml::Value::String(text.to_owned());
        match &self.default {
            Value::String(_) | Value::Null => as_text(),
            _ => toml_value(text).unwrap_or_else(as_text),
        }
    }
}

/// What `text` is as the value of a TOML key.
pub fn toml_value(text: &str) -> Option<toml::Value> {
    toml::from_str::<toml::Table>(&format!("v={text}")).ok()?.remove("v")
}

/// Appends the settings that `schema`, an object at `prefix`, describes.
fn leaves(prefix: &str, schema: &Value, into: &mut Vec<Setting>) {
    let path = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    let (tables, values): (Vec<_>, Vec<_>) =
        properties(schema).partition(|(_, schema)| schema.get("properties").is_some());
    into.extend(values.into_iter().map(|(key, value)| Setting::of(path(key), value, false)));
    for (key, table) in tables {
        leaves(&path(key), table, into);
    }
}

fn own_keys(schema: &Value) -> Vec<Setting> {
    let required = |key: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|name| name == key));
    properties(schema).map(|(key, value)| Setting::of(key.to_owned(), value, required(key))).collect()
}

fn properties(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    schema["properties"].as_object().into_iter().flatten().map(|(key, schema)| (key.as_str(), schema))
}

/// The description, followed by those of the allowed values where each has its own.
fn doc(schema: &Value) -> String {
    let choices = schema["oneOf"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|choice| Some(format!(" `{}`: {}", choice["const"].as_str()?, text(&choice["description"]))));
    text(&schema["description"]) + &choices.collect::<String>()
}

/// A description in one line.
fn text(description: &Value) -> String {
    description.as_str().unwrap_or_default().replace('\n', " ")
}

#[cfg(test)]
mod tests;
