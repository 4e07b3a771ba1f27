//! Which boundaries each event crossed.
//!
//! Two sources: a call's own before/after columns, and the actor's state compared with what its lineage had before
//! (imported events have only that). A crossing is reported once per lineage: children inherit what was reported.
//!
//! A lineage is *confined* once it was born in a container or put into one by a runtime; that is not a crossing. A
//! confined lineage that enters a namespace, cgroup or root directory of the host is *outside* from then on, and so
//! are its children: that is the escape.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kerntrail_schemas::activity::BoundaryEvidence;
use kerntrail_schemas::capabilities;
use serde::Serialize;

use super::collect::HostNamespaces;
use super::events::{Actor, Change, Event, Pair};

/// What was crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Boundary {
    MountNamespace,
    PidNamespace,
    NetworkNamespace,
    UserNamespace,
    Container,
    Cgroup,
    RootDirectory,
    HostMount,
    UserId,
    Capabilities,
}

impl Boundary {
    /// Its name in a sentence.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::MountNamespace => "mount namespace",
            Self::PidNamespace => "pid namespace",
            Self::NetworkNamespace => "network namespace",
            Self::UserNamespace => "user namespace",
            Self::Container => "container",
            Self::Cgroup => "cgroup",
            Self::RootDirectory => "root directory",
            Self::HostMount => "host file system",
            Self::UserId => "user id",
            Self::Capabilities => "capabilities",
        }
    }
}

/// One boundary crossed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Crossing {
    pub(crate) boundary: Boundary,
    pub(crate) before: String,
    pub(crate) after: String,
    /// Capabilities gained.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) gained: Vec<String>,
    /// Whether a confined process came to the host by it.
    pub(crate) escape: bool,
}

/// What an event crossed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    pub(crate) crossings: Vec<Crossing>,
    /// Whether the lineage is outside the container in which it started, including this event.
    pub(crate) outside: bool,
}

/// The marks of each of `events`, which are in order.
pub(crate) fn mark(events: &[Event], hosts: &BTreeMap<String, HostNamespaces>) -> Vec<Marks> {
    let mut walk = Walk { labels: Labels::learn(events, hosts), lineages: HashMap::new() };
    events.iter().map(|event| walk.mark(event)).collect()
}

/// What is known of a process's past, its ancestors included.
#[derive(Clone, Debug, Default)]
struct Lineage {
    /// Last values of the actor's columns.
    values: BTreeMap<Boundary, i64>,
    container: Option<String>,
    confined: bool,
    outside: bool,
    reported: BTreeSet<(Boundary, String)>,
}

struct Walk<'a> {
    labels: Labels<'a>,
    lineages: HashMap<&'a str, Lineage>,
}

impl<'a> Walk<'a> {
    fn mark(&mut self, event: &'a Event) -> Marks {
        let mut lineage = self.lineage(event);
        let mut crossings = Vec::new();
        if let Some(change) = &event.change
            && event.ret.is_none_or(|ret| ret >= 0)
            && event.entry().is_none_or(|activity| activity.boundary.is_some())
        {
            self.of_call(event, change, &mut lineage, &mut crossings);
        }
        self.of_actor(event, &mut lineage, &mut crossings);
        let outside = lineage.outside;
        self.lineages.insert(&event.actor.process, lineage);
        Marks { crossings, outside }
    }

    /// The process's own past, else that of its nearest known ancestor, else what its first event shows.
    fn lineage(&mut self, event: &'a Event) -> Lineage {
        let actor = &event.actor;
        if let Some(known) = self.lineages.remove(actor.process.as_str()) {
            return known;
        }
        let inherited = actor.ancestors.iter().find_map(|ancestor| self.lineages.get(ancestor.as_str()));
        inherited.cloned().unwrap_or_else(|| {
            let born = actor.origin.as_ref().map(|origin| origin.container.clone());
            let container = born.or_else(|| actor.container.as_ref().map(|container| container.id.clone()));
            let values = compared(actor).into_iter().filter_map(|(boundary, value)| Some((boundary, value?)));
            let mut values: BTreeMap<Boundary, i64> = values.collect();
            values.extend(actor.capabilities.map(|mask| (Boundary::Capabilities, mask)));
            Lineage { values, confined: container.is_some(), container, ..Lineage::default() }
        })
    }

