//! Sigma rules compiled to DataFusion and run on what arrived in the lake.
//!
//! Invariant: a rule's cursor is a table version, never a clock: late rows are neither missed nor counted twice.
//! Invariant: a rule that uses what cannot be expressed is an error that names it, never a silent non-match.
//! Invariant: findings leave through the event log, like any event; an outbox makes a crash add none and lose none.

pub mod compile;
mod detector;
mod document;
mod evaluate;
mod finding;
pub mod metrics;
mod place;
pub mod rules;
mod sequence;
mod state;
pub mod testing;
mod unheard;

pub use detector::{DetectError, Detector, DetectorConfig};
pub use rules::{Rule, RuleError, RuleKind, Rules};
