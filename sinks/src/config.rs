//! The configuration of a sink, and what it becomes once checked.
//!
//! [`SinkConfig`] is one flat table, so that an unknown key is an error whatever the kind; [`SinkConfig::check`]
//! refuses keys of another kind and bad values, and fills in the defaults that [`FIELDS`] documents.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use kerntrail_schemas::Table;
use serde::{Deserialize, Serialize};

use crate::elasticsearch::config::ElasticsearchTarget;
use crate::encode::Profile;
use crate::filter::{Filter, FilterError};
use crate::ndjson::config::NdjsonTarget;
use crate::secret::{Secret, SecretError};
use crate::splunk_hec::config::{BeforeRefused, SplunkTarget};

/// A kind of destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Splunk HTTP Event Collector.
    SplunkHec,
    /// Elasticsearch or OpenSearch.
    Elasticsearch,
    /// Files with one JSON object a line.
    Ndjson,
}

impl Kind {
    /// As written in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::SplunkHec => "splunk_hec",
            Self::Elasticsearch => "elasticsearch",
            Self::Ndjson => "ndjson",
        }
    }
}

/// A `[[sinks]]` table; [`FIELDS`] says what each key means and its default.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "FIELDS documents each key, with its default")]
pub struct SinkConfig {
    pub name: String,
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    #[serde(rename = "where")]
    pub filter: Option<String>,
    pub profile: Option<Profile>,
    pub batch_events: Option<NonZeroUsize>,
    pub batch_bytes: Option<NonZeroUsize>,
    pub batch_wait_ms: Option<u64>,
    pub concurrency: Option<NonZeroUsize>,
    pub backoff_initial_ms: Option<NonZeroU64>,
    pub backoff_max_ms: Option<NonZeroU64>,
    pub drain_seconds: Option<u64>,
    pub dead_letters: Option<NonZeroUsize>,
    pub url: Option<String>,
    pub timeout_seconds: Option<NonZeroU64>,
    pub ca_file: Option<PathBuf>,
    pub token: Option<Secret>,
    pub index: Option<String>,
    pub acknowledge: Option<bool>,
    pub ack_timeout_seconds: Option<NonZeroU64>,
    pub ack_interval_ms: Option<NonZeroU64>,
    pub before_refused: Option<BeforeRefused>,
    pub namespace: Option<String>,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub api_key: Option<Secret>,
    pub install_templates: Option<bool>,
    pub path: Option<PathBuf>,
    pub file_bytes: Option<NonZeroU64>,
    pub files: Option<NonZeroU32>,
}

/// A key of [`SinkConfig`], for the reference and for the checks.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// As written in the configuration.
    pub name: &'static str,
    /// The kinds that have it; empty: all.
    pub kinds: &'static [Kind],
    /// What holds without it.
    pub default: &'static str,
    /// What it means, with its unit.
    pub meaning: &'static str,
}

const fn field(name: &'static str, kinds: &'static [Kind], default: &'static str, meaning: &'static str) -> Field {
    Field { name, kinds, default, meaning }
}

const ALL: &[Kind] = &[];
const HTTP: &[Kind] = &[Kind::SplunkHec, Kind::Elasticsearch];
const SPLUNK: &[Kind] = &[Kind::SplunkHec];
const ELASTIC: &[Kind] = &[Kind::Elasticsearch];
const FILES: &[Kind] = &[Kind::Ndjson];