    /// Crossings that a successful call itself shows.
    fn of_call(&self, event: &Event, change: &Change, lineage: &mut Lineage, out: &mut Vec<Crossing>) {
        let pairs: [(Boundary, Pair); 6] = [
            (Boundary::MountNamespace, change.mnt_ns),
            (Boundary::PidNamespace, change.pid_ns),
            (Boundary::NetworkNamespace, change.net_ns),
            (Boundary::UserNamespace, change.user_ns),
            (Boundary::Cgroup, change.cgroup),
            (Boundary::UserId, change.uid),
        ];
        for (boundary, pair) in pairs {
            if let Some((before, after)) = pair
                && before != after
            {
                self.cross(event, boundary, before, after, lineage, out);
            }
        }
        if let Some((before, after)) = change.capabilities {
            gain(before, after, lineage, out);
        }
        self.of_files(event, change, lineage, out);
    }

    /// A mount or a new root directory that reaches the node's files.
    fn of_files(&self, event: &Event, change: &Change, lineage: &mut Lineage, out: &mut Vec<Crossing>) {
        // A runtime gives the container its root, which may be a folder of the node.
        if !change.mount_is_host || !lineage.confined || event.by_starting_runtime() {
            return;
        }
        let boundary = match event.entry().and_then(|activity| activity.boundary) {
            Some(BoundaryEvidence::NewRoot { .. }) => Boundary::RootDirectory,
            Some(BoundaryEvidence::Mount { .. }) => Boundary::HostMount,
            Some(BoundaryEvidence::StateChange) | None => return,
        };
        let after = format!("the node's root file system at {}", change.path.as_deref().unwrap_or("an unknown path"));
        let before = "the container's files".to_owned();
        report(
            Crossing { boundary, before, after, gained: Vec::new(), escape: boundary == Boundary::RootDirectory },
            lineage,
            out,
        );
    }

    /// Crossings that only the actor's changed state shows.
    fn of_actor(&self, event: &Event, lineage: &mut Lineage, out: &mut Vec<Crossing>) {
        let actor = &event.actor;
        for (boundary, value) in compared(actor) {
            let Some(value) = value else { continue };
            match lineage.values.insert(boundary, value) {
                Some(before) if before != value => self.cross(event, boundary, before, value, lineage, out),
                _ => {}
            }
        }
        if let Some(mask) = actor.capabilities
            && let Some(before) = lineage.values.insert(Boundary::Capabilities, mask)
        {
            gain(before, mask, lineage, out);
        }
        let container = actor.container.as_ref().map(|container| container.id.clone());
        if !lineage.confined && container.is_some() {
            // What it had on the host is what a runtime has there.
            *lineage = Lineage {
                values: std::mem::take(&mut lineage.values),
                confined: true,
                container,
                ..Lineage::default()
            };
        } else if container != lineage.container {
            let (before, after) = (self.labels.container(&lineage.container), self.labels.container(&container));
            let escape = lineage.confined && container.is_none();
            lineage.container = container;
            report(Crossing { boundary: Boundary::Container, before, after, gained: Vec::new(), escape }, lineage, out);
        }
    }

    fn cross(
        &self,
        event: &Event,
        boundary: Boundary,
        before: i64,
        after: i64,
        lineage: &mut Lineage,
        out: &mut Vec<Crossing>,
    ) {
        let to_host = boundary != Boundary::UserId && self.labels.is_host(boundary, &event.node, after);
        let crossing = Crossing {
            boundary,
            before: self.labels.value(boundary, &event.node, before),
            after: self.labels.value(boundary, &event.node, after),
            gained: Vec::new(),
            // Other host namespaces than these are often given to pods on purpose.
            escape: to_host
                && lineage.confined
                && matches!(boundary, Boundary::MountNamespace | Boundary::PidNamespace),
        };
        report(crossing, lineage, out);
    }
}

/// The actor's columns that are compared from event to event.
fn compared(actor: &Actor) -> [(Boundary, Option<i64>); 5] {
    [
        (Boundary::MountNamespace, actor.mnt_ns),
        (Boundary::PidNamespace, actor.pid_ns),
        (Boundary::NetworkNamespace, actor.net_ns),
        (Boundary::UserNamespace, actor.user_ns),
        (Boundary::UserId, actor.euid),
    ]
}

