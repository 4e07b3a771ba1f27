//! Why no response arrived, as far as it matters to what is done next.

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use kerntrail_common::error::chain;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::outcome::Outcome;

/// Why a request has no response.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// The server did not respond in time; it may have processed the request.
    Late(String),
    /// It cannot work as it is configured: the certificate is not accepted, or nothing has the host's name.
    Misconfigured(String),
    /// Anything else, which may pass.
    Failed(String),
}

impl NoAnswer {
    /// What it means for every record of the request.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::Late(words) => Outcome::Late { words },
            Self::Misconfigured(alert) => Outcome::Pause { alert },
            Self::Failed(words) => Outcome::retry(words),
        }
    }
}

impl From<reqwest::Error> for NoAnswer {
    fn from(error: reqwest::Error) -> Self {
        let words = chain(&error);
        let is_configured = |cause: &(dyn Error + 'static)| cause.is::<rustls::Error>() || cause.is::<UnknownHost>();
        if causes(&error).any(is_configured) {
            Self::Misconfigured(words)
        } else if error.is_timeout() && !error.is_connect() {
            Self::Late(words)
        } else {
            Self::Failed(words)
        }
    }
}

/// `error` and what caused it. An `io::Error` says the cause of what it holds, and not what it holds.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(held) => Some(held as &(dyn Error + 'static)),
        None => error.source(),
    })
}

/// No address has this name.
#[derive(Debug, thiserror::Error)]
#[error("no address has the name {name:?}")]
struct UnknownHost {
    name: String,
    #[source]
    source: io::Error,
}

/// Looks up names as the system does, and tells a name that does not exist from a lookup that failed.
pub(crate) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            match tokio::net::lookup_host((name.as_str(), 0)).await {
                Ok(found) => Ok(Box::new(found.collect::<Vec<SocketAddr>>().into_iter()) as Addrs),
                Err(source) if is_unknown(&source) => {
                    Err(UnknownHost { name: name.as_str().to_owned(), source }.into())
                }
                Err(error) => Err(error.into()),
            }
        })
    }
}

/// What getaddrinfo(3) says of EAI_NONAME and EAI_NODATA; the standard library passes on its text and not its code.
fn is_unknown(error: &io::Error) -> bool {
    let text = error.to_string();
    ["Name or service not known", "No address associated with hostname"].iter().any(|known| text.contains(known))
}