/// Every key, in the order of the reference.
pub const FIELDS: &[Field] = &[
    field(
        "name",
        ALL,
        "required",
        "name of the sink: 1 to 64 of `a-z`, `0-9`, `-`, `_`; its offsets and dead letters go by it",
    ),
    field("kind", ALL, "required", "`splunk_hec`, `elasticsearch` (OpenSearch too) or `ndjson`"),
    field("tables", ALL, "all tables", "tables whose rows are sent"),
    field(
        "where",
        ALL,
        "every row",
        "SQL condition on the columns of these tables, NULL in the tables that lack one; a row for which it is not true is not sent",
    ),
    field("profile", ALL, "`ecs` for elasticsearch, else `ocsf`", "shape of the documents: `ocsf` or `ecs`"),
    field("batch_events", ALL, "1000", "most events in a request"),
    field("batch_bytes", ALL, "1048576", "most bytes in a request, before compression; a larger event goes alone"),
    field("batch_wait_ms", ALL, "1000", "longest that an event waits for others to share its request, in ms"),
    field("concurrency", ALL, "2", "requests under way at once; always 1 for ndjson"),
    field(
        "backoff_initial_ms",
        ALL,
        "500",
        "bound of the wait after a first failure, in ms; it doubles with each further one",
    ),
    field("backoff_max_ms", ALL, "60000", "longest wait between two tries, in ms"),
    field("drain_seconds", ALL, "10", "how long a stopping sink goes on with what it has taken, in seconds"),
    field(
        "dead_letters",
        ALL,
        "10000",
        "most dead letters on disk; when they are reached the sink waits for `replay` or `purge`",
    ),
    field("url", HTTP, "required", "base address of the server; without a path, the usual one is added"),
    field("timeout_seconds", HTTP, "30", "longest wait for an answer, in seconds"),
    field("ca_file", HTTP, "the system's", "PEM file with the certificates that the server's is checked against"),
    field("token", SPLUNK, "required", "HEC token: text, `{ env = \"NAME\" }` or `{ file = \"/path\" }`"),
    field("index", SPLUNK, "the token's", "index to write to"),
    field(
        "acknowledge",
        SPLUNK,
        "false",
        "wait until indexers acknowledge, and send again what they do not; the token must have it enabled",
    ),
    field("ack_timeout_seconds", SPLUNK, "120", "longest wait for an acknowledgement, in seconds"),
    field("ack_interval_ms", SPLUNK, "1000", "pause between two questions for acknowledgements, in ms"),
    field(
        "before_refused",
        SPLUNK,
        "`indexed`",
        "what the server did with the events of a request before the refused one: `indexed` (Splunk) or `discarded` (some that speak its protocol)",
    ),
    field("namespace", ELASTIC, "`default`", "namespace of the data streams `logs-kerntrail.<table>-<namespace>`"),
    field("user", ELASTIC, "none", "user for basic authentication; needs `password`"),
    field("password", ELASTIC, "none", "password, written as `token` is"),
    field("api_key", ELASTIC, "none", "encoded API key, written as `token` is; instead of user and password"),
    field("install_templates", ELASTIC, "true", "put the index template `logs-kerntrail` before the first event"),
    field("path", FILES, "required", "file to append to; older ones are `<path>.1`, `<path>.2`, ..."),
    field("file_bytes", FILES, "104857600", "size at which a new file is begun, in bytes"),
    field("files", FILES, "10", "most files kept, the current one included; the oldest is deleted"),
];

