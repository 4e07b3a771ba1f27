//! What the history tells of a pod, container, process or finding: as a timeline, and as a tree of processes.

pub mod timeline;
pub mod tree;
