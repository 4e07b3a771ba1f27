//! The keys of an Elasticsearch sink, checked.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::config::{ConfigError, SinkConfig};

/// How requests are authenticated.
#[derive(Clone)]
pub(super) enum Credentials {
    None,
    Basic { user: String, password: String },
    ApiKey(String),
}

/// Where an Elasticsearch sink sends to.
#[derive(Clone)]
pub struct ElasticsearchTarget {
    /// Base address, its path ending in a slash.
    pub url: Url,
    /// Namespace of the data streams.
    pub namespace: String,
    /// Whether to put the index template.
    pub install_templates: bool,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    pub(super) credentials: Credentials,
}

impl fmt::Debug for ElasticsearchTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut target = f.debug_struct("ElasticsearchTarget");
        target.field("url", &self.url.as_str()).field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl ElasticsearchTarget {
    pub(crate) fn of(config: &SinkConfig) -> Result<Self, ConfigError> {
        let mut url = config.server()?;
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let namespace = config.namespace.clone().unwrap_or_else(|| "default".to_owned());
        // The data stream naming scheme: at most 100 bytes, lower case, without `-` and what index names forbid.
        let allowed = |c: char| !c.is_uppercase() && !c.is_whitespace() && !"-\\/*?\"<>|,#:".contains(c);
        if namespace.is_empty() || namespace.len() > 100 || !namespace.chars().all(allowed) {
            let problem = format!(
                "{namespace:?} is no namespace of a data stream: lower case, without - and \\ / * ? \" < > | , # :"
            );
            return Err(config.wrong("namespace", problem));
        }
        Ok(Self {
            url,
            namespace,
            install_templates: config.install_templates.unwrap_or(true),
            timeout: config.timeout(),
            ca_file: config.ca_file.clone(),
            credentials: credentials(config)?,
        })
    }
}

fn credentials(config: &SinkConfig) -> Result<Credentials, ConfigError> {
    Ok(match (&config.user, &config.password, &config.api_key) {
        (None, None, None) => Credentials::None,
        (Some(user), Some(password), None) => {
            Credentials::Basic { user: user.clone(), password: config.reveal("password", password)? }
        }
        (None, None, Some(key)) => Credentials::ApiKey(config.reveal("api_key", key)?),
        (_, _, Some(_)) => return Err(config.wrong("api_key", "stands beside user or password")),
        (Some(_), None, None) => return Err(config.wrong("password", "is required with user")),
        (None, Some(_), None) => return Err(config.wrong("user", "is required with password")),
    })
}
