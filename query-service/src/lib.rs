//! SQL, process trees and timelines over the lake.
//!
//! Invariant: nothing here writes; a statement that would is refused before it is planned.
//! Invariant: only `history::lake` and [`engine::Engine::new`] know the lake; everything else sees [`history::Tables`].
//! Invariant: text that came from a watched process reaches a terminal or a page only through [`engine::output::escape`].
//! Invariant: the client and the log get different texts of an error ([`engine::QueryError`]).

pub mod engine;
pub mod history;
pub mod server;
pub mod stories;