/// What is wrong with a sink's configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value cannot be used.
    #[error("sink {sink}: {field}: {problem}")]
    Value {
        /// The sink.
        sink: String,
        /// The key.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A secret is not where the configuration says.
    #[error("sink {sink}: {field} cannot be found")]
    Secret {
        /// The sink.
        sink: String,
        /// The key.
        field: &'static str,
        /// Why.
        #[source]
        source: SecretError,
    },
    /// The `where` cannot be used.
    #[error("sink {sink}: where")]
    Where {
        /// The sink.
        sink: String,
        /// Why.
        #[source]
        source: FilterError,
    },
    /// A file cannot be used.
    #[error("sink {sink}: {field}: cannot use {path}")]
    File {
        /// The sink.
        sink: String,
        /// The key.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The HTTP client cannot be made.
    #[error("sink {sink}: cannot prepare HTTP")]
    Http {
        /// The sink.
        sink: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

impl ConfigError {
    /// The sink's name.
    pub fn sink(&self) -> &str {
        match self {
            Self::Value { sink, .. }
            | Self::Secret { sink, .. }
            | Self::Where { sink, .. }
            | Self::File { sink, .. }
            | Self::Http { sink, .. } => sink,
        }
    }

    /// The key that is wrong.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Value { field, .. } | Self::Secret { field, .. } | Self::File { field, .. } => field,
            Self::Where { .. } => "where",
            Self::Http { .. } => "url",
        }
    }
}

/// A sink's configuration, checked, with every default filled in.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the sink.
    pub name: String,
    /// Tables whose rows are sent, without doubles.
    pub tables: Vec<Table>,
    /// What selects a row.
    pub filter: Filter,
    /// Shape of the documents.
    pub profile: Profile,
    /// Most events in a request.
    pub batch_events: usize,
    /// Most bytes in a request, before compression.
    pub batch_bytes: usize,
    /// Longest that an event waits for others.
    pub batch_wait: Duration,
    /// Requests under way at once.
    pub concurrency: usize,
    /// Bound of the first wait after a failure.
    pub backoff_initial: Duration,
    /// Longest wait between two tries.
    pub backoff_max: Duration,
    /// How long a stopping sink goes on.
    pub drain: Duration,
    /// Most dead letters.
    pub dead_letters: usize,
    /// Where to.
    pub target: Target,
}

/// The part of [`Settings`] that one kind has.
#[derive(Clone, Debug)]
pub enum Target {
    /// See [`SplunkTarget`].
    SplunkHec(SplunkTarget),
    /// See [`ElasticsearchTarget`].
    Elasticsearch(ElasticsearchTarget),
    /// See [`NdjsonTarget`].
    Ndjson(NdjsonTarget),
}

