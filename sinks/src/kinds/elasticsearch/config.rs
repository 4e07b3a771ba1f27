//! The keys of an Elasticsearch sink, and the credentials made from them.

use std::fmt;

use kerntrail_common::period::Period;
use kerntrail_schemas::Table;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::Elasticsearch;
use super::template::{PRIORITY, Template};
use crate::config::{KeyError, Settings};
use crate::destination::Destination;
use crate::encode::Profile;
use crate::http::Client;
use crate::http::config::HttpKind;
use crate::secret::{CurrentSecret, Secret};

/// Names of data streams by the scheme that Elastic's own integrations follow.
const DATA_STREAM: &str = "logs-kerntrail.{table}-{namespace}";
/// Longest name of a data stream or an alias, in bytes.
const LONGEST_NAME: usize = 255;

/// An Elasticsearch or OpenSearch cluster.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct ElasticsearchConfig {
    /// Names of the data streams; `{table}` stands for the table, `{namespace}` for `namespace`.
    pub data_stream: String,
    /// What `{namespace}` in `data_stream` stands for.
    pub namespace: String,
    /// Name by which all these data streams can be searched together. It is set in data streams that are made from then on.
    pub alias: Option<String>,
    /// User for basic authentication; needs `password`.
    pub user: Option<String>,
    /// Password for basic authentication: text, `{ env = "NAME" }` or `{ file = "/path" }`.
    pub password: Option<Secret>,
    /// Encoded API key, instead of user and password: text, `{ env = "NAME" }` or `{ file = "/path" }`.
    pub api_key: Option<Secret>,
    /// Install an index template before the first event is sent, unless one of this or of a newer release is there:
    /// `logs-kerntrail`, or, with another `data_stream`, `kerntrail-` and that, with `all` for the placeholders. What the
    /// component template of the same name with `@custom` says, comes on top. A template whose `_meta.managed_by` is not
    /// `kerntrail` stays as it is.
    pub install_templates: bool,
    /// How long Elasticsearch (8.14 and later) keeps events, for example `30d`; without it, for ever. It is set in data
    /// streams that are made from then on. Before, and in OpenSearch, it is a policy that an operator makes.
    pub retention: Option<Period>,
}

impl Default for ElasticsearchConfig {
    fn default() -> Self {
        Self {
            data_stream: DATA_STREAM.into(),
            namespace: "default".into(),
            alias: None,
            user: None,
            password: None,
            api_key: None,
            install_templates: true,
            retention: None,
        }
    }
}

/// How requests are authenticated.
#[derive(Clone)]
pub(super) enum Credentials {
    None,
    Basic { user: String, password: CurrentSecret },
    ApiKey(CurrentSecret),
}

/// Where an Elasticsearch sink sends to.
#[derive(Clone)]
pub(super) struct Target {
    /// Base address, its path ending in a slash.
    pub(super) url: Url,
    pub(super) credentials: Credentials,
}

impl fmt::Debug for Target {
    /// Without the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

impl ElasticsearchConfig {
    fn target(&self, mut url: Url) -> Result<Target, KeyError> {
        self.check_namespace()?;
        self.check_names()?;
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(Target { url, credentials: self.credentials()? })
    }

    /// The data stream naming scheme: at most 100 bytes, lower case, without `-` and what index names forbid.
    fn check_namespace(&self) -> Result<(), KeyError> {
        let namespace = &self.namespace;
        let allowed = |c: char| !c.is_uppercase() && !c.is_whitespace() && !"-\\/*?\"<>|,#:".contains(c);
        if !namespace.is_empty() && namespace.len() <= 100 && namespace.chars().all(allowed) {
            return Ok(());
        }
        let rule = "lower case, without - and \\ / * ? \" < > | , # :";
        Err(KeyError::value("namespace", format!("{namespace:?} is not a namespace of a data stream: {rule}")))
    }

