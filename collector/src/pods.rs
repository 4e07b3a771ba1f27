//! The pods of this node as the API server knows them: labels, workload, service account, container names.
//!
//! Invariant: nothing waits for the API server; what it has not sent yet is unknown, and rows show that.
//! Invariant: at most [`MOST_PODS`] pods are held, including deleted ones.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod as ApiPod;
use kerntrail_common::backoff::Backoff;
use kerntrail_common::error::chain;
use kerntrail_schemas::cell::Labels;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Config};
use tokio_util::sync::CancellationToken;

use crate::bundle::digest_of;
use crate::config::Kube;
use crate::metrics as names;

/// Pods held; a node runs 110 by default.
pub const MOST_PODS: usize = 4_096;
/// Deleted pods kept for late events.
const MOST_DELETED: usize = 256;
/// Bounds of the first and of any wait between two attempts to reach the API server.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.labels`.
    pub labels: Labels,
    /// Kind and name of the workload that owns it.
    pub workload: Option<(String, String)>,
    /// `spec.serviceAccountName`.
    pub service_account: Option<String>,
    /// Its containers that have been created.
    pub containers: Vec<PodContainer>,
    /// Hash of its manifest, which the kubelet uses as the uid of a static pod.
    config_hash: Option<String>,
}

/// A container in a pod's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodContainer {
    /// The runtime's id.
    pub id: String,
    /// Name in the pod.
    pub name: String,
    /// Image reference.
    pub image: String,
    /// Digest of the image.
    pub image_digest: Option<String>,
}

impl Pod {
    /// The part of `pod` that rows need; `None` for an object without a uid or a name, which no API server sends.
    pub fn of_api(pod: &ApiPod) -> Option<Self> {
        let meta = &pod.metadata;
        let labels: Labels = meta.labels.clone().unwrap_or_default().into_iter().collect();
        let status = pod.status.as_ref();
        let lists = [
            status.and_then(|status| status.init_container_statuses.as_ref()),
            status.and_then(|status| status.container_statuses.as_ref()),
            status.and_then(|status| status.ephemeral_container_statuses.as_ref()),
        ];
        let containers = lists.into_iter().flatten().flatten().filter_map(|status| {
            // `containerd://<id>`
            let id = status.container_id.as_deref()?.rsplit('/').next()?;
            Some(PodContainer {
                id: id.to_owned(),
                name: status.name.clone(),
                image: status.image.clone(),
                image_digest: digest_of(&status.image_id),
            })
        });
        Some(Self {
            uid: meta.uid.clone()?,
            name: meta.name.clone()?,
            namespace: meta.namespace.clone().unwrap_or_default(),
            workload: workload(pod, &labels),
            service_account: pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()),
            containers: containers.collect(),
            config_hash: meta.annotations.as_ref().and_then(|notes| notes.get("kubernetes.io/config.hash").cloned()),
            labels,
        })
    }

    /// Its container `id`.
    pub fn container(&self, id: &str) -> Option<&PodContainer> {
        self.containers.iter().find(|container| container.id == id)
    }
}

/// The workload according to the pod's own object: a Deployment names its ReplicaSets `<its name>-<pod-template-hash>`.
fn workload(pod: &ApiPod, labels: &Labels) -> Option<(String, String)> {
    let owners = pod.metadata.owner_references.as_ref()?;
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    let deployment = labels
        .get("pod-template-hash")
        .filter(|_| owner.kind == "ReplicaSet")
        .and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
    Some(match deployment {
        Some(name) => ("Deployment".to_owned(), name.to_owned()),
        None => (owner.kind.clone(), owner.name.clone()),
    })
}

/// The pods of this node.
#[derive(Debug, Default)]
pub struct Pods {
    store: RwLock<Store>,
    /// Rises with each change.
    generation: AtomicU64,
    up: AtomicBool,
}

#[derive(Debug, Default)]
struct Store {
    by_uid: HashMap<String, Arc<Pod>>,
    /// Container ids and static pods' hashes.
    by_other: HashMap<String, Arc<Pod>>,
    deleted: VecDeque<String>,
    /// Uids seen since the list began.
    listing: Option<HashSet<String>>,
    refused: u64,
}

impl Pods {
    /// The pod with this uid (or manifest hash, for a static pod), or the one that has this container.
    pub fn find(&self, uid: Option<&str>, container: &str) -> Option<Arc<Pod>> {
        let store = self.read();
        let by_uid = uid.and_then(|uid| store.by_uid.get(uid).or_else(|| store.by_other.get(uid)));
        by_uid.or_else(|| store.by_other.get(container)).cloned()
    }

