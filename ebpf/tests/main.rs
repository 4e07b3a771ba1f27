//! The kernel programs, loaded into the real kernel: each hook is triggered and its raw records are read.
//!
//! Needs root and BPF: without them a test prints the reason and passes; with `CI` set it fails. Whatever mounts or
//! changes root does so in a child with a mount namespace of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod existing;
mod filter;
mod layout;
mod live;
mod loss;
mod network;
mod not_supported;
mod older_kernels;
mod privilege;
mod process;
mod refused;
