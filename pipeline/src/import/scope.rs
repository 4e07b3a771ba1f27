//! What a kind of record must offer to be imported: one more format is one more module with this trait.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use kerntrail_schemas::Table;
use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::identity::{BootHash, StreamId};
use kerntrail_schemas::tables::{Actor, FileColumns, KernelColumns, NetworkColumns, ProcessColumns};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::formats::tetragon::Tetragon;
use super::identity::canonical::mix;

/// The formats known, the likeliest first.
pub(crate) const FORMATS: &[&dyn Format] = &[&Tetragon];

/// A kind of records.
pub(crate) trait Format: Send + Sync {
    /// Its name: the kind in the stream's name, and the column `source`.
    fn name(&self) -> &'static str;

    /// Reads the JSON object `text`; `None` when it is none of this kind.
    fn read(&self, text: &str, scope: &mut Scope) -> Option<Result<Reading, Refusal>>;
}

/// What a record means.
#[derive(Debug)]
pub(crate) enum Reading {
    /// A row of a table.
    Row(Row),
    /// An event of this kind that no table has a place for; its name.
    NoPlace(String),
}

/// Why a record is not taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is no JSON of the right shape.
    Json(serde_json::Error),
    /// It says something that cannot be; or lacks something.
    Content(String),
}

impl Refusal {
    /// The record holds `what`, and nothing can be made of it.
    pub(crate) fn content(what: impl Into<String>) -> Self {
        Self::Content(what.into())
    }
}

impl From<serde_json::Error> for Refusal {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

/// A row as a record gives it.
#[derive(Debug)]
pub(crate) struct Row {
    /// When it happened.
    pub(crate) time: Micros,
    /// The node it happened on.
    pub(crate) node: Arc<Node>,
    pub(crate) cluster: Option<String>,
    pub(crate) activity: &'static str,
    pub(crate) action: &'static str,
    pub(crate) policy: Option<String>,
    pub(crate) count: i64,
    /// Who acted.
    pub(crate) actor: KeyedActor,
    /// Own columns of the table.
    pub(crate) own: Own,
}

/// An actor with a hash of what it was made of: those of the same key are equal.
#[derive(Clone, Debug)]
pub(crate) struct KeyedActor {
    pub(crate) key: u64,
    pub(crate) actor: Arc<Actor>,
}

/// Own columns of the tables that records can fill.
#[derive(Debug)]
pub(crate) enum Own {
    /// Of `process_events`.
    Process(ProcessColumns),
    /// Of `file_events`.
    File(FileColumns),
    /// Of `kernel_events`; boxed, as the next, since they are rare and large.
    Kernel(Box<KernelColumns>),
    /// Of `network_flows`.
    Network(Box<NetworkColumns>),
}

impl Own {
    /// The table.
    pub(crate) fn table(&self) -> Table {
        match self {
            Self::Process(_) => Table::ProcessEvents,
            Self::File(_) => Table::FileEvents,
            Self::Kernel(_) => Table::KernelEvents,
            Self::Network(_) => Table::NetworkFlows,
        }
    }
}

/// A node whose events are imported.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its name.
    pub(crate) name: String,
    /// The stream of its events.
    pub(crate) stream: StreamId,
    /// Stands for its boots, which an export does not name.
    pub(crate) boot: BootHash,
}

/// Nodes remembered; more than a cluster has, fewer than garbage could name.
const MOST_NODES: usize = 20_000;

/// What holds for all records of an input, and what one record leaves for the next.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// Node to use instead of the one that records name.
    node: Option<String>,
    /// Cluster to use instead of the one that records name.
    pub(crate) cluster: Option<String>,
    nodes: HashMap<String, Arc<Node>>,
    actors: Arc<Actors>,
}

impl Scope {
    /// `node`, `cluster`: to use instead of what records name. `actors`: shared by those who parse.
    pub(crate) fn new(node: Option<String>, cluster: Option<String>, actors: Arc<Actors>) -> Self {
        Self { node, cluster, nodes: HashMap::new(), actors }
    }