    /// A number that rises with each change.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether the watch is up.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// Applies an event of the watch.
    pub fn apply(&self, event: Event<ApiPod>) {
        let mut store = self.write();
        let changed = match event {
            Event::Init => {
                store.listing = Some(HashSet::new());
                false
            }
            Event::InitApply(pod) | Event::Apply(pod) => Pod::of_api(&pod).is_some_and(|pod| store.put(pod)),
            Event::Delete(pod) => {
                pod.metadata.uid.into_iter().for_each(|uid| store.delete(uid));
                false
            }
            Event::InitDone => {
                let listed = store.listing.take().unwrap_or_default();
                let gone: Vec<String> = store.by_uid.keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
                gone.into_iter().for_each(|uid| store.delete(uid));
                false
            }
        };
        metrics::gauge!(names::PODS).set(store.by_uid.len() as f64);
        if changed {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn set_up(&self, up: bool) {
        if self.up.swap(up, Ordering::AcqRel) != up {
            if up {
                tracing::info!("the pod watch is up");
            } else {
                tracing::warn!(
                    "the pod watch is down: new pods have no labels, workload and service account until it is back"
                );
            }
            metrics::gauge!(names::API_UP).set(f64::from(u8::from(up)));
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Store> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Store> {
        self.store.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Whether that changed anything.
    fn put(&mut self, pod: Pod) -> bool {
        if let Some(listing) = &mut self.listing {
            listing.insert(pod.uid.clone());
        }
        self.deleted.retain(|uid| *uid != pod.uid);
        let known = self.by_uid.get(&pod.uid);
        if known.is_some_and(|known| **known == pod) {
            return false;
        }
        if known.is_none() && self.by_uid.len() >= MOST_PODS && !self.forget_a_deleted_one() {
            self.refused += 1;
            if self.refused == 1 {
                tracing::warn!(limit = MOST_PODS, "this node has more pods than the limit; the others stay unknown");
            }
            return false;
        }
        self.remove(&pod.uid.clone());
        let pod = Arc::new(pod);
        let others = pod.containers.iter().map(|container| &container.id).chain(&pod.config_hash);
        self.by_other.extend(others.map(|key| (key.clone(), Arc::clone(&pod))));
        self.by_uid.insert(pod.uid.clone(), pod);
        true
    }

    /// Marks a pod as deleted; it stays for a while, since events of its last moments may come later.
    fn delete(&mut self, uid: String) {
        if !self.by_uid.contains_key(&uid) || self.deleted.contains(&uid) {
            return;
        }
        self.deleted.push_back(uid);
        if self.deleted.len() > MOST_DELETED {
            self.forget_a_deleted_one();
        }
    }

    fn forget_a_deleted_one(&mut self) -> bool {
        self.deleted.pop_front().is_some_and(|uid| {
            self.remove(&uid);
            true
        })
    }

    fn remove(&mut self, uid: &str) {
        if let Some(pod) = self.by_uid.remove(uid) {
            self.by_other.retain(|_, other| !Arc::ptr_eq(other, &pod));
        }
    }
}

/// Keeps `pods` current until `cancel`, through all outages of the API server.
pub async fn watch(pods: Arc<Pods>, kube: Kube, node: String, cancel: CancellationToken) {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    let mut last_error = String::new();
    while !cancel.is_cancelled() {
        let watched = tokio::select! {
            () = cancel.cancelled() => break,
            watched = watch_once(&pods, &kube, &node) => watched,
        };
        pods.set_up(false);
        // Every attempt ends in an error; only a different one is logged.
        let error = watched.err().map(|error| chain(&*error)).unwrap_or_default();
        if error != last_error {
            tracing::warn!(error, "cannot watch this node's pods; retrying");
            backoff.reset();
            last_error = error;
        }
        tokio::select! {
            () = cancel.cancelled() => break,
            () = tokio::time::sleep(backoff.after_failure()) => {}
        }
    }
    pods.set_up(false);
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Watches until the first error.
async fn watch_once(pods: &Pods, kube: &Kube, node: &str) -> Result<(), AnyError> {
    let api: Api<ApiPod> = Api::all(client(kube).await?);
    let config = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let mut events = pin!(watcher::watcher(api, config));
    while let Some(event) = events.next().await {
        let event = event?;
        if matches!(event, Event::InitDone) {
            pods.apply(event);
            pods.set_up(true);
        } else {
            pods.apply(event);
        }
    }
    Ok(())
}

async fn client(kube: &Kube) -> Result<Client, AnyError> {
    // Fails when the process already has a provider, which is fine.
    rustls::crypto::ring::default_provider().install_default().ok();
    let config = match kube {
        Kube::Off => return Err("the pod watch is off".into()),
        Kube::InCluster => Config::incluster()?,
        Kube::Kubeconfig(path) => {
            Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &KubeConfigOptions::default()).await?
        }
    };
    Ok(Client::try_from(config)?)
}

#[cfg(test)]
mod tests;
