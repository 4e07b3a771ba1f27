//! What a format needs in addition to the record: where rows come from, and the actors made recently.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use kerntrail_common::mask::Mask;
use kerntrail_common::shell;
use kerntrail_schemas::identity::{BootHash, StreamId};
use kerntrail_schemas::tables::Actor;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::identity::canonical::mix;

/// Where rows come from: what their stream and the messages that carry them are named after.
#[derive(Debug)]
pub struct EventOrigin {
    name: String,
    is_node: bool,
    stream: StreamId,
    boot: BootHash,
}

impl EventOrigin {
    fn new(format: &str, name: &str, is_node: bool) -> Self {
        Self { name: name.to_owned(), is_node, stream: StreamId::of_import(format, name), boot: BootHash::of(name) }
    }

    /// Name of the node, or of what else made the events.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a node, so that its name is the column `node` of its rows.
    pub fn is_node(&self) -> bool {
        self.is_node
    }

    /// The stream of its rows: `format:name`.
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// Stands for the boots of the node, which an export does not name.
    pub fn boot(&self) -> &BootHash {
        &self.boot
    }
}

/// An actor with a hash of what it was made of: actors with the same key are equal.
#[derive(Clone, Debug)]
pub struct KeyedActor {
    pub(super) key: u64,
    pub(super) actor: Arc<Actor>,
}

impl KeyedActor {
    /// The actor.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }
}

/// Nodes remembered by each parser, and as many other origins; more than a cluster has nodes, fewer than garbage could name.
const MAX_ORIGINS: usize = 20_000;

/// What holds for all records of an input, and what a parser remembers of one format from record to record.
#[derive(Debug)]
pub struct FormatScope {
    format: &'static str,
    /// Node to use instead of the one that records name.
    node: Option<String>,
    /// Node of records that name none.
    missing_node: Option<String>,
    /// Cluster to use instead of the one that records name.
    cluster: Option<String>,
    nodes: HashMap<String, Arc<EventOrigin>>,
    others: HashMap<String, Arc<EventOrigin>>,
    actors: Arc<Actors>,
    mask: Option<Arc<Mask>>,
}

impl FormatScope {
    /// For records of `format`. `node`, `cluster`: to use instead of what records name; `missing_node`: where they name none.
    /// `actors`: shared by the parsers.
    pub(super) fn new(
        format: &'static str,
        (node, missing_node): (Option<String>, Option<String>),
        cluster: Option<String>,
        (actors, mask): (Arc<Actors>, Option<Arc<Mask>>),
    ) -> Self {
        Self { format, node, missing_node, cluster, nodes: HashMap::new(), others: HashMap::new(), actors, mask }
    }

    /// The node of a record that names `named`, unless the user named another; `None` when there is none of both, nor one for
    /// records without.
    pub fn node(&mut self, named: Option<&str>) -> Option<Arc<EventOrigin>> {
        match self.node.take() {
            Some(node) => {
                let origin = self.origin(&node, true);
                self.node = Some(node);
                origin
            }
            None => match named {
                Some(named) => self.origin(named, true),
                None => self.origin(&self.missing_node.clone()?, true),
            },
        }
    }

    /// What made the events of a record, such as a cluster, where that is not a node; `None` when `name` is empty.
    pub fn other_origin(&mut self, name: &str) -> Option<Arc<EventOrigin>> {
        self.origin(name, false)
    }

    fn origin(&mut self, name: &str, is_node: bool) -> Option<Arc<EventOrigin>> {
        if name.is_empty() {
            return None;
        }
        let known = if is_node { &mut self.nodes } else { &mut self.others };
        if let Some(origin) = known.get(name) {
            return Some(Arc::clone(origin));
        }
        if known.len() >= MAX_ORIGINS {
            known.clear();
        }
        let origin = Arc::new(EventOrigin::new(self.format, name, is_node));
        known.insert(name.to_owned(), Arc::clone(&origin));
        Some(origin)
    }

    /// The cluster of a record that names `named`, unless the user named another.
    pub fn cluster(&self, named: Option<&str>) -> Option<String> {
        self.cluster.as_deref().or(named).map(str::to_owned)
    }

    /// The actor made of `content`: one made before, or the one that `make` makes.
    ///
    /// `content` holds everything that `make` reads, since actors of equal content are one, and nothing else: what
    /// differs between events of one process would make an actor for each.
    pub fn actor<E>(&self, content: &impl Hash, make: impl FnOnce() -> Result<Actor, E>) -> Result<KeyedActor, E> {
        self.actors.get(self.format, content, || Ok(self.masked(make()?)))
    }
}

impl FormatScope {
    /// `value` without the secrets in its texts, which may be parts of command lines.
    pub(super) fn masked_texts(&self, value: &Value) -> Value {
        let Some(mask) = &self.mask else { return value.clone() };
        let inner = |value: &Value| self.masked_texts(value);
        match value {
            Value::String(text) => mask.text(text).into_owned().into(),
            Value::Array(items) => items.iter().map(inner).collect(),
            Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), inner(value))).collect(),
            other => other.clone(),
        }
    }

    /// `actor` without the secrets of its command lines.
    fn masked(&self, mut actor: Actor) -> Actor {
        let Some(mask) = &self.mask else { return actor };
        for args in [&mut actor.args, &mut actor.parent_args].into_iter().flatten() {
            *args = mask.args(args);
        }
        match (&actor.args, &mut actor.cmd_line) {
            (Some(args), Some(line)) => *line = shell::quoted(args),
            (None, Some(line)) => *line = mask.text(line).into_owned(),
            _ => {}
        }
        actor
    }
}

/// Actors in the newer half of those remembered, about 2 KiB each; the older half has as many.
const MAX_ACTORS: usize = 8192;

/// The actors made recently: a process has several events, and making its actor costs more than the rest of a record.
#[derive(Debug, Default)]
pub(super) struct Actors {
    /// Random, so that no one can construct two records whose actors have the same key.
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
    fn get<E>(
        &self,
        format: &str,
        content: &impl Hash,
        make: impl FnOnce() -> Result<Actor, E>,
    ) -> Result<KeyedActor, E> {
        let mut hasher = ContentHasher(self.seed.0);
        format.hash(&mut hasher);
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
        let forgotten = if made.new.len() >= MAX_ACTORS {
            let full = mem::take(&mut made.new);
            mem::replace(&mut made.old, full)
        } else {
            HashMap::new()
        };
        made.new.insert(key, Arc::clone(&actor));
        // Dropped after the lock is released: there are thousands of them.
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
    fn actors_are_shared_and_their_number_is_bounded() {
        let actors = Actors::default();
        let make = |pid: i32| {
            actors.get("test", &("process", pid), || Ok::<_, ()>(Actor { pid: Some(pid), ..Actor::default() }))
        };
        let first = make(1).unwrap();
        assert!(Arc::ptr_eq(&first.actor, &make(1).unwrap().actor));
        assert_ne!(first.key, make(2).unwrap().key);
        for pid in 0..5 * MAX_ACTORS as i32 {
            let made = make(pid).unwrap();
            assert_eq!(made.actor.pid, Some(pid));
        }
        let kept = {
            let made = actors.made.lock().unwrap();
            made.new.len() + made.old.len()
        };
        assert!((MAX_ACTORS..=2 * MAX_ACTORS).contains(&kept), "{kept}");
        assert!(actors.get("test", &"bad", || Err(())).is_err());
    }
}