/// Capabilities gained; losing some is not a crossing.
fn gain(before: i64, after: i64, lineage: &mut Lineage, out: &mut Vec<Crossing>) {
    let gained = capability_names(after & !before);
    if !gained.is_empty() {
        let (before, after) = (format!("0x{before:x}"), format!("0x{after:x}"));
        report(Crossing { boundary: Boundary::Capabilities, before, after, gained, escape: false }, lineage, out);
    }
}

fn capability_names(mask: i64) -> Vec<String> {
    capabilities::names(mask, |bit| format!("CAP_{bit}"))
}

/// Reports `crossing` unless it was already reported for the lineage.
fn report(crossing: Crossing, lineage: &mut Lineage, out: &mut Vec<Crossing>) {
    if lineage.reported.insert((crossing.boundary, crossing.after.clone())) {
        lineage.outside |= crossing.escape;
        out.push(crossing);
    }
}

/// Names of namespaces and containers.
struct Labels<'a> {
    hosts: &'a BTreeMap<String, HostNamespaces>,
    /// Learned from actors that say where they are.
    host: BTreeSet<(Boundary, &'a str, i64)>,
    /// The first namespace seen of a container.
    containers: BTreeMap<(Boundary, &'a str, i64), String>,
    names: BTreeMap<&'a str, String>,
}

impl<'a> Labels<'a> {
    fn learn(events: &'a [Event], hosts: &'a BTreeMap<String, HostNamespaces>) -> Self {
        let mut labels = Self { hosts, host: BTreeSet::new(), containers: BTreeMap::new(), names: BTreeMap::new() };
        let mut first = BTreeSet::new();
        for event in events {
            let (actor, node) = (&event.actor, event.node.as_str());
            for (boundary, inside) in
                [(Boundary::MountNamespace, actor.in_host_mnt_ns), (Boundary::PidNamespace, actor.in_host_pid_ns)]
            {
                let value = compared(actor).into_iter().find_map(|(known, value)| value.filter(|_| known == boundary));
                labels.host.extend(value.filter(|_| inside).map(|value| (boundary, node, value)));
            }
            let Some(container) = &actor.container else { continue };
            labels.names.entry(&container.id).or_insert_with(|| {
                let short: String = container.id.chars().take(12).collect();
                container.name.as_ref().map_or_else(|| short.clone(), |name| format!("{name} ({short})"))
            });
            if actor.in_host_mnt_ns {
                continue;
            }
            for (boundary, value) in compared(actor) {
                if let Some(value) = value
                    && boundary != Boundary::UserId
                    && first.insert((boundary, container.id.as_str()))
                {
                    let name = container.name.clone().unwrap_or_else(|| labels.names[container.id.as_str()].clone());
                    labels.containers.entry((boundary, node, value)).or_insert(format!("container {name}"));
                }
            }
        }
        labels
    }

    fn is_host(&self, boundary: Boundary, node: &str, value: i64) -> bool {
        let init = self.hosts.get(node).and_then(|host| match boundary {
            Boundary::MountNamespace => host.mnt,
            Boundary::PidNamespace => host.pid,
            Boundary::NetworkNamespace => host.net,
            Boundary::UserNamespace => host.user,
            _ => None,
        });
        init == Some(value) || self.host.contains(&(boundary, node, value))
    }

    fn value(&self, boundary: Boundary, node: &str, value: i64) -> String {
        if self.is_host(boundary, node, value) {
            return format!("{value} (host)");
        }
        match self.containers.get(&(boundary, node, value)) {
            Some(label) => format!("{value} ({label})"),
            None => value.to_string(),
        }
    }

    fn container(&self, id: &Option<String>) -> String {
        let Some(id) = id else { return "the host".to_owned() };
        self.names.get(id.as_str()).cloned().unwrap_or_else(|| id.chars().take(12).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::capability_names;

    #[test]
    fn a_capability_without_a_name_is_named_by_its_bit() {
        assert_eq!(capability_names(1 | 1 << 21 | 1 << 40), ["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"]);
        assert_eq!(capability_names(1 << 45), ["CAP_45"]);
        assert!(capability_names(0).is_empty());
    }
}
