//! The in-memory state of the store: topics, the offsets of each partition, and what groups have committed.

use std::collections::{BTreeMap, HashMap};

use super::groups::Groups;
use super::store::{Entry, Store, StoreError};
use crate::log::{Group, Partition, Position, Topic};

/// The offsets and size of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Offset of the oldest message held; `next` where none is.
    pub(super) low: i64,
    /// Offset that the next message will get.
    pub(super) next: i64,
    /// Bytes held.
    pub(super) bytes: u64,
}

#[derive(Default)]
pub(super) struct State {
    topics: BTreeMap<Topic, (u32, Vec<Extent>)>,
    /// Partitions of the topics that a group has subscribed to, with what it has committed.
    committed: BTreeMap<Group, HashMap<Partition, Option<i64>>>,
    /// Offset of the message that a member of a group reads next: those before it are in its memory, or committed.
    read: HashMap<(Group, Partition), i64>,
    /// Topics of tables that this release does not know, by id, with the bytes held: a newer one made them. They stay as
    /// they are.
    unknown: BTreeMap<u32, u64>,
    pub(super) members: Groups,
}

impl State {
    pub(super) fn load(store: &Store) -> Result<Self, StoreError> {
        let (mut topics, mut extents, mut offsets) = (HashMap::new(), Vec::new(), Vec::new());
        let mut state = Self::default();
        for entry in store.entries() {
            match entry? {
                Entry::Topic { name, id, partitions } => match Topic::parse(&name) {
                    Some(topic) => {
                        topics.insert(id, (topic, vec![Extent::default(); partitions as usize]));
                    }
                    None => {
                        tracing::warn!(topic = name, "ignored a topic that a newer release created");
                        state.unknown.insert(id, 0);
                    }
                },
                Entry::Extent { id, partition, extent } => extents.push((id, partition, extent)),
                Entry::Committed { group, id, partition, next } => offsets.push((group, id, partition, next)),
            }
        }
        for (id, partition, extent) in extents {
            if let Some(bytes) = state.unknown.get_mut(&id) {
                *bytes += extent.bytes;
                continue;
            }
            let place = topics.get_mut(&id).and_then(|(_, extents)| extents.get_mut(partition as usize));
            *place.ok_or_else(|| format!("partition {partition} of topic {id} has no topic"))? = extent;
        }
        for (group, id, number, next) in offsets.into_iter().filter(|(_, id, ..)| !state.unknown.contains_key(id)) {
            let (topic, _) = topics.get(&id).ok_or_else(|| format!("{} has offsets of an unknown topic", group.0))?;
            let partition = Partition { topic: topic.clone(), number: number as i32 };
            state.committed.entry(group).or_default().insert(partition, next);
        }
        state.topics = topics.into_iter().map(|(id, (topic, extents))| (topic, (id, extents))).collect();
        Ok(state)
    }

    pub(super) fn topic(&self, topic: &Topic) -> Option<(u32, Vec<Extent>)> {
        self.topics.get(topic).cloned()
    }

    pub(super) fn next_topic_id(&self) -> u32 {
        let used = self.topics.values().map(|(id, _)| *id).chain(self.unknown.keys().copied());
        used.max().map_or(0, |id| id + 1)
    }

    pub(super) fn add_topic(&mut self, topic: Topic, id: u32, partitions: u32) {
        self.topics.insert(topic, (id, vec![Extent::default(); partitions as usize]));
    }

    pub(super) fn extents(&self, topic: &Topic) -> Option<impl Iterator<Item = (Partition, Extent)>> {
        let (_, extents) = self.topics.get(topic)?;
        let partition = |number| Partition { topic: topic.clone(), number };
        Some((0..).zip(extents).map(move |(number, extent)| (partition(number), *extent)))
    }

    pub(super) fn extent(&self, partition: &Partition) -> Option<(u32, Extent)> {
        let (id, extents) = self.topics.get(&partition.topic)?;
        Some((*id, *extents.get(usize::try_from(partition.number).ok()?)?))
    }

    pub(super) fn set_extents(&mut self, topic: &Topic, extents: Vec<Extent>) {
        if let Some((_, known)) = self.topics.get_mut(topic) {
            *known = extents;
        }
    }

    pub(super) fn held_bytes(&self) -> u64 {
        let known = self.topics.values().flat_map(|(_, extents)| extents).map(|extent| extent.bytes);
        known.chain(self.unknown.values().copied()).sum()
    }

