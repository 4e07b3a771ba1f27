//! The kinds of sinks: each is a module, and a line in the list at [`kinds!`].

pub mod elasticsearch;
pub mod ndjson;
pub mod splunk_hec;

use std::fmt::Debug;
use std::path::Path;

use kerntrail_common::settings;
use kerntrail_common::suggest::did_you_mean;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::config::{KeyError, Settings};
use crate::destination::Destination;
use crate::encode::Profile;
use crate::http::config::Http;

/// The settings that one kind of sink has, and the destination made from them.
pub trait SinkKind: Debug + Send + Sync {
    /// The settings in `table`, which has no other keys than theirs.
    ///
    /// Errors: a key is missing, or its value has the wrong type.
    fn read(table: Map<String, Value>) -> Result<Self, KeyError>
    where
        Self: Sized;

    /// The destination; nothing is connected or opened yet.
    ///
    /// Errors: a secret or certificate cannot be read, or what the keys say together cannot be used.
    fn connect(&self, settings: &Settings) -> Result<Box<dyn Destination>, KeyError>;

    /// Format of the documents where `profile` is not set.
    fn profile(&self) -> Profile {
        Profile::Ocsf
    }

    /// Whether requests are sent one after the other, whatever `concurrency` says.
    fn is_sequential(&self) -> bool {
        false
    }

    /// Files that are read once, when the sink starts.
    fn read_at_start(&self) -> Vec<&Path> {
        Vec::new()
    }

    /// The file that it writes and that no other sink may write.
    fn file(&self) -> Option<&Path> {
        None
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:literal => $variant:ident($settings:ty),)*) => {
        /// A kind of sink, with its settings.
        #[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
        #[serde(tag = "kind")]
        pub enum Kind {
            $($(#[$doc])* #[serde(rename = $name)] $variant($settings),)*
        }

        impl Kind {
            /// Name of each kind, and the keys that it has.
            fn all() -> Vec<(&'static str, Vec<String>)> {
                vec![$(($name, settings::keys::<$settings>()),)*]
            }

            /// The kind `name` with the settings in `table`.
            ///
            /// Errors: the kind is unknown; a key is missing, or its value has the wrong type.
            pub(crate) fn read(name: &str, table: Map<String, Value>) -> Result<Self, KeyError> {
                match name {
                    $($name => <$settings as SinkKind>::read(table).map(Self::$variant),)*
                    _ => Err(unknown(name)),
                }
            }

            /// As written in the configuration.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)*
                }
            }

            /// What the kind makes of its settings.
            pub(crate) fn settings(&self) -> &dyn SinkKind {
                match self {
                    $(Self::$variant(settings) => settings,)*
                }
            }
        }
    };
}

kinds! {
    /// Splunk HTTP Event Collector, or a receiver that speaks its protocol. `profile` is `ocsf` by default.
    "splunk_hec" => SplunkHec(Http<splunk_hec::config::SplunkHecConfig>),
    /// Elasticsearch or OpenSearch. `profile` is `ecs` by default.
    "elasticsearch" => Elasticsearch(Http<elasticsearch::config::ElasticsearchConfig>),
    /// Files with one JSON object per line. `profile` is `ocsf` by default, and `concurrency` always 1.
    "ndjson" => Ndjson(ndjson::config::NdjsonConfig),
}

impl Kind {
    /// The keys that only sinks of the kind `name` have.
    ///
    /// Errors: the kind is unknown.
    pub(crate) fn keys(name: &str) -> Result<Vec<String>, KeyError> {
        let kind = Self::all().into_iter().find(|(kind, _)| *kind == name);
        kind.map(|(_, keys)| keys).ok_or_else(|| unknown(name))
    }

    /// Why a sink of the kind `name`, which has `own_keys`, has no key `key`.
    pub(crate) fn refuse(name: &str, key: &str, own_keys: &[String]) -> KeyError {
        let has_it = |(_, keys): &(&str, Vec<String>)| keys.iter().any(|have| have == key);
        let owners: Vec<&str> = Self::all().into_iter().filter(has_it).map(|(kind, _)| kind).collect();
        if !owners.is_empty() {
            return KeyError::value(key, format!("belongs to {}, not to {name}", owners.join(" and ")));
        }
        let common = settings::keys::<crate::config::DeliveryConfig>();
        let known = own_keys.iter().chain(&common).map(String::as_str).chain(["name", "kind"]);
        KeyError::value(key, format!("unknown field `{key}`{}", did_you_mean(key, known)))
    }
}

fn unknown(name: &str) -> KeyError {
    let kinds: Vec<&str> = Kind::all().into_iter().map(|(kind, _)| kind).collect();
    let hint = match did_you_mean(name, kinds.iter().copied()) {
        hint if hint.is_empty() => format!("; there are {}", kinds.join(", ")),
        hint => hint,
    };
    KeyError::value("kind", format!("unknown variant `{name}`{hint}"))
}
