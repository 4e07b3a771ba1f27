//! Delta tables: exactly-once appends, compaction and retention.
//!
//! Layout: `<lake>/<tenant>/<table>/` is a Delta table, partitioned by `date`, of plain Parquet files.
//! deltalake-core supplies the log store with its atomic put-if-absent, the actions and their JSON, and checkpoints;
//! the snapshot, the Parquet writer and the commit loop are here, because a commit every second must not replay the log.
//!
//! Invariant: rows and the progress of their source share one Delta commit, so a replay never doubles a row.
//! Invariant: progress only rises; a writer that lost a race gets [`LakeError::Conflict`] and writes nothing.
//! Invariant: a commit that is no change of data (compaction) holds exactly the rows of the files it removes.
//! Invariant: this crate does not know where rows come from; it never talks to the event log.
//!
//! What survives: after kill -9 or a power cut at any point the table is as of some commit, and as of every commit
//! that returned; files that no commit names are removed by [`LakeTable::vacuum`]. `object_store` writes local files
//! without fsync, so a local lake syncs them itself, data before commit; a checkpoint that a power cut damaged is passed
//! over.

mod added;
mod append;
mod checkpoint;
mod commit;
mod compact;
mod error;
mod file;
mod lake;
mod lock;
mod log;
pub mod metrics;
mod progress;
mod provider;
mod session;
mod shape;
mod sort;
mod state;
mod stats;
mod table;
mod vacuum;
mod writer;

pub use added::Added;
pub use compact::{CompactOptions, CompactReport};
pub use error::LakeError;
pub use lake::Lake;
pub use lock::LakeLock;
pub use progress::Progress;
pub use session::session_config;
pub use table::LakeTable;
pub use vacuum::VacuumReport;