    /// Names of data streams are those of indexes; only one that tells tables apart keeps their types apart.
    fn check_names(&self) -> Result<(), KeyError> {
        let names = Table::ALL.iter().map(|table| ("data_stream", self.data_stream(*table)));
        for (key, name) in names.chain(self.alias.iter().map(|alias| ("alias", alias.clone()))) {
            let allowed = |c: char| !c.is_uppercase() && !c.is_whitespace() && !"\\/*?\"<>|,#:{}".contains(c);
            let begins = name.starts_with(['-', '_', '+', '.']);
            if name.is_empty() || name.len() > LONGEST_NAME || begins || !name.chars().all(allowed) {
                let rule = "at most 255 bytes in lower case, without \\ / * ? \" < > | , # : { } and not beginning with - _ + .";
                return Err(KeyError::value(key, format!("{name:?} is not a name of an index: {rule}")));
            }
        }
        if !self.data_stream.contains("{table}") {
            return Err(KeyError::value(
                "data_stream",
                "has no {table}: events of different tables have different fields",
            ));
        }
        Ok(())
    }

    /// Name of the data stream of `table`.
    pub fn data_stream(&self, table: Table) -> String {
        self.data_stream.replace("{table}", table.name()).replace("{namespace}", &self.namespace)
    }

    /// The template of the data streams. Sinks whose data streams have the same names share it.
    pub(super) fn template(&self) -> Template<'_> {
        let named =
            |table: &str, namespace: &str| self.data_stream.replace("{table}", table).replace("{namespace}", namespace);
        let (name, patterns, priority) = if self.data_stream == DATA_STREAM {
            ("logs-kerntrail".to_owned(), vec![named("*", "*")], PRIORITY)
        } else {
            // The narrower one wins where two of them match. With `*` for the table, they would match what others store.
            let priority = PRIORITY + if self.data_stream.contains("{namespace}") { 1 } else { 2 };
            let patterns = Table::ALL.iter().map(|table| named(table.name(), "*")).collect();
            (format!("kerntrail-{}", named("all", "all")), patterns, priority)
        };
        let retention = self.retention.map(|period| period.0);
        Template { name, patterns, priority, alias: self.alias.as_deref(), retention }
    }

    fn credentials(&self) -> Result<Credentials, KeyError> {
        Ok(match (&self.user, &self.password, &self.api_key) {
            (None, None, None) => Credentials::None,
            (Some(user), Some(password), None) => {
                Credentials::Basic { user: user.clone(), password: password.of_key("password")? }
            }
            (None, None, Some(key)) => Credentials::ApiKey(key.of_key("api_key")?),
            (_, _, Some(_)) => return Err(KeyError::value("api_key", "cannot be used together with user or password")),
            (Some(_), None, None) => return Err(KeyError::value("password", "is required with user")),
            (None, Some(_), None) => return Err(KeyError::value("user", "is required with password")),
        })
    }
}

impl HttpKind for ElasticsearchConfig {
    fn connect(&self, url: Url, client: Client, settings: &Settings) -> Result<Box<dyn Destination>, KeyError> {
        Ok(Box::new(Elasticsearch::new(client, self.target(url)?, self.clone(), settings)))
    }

    fn profile(&self) -> Profile {
        Profile::Ecs
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_are_for_the_data_streams_of_the_sink_alone() {
        // data_stream, name of the template, its pattern of findings, priority
        for (data_stream, name, pattern, priority) in [
            (DATA_STREAM, "logs-kerntrail", "logs-kerntrail.*-*", 200),
            ("sec-{table}-{namespace}", "kerntrail-sec-all-all", "sec-findings-*", 201),
            ("logs-kerntrail.{table}-prod", "kerntrail-logs-kerntrail.all-prod", "logs-kerntrail.findings-prod", 202),
            ("{table}", "kerntrail-all", "findings", 202),
        ] {
            let config: ElasticsearchConfig = serde_json::from_value(json!({"data_stream": data_stream})).unwrap();
            let template = config.template();
            assert_eq!((template.name.as_str(), template.priority), (name, priority), "{data_stream}");
            assert!(template.patterns.iter().any(|own| own == pattern), "{data_stream}: {:?}", template.patterns);
            assert!(!template.patterns.iter().any(|own| own == "*"), "{data_stream}");
        }
    }
}
