//! Tokens, and how a request presents one.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::reply::Code;

/// A token with its settings, as an administrator creates it.
#[derive(Clone, Debug)]
pub struct Token {
    /// The secret.
    pub value: String,
    /// A disabled token gets code 1.
    pub enabled: bool,
    /// Whether deliveries get an `ackId`, and therefore need a channel.
    pub acknowledge: bool,
    /// The indexes it may write to; empty means all.
    pub indexes: Vec<String>,
    /// The index for events that name none.
    pub default_index: String,
    /// Whether the secret may be in the query string (`?token=`).
    pub query_authorization: bool,
}

impl Token {
    /// An enabled token for all indexes, without acknowledgement.
    pub fn new(value: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            enabled: true,
            acknowledge: false,
            indexes: Vec::new(),
            default_index: "main".to_owned(),
            query_authorization: false,
        }
    }

    /// Adds indexer acknowledgement.
    pub fn with_acknowledgement(mut self) -> Self {
        self.acknowledge = true;
        self
    }

    /// Limits it to these indexes; the first is the default.
    pub fn with_indexes(mut self, indexes: &[&str]) -> Self {
        self.indexes = indexes.iter().map(|index| index.to_string()).collect();
        self.default_index = self.indexes.first().cloned().unwrap_or(self.default_index);
        self
    }

    pub(super) fn allows(&self, index: &str) -> bool {
        self.indexes.is_empty() || self.indexes.iter().any(|allowed| allowed == index)
    }
}

/// Finds the token that the request presents: `Authorization: Splunk <token>`, basic authorization with the token as
/// password, or `?token=` where the token allows it.
pub(super) fn authorize(tokens: &[Token], headers: &HeaderMap, query_token: Option<&str>) -> Result<Token, Code> {
    let find = |secret: &str| tokens.iter().find(|token| token.value == secret).ok_or(Code::InvalidToken);
    let token = match (headers.get(AUTHORIZATION), query_token) {
        (Some(header), _) => find(&secret(header.to_str().map_err(|_| Code::InvalidAuthorization)?)?)?,
        (None, Some(secret)) => {
            let token = find(secret)?;
            if !token.query_authorization {
                return Err(Code::QueryAuthorizationDisabled);
            }
            token
        }
        (None, None) => return Err(Code::TokenRequired),
    };
    if token.enabled { Ok(token.clone()) } else { Err(Code::TokenDisabled) }
}

fn secret(header: &str) -> Result<String, Code> {
    let (scheme, rest) = header.trim().split_once(' ').ok_or(Code::InvalidAuthorization)?;
    let rest = rest.trim();
    if rest.is_empty() {
        return Err(Code::TokenRequired);
    }
    match scheme {
        "Splunk" => Ok(rest.to_owned()),
        "Basic" => {
            let decoded = BASE64_STANDARD.decode(rest).map_err(|_| Code::InvalidAuthorization)?;
            let pair = String::from_utf8(decoded).map_err(|_| Code::InvalidAuthorization)?;
            pair.split_once(':').map(|(_, password)| password.to_owned()).ok_or(Code::InvalidAuthorization)
        }
        _ => Err(Code::InvalidAuthorization),
    }
}
