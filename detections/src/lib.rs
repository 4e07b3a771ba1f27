//! Sigma rules, compiled to DataFusion and evaluated on the rows that arrive in the lake.
//!
//! Invariant: a rule's cursor is a table version, never a clock: late rows are neither missed nor counted twice.
//! Invariant: a rule that uses something unsupported is an error that names it, never a rule that silently does not match.
//! Invariant: findings go to the event log, like any event; an outbox keeps a crash from losing or repeating one.

mod collection;
pub mod compile;
mod config;
mod correlation;
mod detector;
mod document;
mod evaluate;
mod exceptions;
mod filters;
mod finding;
mod fresh;
mod ignored;
mod line;
pub mod measure;
pub mod metrics;
mod placeholders;
pub mod rules;
mod scan;
mod set_aside;
pub mod sources;
mod state;
mod suppression;
pub mod testing;

pub use config::DetectorConfig;
pub use detector::{DetectError, Detector};
pub use exceptions::{Exception, ExceptionState, Exceptions};
pub use placeholders::Placeholders;
pub use rules::{Rule, RuleError, RuleKind, Rules};
pub use sources::Sources;
pub use suppression::Suppression;
