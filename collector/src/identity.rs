//! Which container and pod a process acts in, as far as is known.
//!
//! The bundle is looked up at the first event of a container and, while it is missing, again at later ones; the pod
//! comes from the watch whenever it has it. What was once found stays until no process needs it.
//!
//! Invariant: a container that a process refers to is never forgotten; of the others, [`MOST_CONTAINERS`] are kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kerntrail_common::backoff::Backoff;
use kerntrail_common::error::chain;
use kerntrail_schemas::identity::ContainerId;

use crate::bundle::{self, Bundle};
use crate::container;
use crate::metrics as names;
use crate::node::Node;
use crate::pods::{Pod, Pods};

/// Containers held, besides those that processes refer to.
const MOST_CONTAINERS: usize = 2_048;
/// Shortest and longest wait between two lookups of a missing bundle.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// A container that processes refer to.
#[derive(Debug)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Uid of its pod by the cgroup's path.
    pod_uid: Option<String>,
    /// Whether a process has entered it: a later one from outside does not start it.
    entered: AtomicBool,
}

impl Container {
    /// Whether a process enters it for the first time.
    pub(crate) fn enter(&self) -> bool {
        !self.entered.swap(true, Ordering::Relaxed)
    }
}

/// What is known of a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// What the runtime wrote.
    pub bundle: Option<Arc<Bundle>>,
    /// What the API server says of its pod.
    pub pod: Option<Arc<Pod>>,
}

/// The containers of this node.
#[derive(Debug)]
pub struct Identities {
    node: Arc<Node>,
    pods: Arc<Pods>,
    /// Generation of the pods that `known` was made with.
    generation: u64,
    known: HashMap<ContainerId, Known>,
    version: u64,
}

#[derive(Debug)]
struct Known {
    container: Arc<Container>,
    identity: Arc<Identity>,
    /// When to look for a missing bundle again, CLOCK_BOOTTIME ns.
    look_again_ns: u64,
    lookups: Backoff,
    used_ns: u64,
}

impl Identities {
    /// No container yet.
    pub fn new(node: Arc<Node>, pods: Arc<Pods>) -> Self {
        Self { node, pods, generation: 0, known: HashMap::new(), version: 0 }
    }

    /// The container that a cgroup at `path` belongs to; `None` for the node itself.
    pub fn container_at(&mut self, path: &str, now_ns: u64) -> Option<Arc<Container>> {
        let found = container::parse(path)?;
        if self.node.container.as_ref() == Some(&found.id) {
            return None;
        }
        let id = ContainerId::new(found.id);
        if let Some(known) = self.known.get_mut(&id) {
            known.used_ns = now_ns;
            return Some(Arc::clone(&known.container));
        }
        self.make_room();
        let container = Arc::new(Container { id: id.clone(), pod_uid: found.pod_uid, entered: AtomicBool::new(false) });
        let known = Known {
            container: Arc::clone(&container),
            identity: Arc::default(),
            look_again_ns: 0,
            lookups: Backoff::new(LOOK_AGAIN.0, LOOK_AGAIN.1),
            used_ns: now_ns,
        };
        self.known.insert(id, known);
        metrics::gauge!(names::CONTAINERS).set(self.known.len() as f64);
        Some(container)
    }

    /// What is known of `container` at an event at `now_ns`.
    pub fn of(&mut self, container: &Container, now_ns: u64) -> Arc<Identity> {
        self.follow_pods();
        let Some(known) = self.known.get_mut(&container.id) else { return Arc::default() };
        known.used_ns = now_ns;
        if known.identity.bundle.is_none() && now_ns >= known.look_again_ns {
            let found = look_up(&self.node, &container.id);
            known.look_again_ns = now_ns + known.lookups.after_failure_alone().as_nanos() as u64;
            if found.is_some() || known.identity.pod.is_none() {
                let bundle = found.map(Arc::new);
                let pod = pod_of(&self.pods, container, bundle.as_deref());
                replace(known, Identity { bundle, pod }, &mut self.version);
            }
        }
        Arc::clone(&known.identity)
    }

    /// A number that rises whenever what is known of a container changed.
    pub fn version(&mut self) -> u64 {
        self.follow_pods();
        self.version
    }

    fn follow_pods(&mut self) {
        let generation = self.pods.generation();
        if std::mem::replace(&mut self.generation, generation) == generation {
            return;
        }
        for known in self.known.values_mut() {
            let bundle = known.identity.bundle.clone();
            // A pod that the API server has forgotten is still the pod of its container.
            let pod = pod_of(&self.pods, &known.container, bundle.as_deref()).or_else(|| known.identity.pod.clone());
            replace(known, Identity { bundle, pod }, &mut self.version);
        }
    }

    /// Forgets the least recently used half of those that no process refers to.
    fn make_room(&mut self) {
        if self.known.len() < MOST_CONTAINERS {
            return;
        }
        let mut unused: Vec<u64> = self
            .known
            .values()
            .filter(|known| Arc::strong_count(&known.container) == 1)
            .map(|known| known.used_ns)
            .collect();
        unused.sort_unstable();
        if let Some(limit) = unused.get(unused.len() / 2).copied() {
            self.known.retain(|_, known| Arc::strong_count(&known.container) > 1 || known.used_ns > limit);
        }
    }
}

fn look_up(node: &Node, id: &ContainerId) -> Option<Bundle> {
    bundle::read(&node.root, &node.runtimes, id.as_str()).unwrap_or_else(|error| {
        metrics::counter!(names::BUNDLE_ERRORS).increment(1);
        tracing::debug!(error = chain(&error), "a bundle cannot be read");
        None
    })
}

fn pod_of(pods: &Pods, container: &Container, bundle: Option<&Bundle>) -> Option<Arc<Pod>> {
    let uid = bundle.and_then(|bundle| bundle.pod_uid.as_deref()).or(container.pod_uid.as_deref());
    pods.find(uid, container.id.as_str())
}

fn replace(known: &mut Known, identity: Identity, version: &mut u64) {
    if *known.identity != identity {
        known.identity = Arc::new(identity);
        *version += 1;
    }
}

/// What is known of the pod of a process in `container`; see the column `enrichment_state`.
///
/// A container that is in no pod by its cgroup and its bundle is `complete` once it has a name or an image: there is
/// nothing more to know.
pub fn enrichment_state(container: Option<&Container>, identity: &Identity) -> &'static str {
    let Some(container) = container else { return "host" };
    match (&identity.bundle, &identity.pod) {
        (_, Some(_)) => "complete",
        (None, None) => "no_bundle",
        (Some(bundle), None)
            if bundle.pod_uid.is_none() && bundle.pod_name.is_none() && container.pod_uid.is_none() =>
        {
            if bundle.container_name.is_some() || bundle.image.is_some() { "complete" } else { "no_name" }
        }
        (Some(_), None) => "no_api",
    }
}

/// Uid of the pod of `container`, from the first source that has it.
pub(crate) fn pod_uid<'a>(container: &'a Container, identity: &'a Identity) -> Option<&'a str> {
    let pod = identity.pod.as_ref().map(|pod| pod.uid.as_str());
    let bundle = identity.bundle.as_ref().and_then(|bundle| bundle.pod_uid.as_deref());
    pod.or(bundle).or(container.pod_uid.as_deref())
}
