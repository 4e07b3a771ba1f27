//! The keys of sinks that send over HTTP, and the client made from them.

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kerntrail_common::regular_file;
use kerntrail_common::settings::positive;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use crate::config::{KeyError, LARGEST_FILE, Problem, Settings, keys};
use crate::destination::Destination;
use crate::encode::Profile;
use crate::http::{Client, Resolver};
use crate::kinds::SinkKind;
use crate::secret::Secret;

/// Longest time for a connection.
const LONGEST_CONNECT: Duration = Duration::from_secs(10);

/// A kind of sink that sends over HTTP: the keys of the connection, and those of the kind.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Http<K> {
    /// The connection.
    #[serde(flatten)]
    pub server: HttpClientConfig,
    /// The kind.
    #[serde(flatten)]
    pub kind: K,
}

/// What distinguishes a kind of sink that sends over HTTP.
pub trait HttpKind: Debug + Send + Sync + DeserializeOwned + JsonSchema {
    /// The destination at `url`, with `client`; nothing is connected yet.
    ///
    /// Errors: a secret cannot be read, or what the keys say together cannot be used.
    fn connect(&self, url: Url, client: Client, settings: &Settings) -> Result<Box<dyn Destination>, KeyError>;

    /// Format of the documents where `profile` is not set.
    fn profile(&self) -> Profile {
        Profile::Ocsf
    }
}

impl<K: HttpKind> SinkKind for Http<K> {
    fn read(mut table: Map<String, Value>) -> Result<Self, KeyError> {
        Ok(Self { server: keys::part(&mut table)?, kind: keys::read(table)? })
    }

    fn connect(&self, settings: &Settings) -> Result<Box<dyn Destination>, KeyError> {
        self.kind.connect(self.server.url()?, self.server.client()?, settings)
    }

    fn profile(&self) -> Profile {
        self.kind.profile()
    }

    fn read_at_start(&self) -> Vec<&Path> {
        let HttpClientConfig { ca_file, proxy, .. } = &self.server;
        ca_file.as_deref().into_iter().chain(proxy.as_ref().and_then(Secret::file)).collect()
    }
}

/// The connection to a server.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct HttpClientConfig {
    /// Base address of the server, http or https. Without a path, the usual one of the protocol is added.
    #[schemars(regex(pattern = "^https?://"))]
    pub url: String,
    /// Longest wait for a response, in seconds; up to eight times as long after a response that came too late.
    #[serde(default = "positive::<30, NonZeroU32>")]
    pub timeout_seconds: NonZeroU32,
    /// PEM file with the certificates to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Address of a proxy for all requests, http or https; `{ env = "NAME" }` or `{ file = "/path" }` where it
    /// holds a password. Without it, the variables HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY count.
    #[serde(default)]
    pub proxy: Option<Secret>,
}

impl HttpClientConfig {
    fn url(&self) -> Result<Url, KeyError> {
        let text = &self.url;
        let url = Url::parse(text).map_err(|error| KeyError::value("url", format!("{text:?}: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(KeyError::value("url", format!("{text:?} is not an http or https address")));
        }
        if url.password().is_some() || !url.username().is_empty() {
            return Err(KeyError::value("url", "holds credentials, which have keys of their own"));
        }
        Ok(url)
    }

    /// A client that waits at most `timeout_seconds` for a response and trusts `ca_file`, or what the system trusts.
    ///
    /// Errors: the file cannot be read or holds no certificates.
    fn client(&self) -> Result<Client, KeyError> {
        // Only the first installation in the process counts.
        rustls::crypto::ring::default_provider().install_default().ok();
        let timeout = Duration::from_secs(self.timeout_seconds.get().into());
        let mut builder = reqwest::Client::builder()
            // The rest of the time is for the response.
            .connect_timeout(LONGEST_CONNECT.min(timeout / 2))
            .dns_resolver(Resolver)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("kerntrail/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &self.ca_file {
            let wrong = |problem| KeyError::new("ca_file", problem);
            let pem = regular_file::read(path, LARGEST_FILE)
                .map_err(|source| wrong(Problem::File { path: path.clone(), source }))?;
            let certificates =
                reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| wrong(Problem::Http(error)))?;
            if certificates.is_empty() {
                return Err(KeyError::value("ca_file", format!("{} holds no certificate", path.display())));
            }
            builder = builder.tls_certs_only(certificates);
        }
        if let Some(proxy) = &self.proxy {
            let wrong = |error: reqwest::Error| KeyError::new("proxy", Problem::Http(error.without_url()));
            builder = builder.proxy(reqwest::Proxy::all(proxy.of_key("proxy")?.text()).map_err(wrong)?);
        }
        let client = builder.build().map_err(|error| KeyError::new("url", Problem::Http(error)))?;
        Ok(Client::new(client, timeout))
    }
}