    /// The actor made of `content`: one made before, or what `make` makes of it.
    pub(crate) fn actor<E>(
        &self,
        content: &impl Hash,
        make: impl FnOnce() -> Result<Actor, E>,
    ) -> Result<KeyedActor, E> {
        self.actors.get(content, make)
    }

    /// The node of a record of the format `kind` that names `named`; `None` when neither names one.
    pub(crate) fn node(&mut self, kind: &str, named: Option<&str>) -> Option<Arc<Node>> {
        let name = self.node.as_deref().or(named).filter(|name| !name.is_empty())?;
        if let Some(known) = self.nodes.get(name) {
            return Some(Arc::clone(known));
        }
        let node =
            Arc::new(Node { name: name.to_owned(), stream: StreamId::of_import(kind, name), boot: BootHash::of(name) });
        if self.nodes.len() >= MOST_NODES {
            self.nodes.clear();
        }
        self.nodes.insert(name.to_owned(), Arc::clone(&node));
        Some(node)
    }
}

/// Actors remembered, about 2 KiB each; twice as many at most.
const MOST_ACTORS: usize = 8192;

/// The actors made lately: a process has several events, and making it costs more than all else of a record.
#[derive(Debug, Default)]
pub(crate) struct Actors {
    /// Random, so that nobody can write two records whose actors have the same key.
    seed: RandomSeed,
    made: Mutex<Generations>,
}

#[derive(Debug)]
struct RandomSeed(u64);

impl Default for RandomSeed {
    fn default() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }
}

/// The newer half and the older half.
#[derive(Debug, Default)]
struct Generations {
    new: HashMap<u64, Arc<Actor>>,
    old: HashMap<u64, Arc<Actor>>,
}

impl Actors {
    fn get<E>(&self, content: &impl Hash, make: impl FnOnce() -> Result<Actor, E>) -> Result<KeyedActor, E> {
        let mut hasher = ContentHasher(self.seed.0);
        content.hash(&mut hasher);
        let key = hasher.finish();
        let known = {
            let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            made.new.get(&key).or_else(|| made.old.get(&key)).cloned()
        };
        if let Some(actor) = known {
            return Ok(KeyedActor { key, actor });
        }
        let actor = Arc::new(make()?);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = if made.new.len() >= MOST_ACTORS {
            let full = mem::take(&mut made.new);
            mem::replace(&mut made.old, full)
        } else {
            HashMap::new()
        };
        made.new.insert(key, Arc::clone(&actor));
        // Not under the lock: there are thousands of them.
        drop(made);
        drop(forgotten);
        Ok(KeyedActor { key, actor })
    }
}

/// Hashes many short texts quickly.
struct ContentHasher(u64);

impl Hasher for ContentHasher {
    fn finish(&self) -> u64 {
        mix(self.0, 0x9e37_79b9_7f4a_7c15)
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }
    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = mix(self.0, number);
    }
    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_are_made_once_and_not_all_kept() {
        let actors = Actors::default();
        let make =
            |pid: i32| actors.get(&("process", pid), || Ok::<_, ()>(Actor { pid: Some(pid), ..Actor::default() }));
        let first = make(1).unwrap();
        assert!(Arc::ptr_eq(&first.actor, &make(1).unwrap().actor));
        assert_ne!(first.key, make(2).unwrap().key);
        for pid in 0..5 * MOST_ACTORS as i32 {
            let made = make(pid).unwrap();
            assert_eq!(made.actor.pid, Some(pid));
        }
        let kept = {
            let made = actors.made.lock().unwrap();
            made.new.len() + made.old.len()
        };
        assert!((MOST_ACTORS..=2 * MOST_ACTORS).contains(&kept), "{kept}");
        assert!(actors.get(&"bad", || Err(())).is_err());
    }
}
