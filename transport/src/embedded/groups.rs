//! Which member reads which partition. No IO, no waiting: the members poll.
//!
//! A partition goes to its new reader only once the old one has given it up: see [`Groups::change`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::log::{Group, Partition, Polled, Topic};

/// A member of a group.
pub(super) type MemberId = u64;

#[derive(Default)]
struct Member {
    topics: BTreeSet<Topic>,
    /// The partitions that it has taken over.
    owned: BTreeSet<Partition>,
    /// The partitions assigned to it.
    wanted: BTreeSet<Partition>,
}

/// The members of all groups.
#[derive(Default)]
pub(super) struct Groups {
    next: MemberId,
    members: HashMap<Group, BTreeMap<MemberId, Member>>,
}

impl Groups {
    /// Adds a member that reads `topics`, which have these `partitions`.
    pub(super) fn join(&mut self, group: &Group, partitions: &[Partition]) -> MemberId {
        self.next += 1;
        let topics = partitions.iter().map(|partition| partition.topic.clone()).collect();
        let members = self.members.entry(group.clone()).or_default();
        members.insert(self.next, Member { topics, ..Member::default() });
        let known = members.values().flat_map(|member| member.wanted.iter()).chain(partitions);
        let all: BTreeSet<Partition> = known.cloned().collect();
        share(members, &all);
        self.next
    }

    /// Removes a member; its partitions go to the others.
    pub(super) fn leave(&mut self, group: &Group, id: MemberId) {
        let Some(members) = self.members.get_mut(group) else { return };
        let all: BTreeSet<Partition> = members.values().flat_map(|member| &member.wanted).cloned().collect();
        members.remove(&id);
        if members.is_empty() {
            self.members.remove(group);
        } else {
            share(members, &all);
        }
    }

    /// The next change that the member must get, which the caller hands over. What it must give up comes first, and what it
    /// gains only once no other member reads it.
    pub(super) fn change(&mut self, group: &Group, id: MemberId) -> Option<Polled> {
        let members = self.members.get_mut(group)?;
        let member = members.get_mut(&id)?;
        let lost: Vec<Partition> = member.owned.difference(&member.wanted).cloned().collect();
        if !lost.is_empty() {
            member.owned.retain(|partition| member.wanted.contains(partition));
            return Some(Polled::Revoked(lost));
        }
        let held: BTreeSet<Partition> =
            members.iter().filter(|(other, _)| **other != id).flat_map(|(_, other)| other.owned.clone()).collect();
        let member = members.get_mut(&id)?;
        let gained: Vec<Partition> =
            member.wanted.iter().filter(|part| !member.owned.contains(part) && !held.contains(part)).cloned().collect();
        if gained.is_empty() {
            return None;
        }
        member.owned.extend(gained.iter().cloned());
        Some(Polled::Assigned(gained))
    }

    /// Whether the member reads `partition` now.
    pub(super) fn owns(&self, group: &Group, id: MemberId, partition: &Partition) -> bool {
        let member = self.members.get(group).and_then(|members| members.get(&id));
        member.is_some_and(|member| member.owned.contains(partition))
    }

    /// Whether the group has members.
    pub(super) fn is_joined(&self, group: &Group) -> bool {
        self.members.contains_key(group)
    }
}

/// Distributes `all` evenly over the members; each keeps the partitions it has as far as that allows.
fn share(members: &mut BTreeMap<MemberId, Member>, all: &BTreeSet<Partition>) {
    let quota = all.len().div_ceil(members.len().max(1));
    let mut before: HashMap<Partition, MemberId> = HashMap::new();
    for (id, member) in members.iter_mut() {
        before.extend(std::mem::take(&mut member.wanted).into_iter().map(|partition| (partition, *id)));
    }
    let mut free = Vec::new();
    for partition in all {
        match before.get(partition).and_then(|id| members.get_mut(id)).filter(|member| member.wanted.len() < quota) {
            Some(member) => drop(member.wanted.insert(partition.clone())),
            None => free.push(partition.clone()),
        }
    }
    for partition in free {
        let readers = members.values_mut().filter(|member| member.topics.contains(&partition.topic));
        if let Some(member) = readers.min_by_key(|member| member.wanted.len()) {
            member.wanted.insert(partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use kerntrail_schemas::Table;

    use super::*;

    fn partitions(count: i32) -> Vec<Partition> {
        let topic = Topic { tenant: "t".into(), table: Table::ProcessEvents };
        (0..count).map(|number| Partition { topic: topic.clone(), number }).collect()
    }

    #[test]
    fn a_partition_is_reassigned_only_after_its_reader_saw_the_revocation() {
        let (mut groups, group, all) = (Groups::default(), Group("g".into()), partitions(4));
        let first = groups.join(&group, &all);
        assert_eq!(groups.change(&group, first), Some(Polled::Assigned(all.clone())));
        let second = groups.join(&group, &all);
        assert_eq!(groups.change(&group, second), None);
        let Some(Polled::Revoked(moved)) = groups.change(&group, first) else { panic!("nothing revoked") };
        assert_eq!(moved.len(), 2);
        assert!(!groups.owns(&group, first, &moved[0]));
        assert_eq!(groups.change(&group, second), Some(Polled::Assigned(moved)));
        groups.leave(&group, first);
        let Some(Polled::Assigned(rest)) = groups.change(&group, second) else { panic!("nothing assigned") };
        assert_eq!(rest.len(), 2);
        groups.leave(&group, second);
        assert!(!groups.is_joined(&group));
    }

    #[test]
    fn more_members_than_partitions_leaves_some_idle() {
        let (mut groups, group, all) = (Groups::default(), Group("g".into()), partitions(1));
        let ids = [groups.join(&group, &all), groups.join(&group, &all)];
        assert_eq!(groups.change(&group, ids[0]), Some(Polled::Assigned(all.clone())));
        assert_eq!(groups.change(&group, ids[1]), None);
        groups.leave(&group, ids[0]);
        assert_eq!(groups.change(&group, ids[1]), Some(Polled::Assigned(all)));
    }
}
