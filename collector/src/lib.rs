//! Node agent: kernel records become enriched Arrow batches in the event log.
//!
//! Path of an event: [`source`] (the kernel's ring) -> [`decode`] (who acted, own columns) -> [`process_tree`]
//! (ancestry) -> [`identity`] (container, pod) -> `actor` (the actor's columns) -> [`batch`] (Arrow, messages) ->
//! `sender` (event log). [`agent`] drives it; [`loss`] accounts for events that were lost.
//!
//! Invariant: no event waits for anything outside this machine; what is not known yet is NULL in its row.
//! Invariant: everything held is bounded; beyond each bound there is backpressure or a row of `event_loss`.
//! Invariant: secrets of command lines are masked before they reach a row.

mod actor;
pub mod agent;
pub mod batch;
pub mod bundle;
pub mod cgroups;
pub mod clock;
pub mod config;
pub mod container;
pub mod decode;
mod ebpf_source;
pub mod enrich;
pub mod entry;
pub mod event;
pub mod identity;
pub mod loss;
pub mod metrics;
pub mod node;
mod not_supported;
pub mod pods;
pub mod preflight;
pub mod process;
pub mod process_tree;
mod reap;
mod sender;
pub mod source;
mod state;
pub mod users;

pub use agent::{Collector, CollectorError};
pub use config::{CollectorConfig, Kube, KubernetesConfig, NodeConfig};
pub use ebpf_source::EbpfSource;
pub use kerntrail_common::mask::{self, MaskConfig};
pub use preflight::{Missing, preflight};
