//! One file per subcommand.

pub mod config;
pub mod lake;
pub mod log;
pub mod query;
pub mod replay;
pub mod rules;
pub mod run;
pub mod serve;
pub mod sinks;
pub mod story;
