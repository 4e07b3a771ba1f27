//! The history over the query engine: its tables as SQL, process trees and timelines of it, and both over HTTP.
//!
//! Parts, each knowing only those before it: [`kerntrail_query_engine`] (sessions; knows no table of ours) <- `history`
//! (tables of the lake as SQL sees them) <- `stories` (trees and timelines) <- `server` (HTTP) <-
//! `isolation` (the server's queries in a process of their own). `tests/architecture.rs` of the workspace holds them to
//! it.
//!
//! Invariant: only `history::lake` knows the lake; everything else sees [`history::Tables`].
//! Invariant: text that came from a watched process reaches a terminal or a page only through
//! [`kerntrail_query_engine::output::escape`].

pub mod history;
pub mod isolation;
pub mod server;
pub mod stories;