    pub(super) fn partitions(&self, topics: &[Topic]) -> Vec<Partition> {
        topics.iter().filter_map(|topic| self.extents(topic)).flatten().map(|(partition, _)| partition).collect()
    }

    pub(super) fn groups(&self) -> Vec<Group> {
        self.committed.keys().cloned().collect()
    }

    /// Those of `partitions` that `group` has not subscribed to so far, with the ids of their topics.
    pub(super) fn unregistered(&self, group: &Group, partitions: &[Partition]) -> Vec<(Partition, u32)> {
        let known = self.committed.get(group);
        let new = partitions.iter().filter(|partition| !known.is_some_and(|known| known.contains_key(partition)));
        new.filter_map(|partition| Some((partition.clone(), self.extent(partition)?.0))).collect()
    }

    pub(super) fn register(&mut self, group: &Group, partitions: impl Iterator<Item = Partition>) {
        self.committed.entry(group.clone()).or_default().extend(partitions.map(|partition| (partition, None)));
    }

    /// The partitions that `group` has subscribed to, with the ids of their topics.
    pub(super) fn registered(&self, group: &Group) -> Vec<(Partition, u32)> {
        let partitions = self.committed.get(group).into_iter().flat_map(HashMap::keys);
        partitions.filter_map(|partition| Some((partition.clone(), self.extent(partition)?.0))).collect()
    }

    /// A member of `group` reads `partition` at the offset `next` next.
    pub(super) fn set_read(&mut self, group: &Group, partition: &Partition, next: i64) {
        self.read.insert((group.clone(), partition.clone()), next);
    }

    /// The groups that have subscribed to `partition` and that `counts`, each with the offset that it reads next.
    pub(super) fn starts(&self, partition: &Partition, counts: impl Fn(&Group) -> bool) -> Vec<(Group, i64)> {
        let subscribed = self.committed.iter().filter(|(_, offsets)| offsets.contains_key(partition));
        let next = |group: &Group| {
            let read = self.read.get(&(group.clone(), partition.clone())).copied().unwrap_or_default();
            (group.clone(), self.start(group, partition).max(read))
        };
        subscribed.map(|(group, _)| group).filter(|group| counts(group)).map(next).collect()
    }

    pub(super) fn forget(&mut self, group: &Group) {
        self.committed.remove(group);
        self.read.retain(|(reader, _), _| reader != group);
    }

    pub(super) fn set_committed(&mut self, group: &Group, partition: &Partition, next: i64) {
        self.committed.entry(group.clone()).or_default().insert(partition.clone(), Some(next));
    }

    pub(super) fn committed(&self, group: &Group, topic: &Topic) -> Vec<Position> {
        let offsets = self.committed.get(group).into_iter().flatten().filter(|(part, _)| part.topic == *topic);
        let mut positions: Vec<Position> = offsets
            .filter_map(|(partition, next)| Some(Position { partition: partition.clone(), next: (*next)? }))
            .collect();
        positions.sort_by_key(|position| position.partition.number);
        positions
    }

    /// The offset at which `group` resumes in `partition`.
    pub(super) fn start(&self, group: &Group, partition: &Partition) -> i64 {
        let committed = self.committed.get(group).and_then(|offsets| offsets.get(partition)).copied().flatten();
        let low = self.extent(partition).map_or(0, |(_, extent)| extent.low);
        committed.map_or(low, |next| next.max(low))
    }

    /// Partitions that hold messages which every group that `counts` has read, and up to which offset.
    pub(super) fn read_by_all(&self, counts: impl Fn(&Group) -> bool) -> Vec<(Partition, i64)> {
        let mut lowest: HashMap<&Partition, i64> = HashMap::new();
        let groups = self.committed.iter().filter(|(group, _)| counts(group));
        for (partition, next) in groups.flat_map(|(_, offsets)| offsets) {
            let next = next.unwrap_or(0);
            lowest.entry(partition).and_modify(|least| *least = next.min(*least)).or_insert(next);
        }
        let read = lowest.into_iter().filter_map(|(partition, floor)| {
            let (_, extent) = self.extent(partition)?;
            let floor = floor.min(extent.next);
            (floor > extent.low).then(|| (partition.clone(), floor))
        });
        read.collect()
    }
}
