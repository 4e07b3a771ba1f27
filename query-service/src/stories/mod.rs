//! Stories of the history: the timeline of a pod, container, process or finding, and the tree of its processes.

pub mod timeline;
pub mod tree;