impl SinkConfig {
    /// Whether a sink can be made of it; reads secrets, connects to nothing.
    ///
    /// Errors: the first thing that is wrong, by its key.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.settings().map(|_| ())
    }

    /// The checked configuration.
    ///
    /// Errors: as [`SinkConfig::check`].
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        self.check_name()?;
        self.check_kinds()?;
        let tables = self.checked_tables()?;
        let filter = Filter::compile(self.filter.as_deref(), &tables)
            .map_err(|source| ConfigError::Where { sink: self.name.clone(), source })?;
        let default_profile = if self.kind == Kind::Elasticsearch { Profile::Ecs } else { Profile::Ocsf };
        let concurrency = if self.kind == Kind::Ndjson { 1 } else { self.concurrency.map_or(2, NonZeroUsize::get) };
        let millis = |value: Option<NonZeroU64>, default| Duration::from_millis(value.map_or(default, NonZeroU64::get));
        let (backoff_initial, backoff_max) =
            (millis(self.backoff_initial_ms, 500), millis(self.backoff_max_ms, 60_000));
        if backoff_initial > backoff_max {
            return Err(self.wrong("backoff_max_ms", "it is less than backoff_initial_ms"));
        }
        Ok(Settings {
            name: self.name.clone(),
            tables,
            filter,
            profile: self.profile.unwrap_or(default_profile),
            batch_events: self.batch_events.map_or(1_000, NonZeroUsize::get),
            batch_bytes: self.batch_bytes.map_or(1 << 20, NonZeroUsize::get),
            batch_wait: Duration::from_millis(self.batch_wait_ms.unwrap_or(1_000)),
            concurrency,
            backoff_initial,
            backoff_max,
            drain: Duration::from_secs(self.drain_seconds.unwrap_or(10)),
            dead_letters: self.dead_letters.map_or(10_000, NonZeroUsize::get),
            target: self.target()?,
        })
    }

    fn target(&self) -> Result<Target, ConfigError> {
        Ok(match self.kind {
            Kind::SplunkHec => Target::SplunkHec(SplunkTarget::of(self)?),
            Kind::Elasticsearch => Target::Elasticsearch(ElasticsearchTarget::of(self)?),
            Kind::Ndjson => Target::Ndjson(NdjsonTarget::of(self)?),
        })
    }

    fn check_name(&self) -> Result<(), ConfigError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if (1..=64).contains(&self.name.len()) && self.name.chars().all(allowed) {
            return Ok(());
        }
        Err(self.wrong("name", format!("{:?} is not 1 to 64 of a-z, 0-9, - and _", self.name)))
    }

    /// Refuses keys that another kind has.
    fn check_kinds(&self) -> Result<(), ConfigError> {
        let set = self.set_fields();
        let strange = FIELDS
            .iter()
            .find(|field| !field.kinds.is_empty() && !field.kinds.contains(&self.kind) && set.contains(&field.name));
        let Some(field) = strange else { return Ok(()) };
        let owners: Vec<&str> = field.kinds.iter().map(|kind| kind.word()).collect();
        Err(self.wrong(field.name, format!("belongs to {}, not to {}", owners.join(" and "), self.kind.word())))
    }

    /// Keys of single kinds that have a value.
    fn set_fields(&self) -> Vec<&'static str> {
        let set = [
            ("url", self.url.is_some()),
            ("timeout_seconds", self.timeout_seconds.is_some()),
            ("ca_file", self.ca_file.is_some()),
            ("token", self.token.is_some()),
            ("index", self.index.is_some()),
            ("acknowledge", self.acknowledge.is_some()),
            ("ack_timeout_seconds", self.ack_timeout_seconds.is_some()),
            ("ack_interval_ms", self.ack_interval_ms.is_some()),
            ("before_refused", self.before_refused.is_some()),
            ("namespace", self.namespace.is_some()),
            ("user", self.user.is_some()),
            ("password", self.password.is_some()),
            ("api_key", self.api_key.is_some()),
            ("install_templates", self.install_templates.is_some()),
            ("path", self.path.is_some()),
            ("file_bytes", self.file_bytes.is_some()),
            ("files", self.files.is_some()),
        ];
        set.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect()
    }

    fn checked_tables(&self) -> Result<Vec<Table>, ConfigError> {
        if self.tables.is_empty() {
            return Ok(Table::ALL.to_vec());
        }
        let mut tables = Vec::new();
        for name in &self.tables {
            let table = name.parse::<Table>().map_err(|error| self.wrong("tables", error.to_string()))?;
            if !tables.contains(&table) {
                tables.push(table);
            }
        }
        Ok(tables)
    }

    pub(crate) fn wrong(&self, field: &'static str, problem: impl Into<String>) -> ConfigError {
        ConfigError::Value { sink: self.name.clone(), field, problem: problem.into() }
    }

    pub(crate) fn reveal(&self, field: &'static str, secret: &Secret) -> Result<String, ConfigError> {
        secret.reveal().map_err(|source| ConfigError::Secret { sink: self.name.clone(), field, source })
    }

    /// `url`, which must be http or https.
    pub(crate) fn server(&self) -> Result<url::Url, ConfigError> {
        let Some(text) = &self.url else { return Err(self.wrong("url", "is required")) };
        let url = url::Url::parse(text).map_err(|error| self.wrong("url", format!("{text:?}: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(self.wrong("url", format!("{text:?} is no http or https address")));
        }
        if url.password().is_some() || !url.username().is_empty() {
            return Err(self.wrong("url", "holds credentials, which have keys of their own"));
        }
        Ok(url)
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds.map_or(30, NonZeroU64::get))
    }
}

/// Checks sinks that run side by side: each by itself, and that no two share a name or a file.
///
/// Errors: the first thing that is wrong.
pub fn check_all(sinks: &[SinkConfig]) -> Result<(), ConfigError> {
    for (index, sink) in sinks.iter().enumerate() {
        sink.check()?;
        for other in &sinks[..index] {
            if other.name == sink.name {
                return Err(sink.wrong("name", "another sink has it"));
            }
            if sink.path.is_some() && other.path == sink.path {
                return Err(sink.wrong("path", format!("sink {} writes there", other.name)));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
