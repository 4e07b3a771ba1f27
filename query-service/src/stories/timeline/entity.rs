//! What a story is about, as people name it: a pod, container, process or finding.

use std::fmt;

use kerntrail_query_engine::QueryError;
use kerntrail_query_engine::output::escape::visible;
use kerntrail_schemas::identity::ProcessUid;

/// What a story is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entity {
    /// A pod; without a namespace, the one pod of that name in any namespace.
    Pod {
        /// Its Kubernetes namespace.
        namespace: Option<String>,
        /// Its name.
        name: String,
    },
    /// A container by its id or a prefix of it.
    Container(String),
    /// A process by its uid.
    Process(String),
    /// The last process that had this number.
    Pid(i32),
    /// A finding by its id or a prefix of it.
    Finding(String),
}

/// Shortest prefix of an id, in characters.
const SHORTEST_PREFIX: usize = 4;

impl Entity {
    /// A pod as `namespace/name` or `name`.
    pub fn pod(text: &str) -> Result<Self, QueryError> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, text),
        };
        if name.is_empty() || name.contains('/') || namespace.as_deref() == Some("") {
            return Err(QueryError::user(format!(
                "\"{}\" is not a pod: expected namespace/name or name",
                visible(text)
            )));
        }
        Ok(Self::Pod { namespace, name: name.to_owned() })
    }

    /// A container by 4 or more characters of its id, also as `kubectl` shows it (`containerd://...`).
    pub fn container(text: &str) -> Result<Self, QueryError> {
        let id = text.rsplit_once("://").map_or(text, |(_, id)| id);
        prefix(id, "container id").map(Self::Container)
    }

    /// A process by its uid (26 characters) or its pid.
    pub fn process(text: &str) -> Result<Self, QueryError> {
        if let Ok(uid) = text.parse::<ProcessUid>() {
            return Ok(Self::Process(uid.to_string()));
        }
        let pid = text.parse::<i32>().ok().filter(|pid| *pid > 0);
        pid.map(Self::Pid).ok_or_else(|| {
            QueryError::user(format!(
                "\"{}\" is not a process: expected a pid, or a process_uid of 26 characters",
                visible(text)
            ))
        })
    }

    /// A finding by 4 or more characters of its id.
    pub fn finding(text: &str) -> Result<Self, QueryError> {
        prefix(text, "finding id").map(Self::Finding)
    }
}

fn prefix(text: &str, what: &str) -> Result<String, QueryError> {
    if text.chars().count() < SHORTEST_PREFIX {
        return Err(QueryError::user(format!(
            "\"{}\" is too short for a {what}: at least {SHORTEST_PREFIX} characters",
            visible(text)
        )));
    }
    Ok(text.to_owned())
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod { namespace: Some(namespace), name } => write!(f, "pod {namespace}/{name}"),
            Self::Pod { namespace: None, name } => write!(f, "pod {name}"),
            Self::Container(id) => write!(f, "container {id}"),
            Self::Process(uid) => write!(f, "process {uid}"),
            Self::Pid(pid) => write!(f, "process {pid}"),
            Self::Finding(id) => write!(f, "finding {id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_entities() {
        let uid = "0".repeat(26);
        for (made, shown) in [
            (Entity::pod("prod/web-0"), Some("pod prod/web-0".to_owned())),
            (Entity::pod("web-0"), Some("pod web-0".to_owned())),
            (Entity::pod("a/b/c"), None),
            (Entity::pod("/b"), None),
            (Entity::pod(""), None),
            (Entity::container("containerd://abcdef"), Some("container abcdef".to_owned())),
            (Entity::container("abc"), None),
            (Entity::process("42"), Some("process 42".to_owned())),
            (Entity::process(&uid), Some(format!("process {uid}"))),
            (Entity::process("-1"), None),
            (Entity::process("sh"), None),
            (Entity::finding("f00d"), Some("finding f00d".to_owned())),
        ] {
            assert_eq!(made.as_ref().map(ToString::to_string).ok(), shown, "{made:?}");
        }
    }
}
