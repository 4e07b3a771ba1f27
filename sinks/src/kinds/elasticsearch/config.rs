//! The keys of an Elasticsearch sink, and the credentials made from them.

use std::fmt;

use reqwest::Client;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::Elasticsearch;
use crate::config::{KeyError, Settings};
use crate::destination::Destination;
use crate::encode::Profile;
use crate::http::config::HttpKind;
use crate::secret::{CurrentSecret, Secret};

/// An Elasticsearch or OpenSearch cluster.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct ElasticsearchConfig {
    /// Namespace of the data streams `logs-kerntrail.<table>-<namespace>`.
    pub namespace: String,
    /// User for basic authentication; needs `password`.
    pub user: Option<String>,
    /// Password for basic authentication: text, `{ env = "NAME" }` or `{ file = "/path" }`.
    pub password: Option<Secret>,
    /// Encoded API key, instead of user and password: text, `{ env = "NAME" }` or `{ file = "/path" }`.
    pub api_key: Option<Secret>,
    /// Install the index template `logs-kerntrail` before the first event is sent.
    pub install_templates: bool,
}

impl Default for ElasticsearchConfig {
    fn default() -> Self {
        Self { namespace: "default".into(), user: None, password: None, api_key: None, install_templates: true }
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
        Ok(Box::new(Elasticsearch::new(client, self.target(url)?, self.clone(), settings.profile)))
    }

    fn profile(&self) -> Profile {
        Profile::Ecs
    }
}
