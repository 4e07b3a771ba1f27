//! The lake through its public face: real Delta tables in temporary folders.

#![allow(unreachable_pub)]

mod added;
mod append;
mod compaction;
mod faults;
mod faulty_store;
mod reading;
mod support;
mod upkeep;
