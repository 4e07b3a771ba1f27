//! Delta tables: exactly-once appends, compaction and retention.
//!
//! Layout: `<lake>/<tenant>/<table>/` is a Delta table, partitioned by `date`, of plain Parquet files.
//! deltalake-core supplies the log store with its atomic put-if-absent, the actions and their JSON, and the writing of
//! checkpoints. The snapshot, the Parquet writer and the commit loop are here, because a commit every second must neither
//! replay the log nor copy the snapshot.
//!
//! Invariant: rows and the progress of their source share one Delta commit, so a replay never duplicates a row.
//! Invariant: progress only rises; a writer that lost a race gets [`LakeError::Conflict`] and writes nothing.
//! Invariant: the offset of a partition never expires; the batch number of a stream does, a month after its last commit.
//! Invariant: a compaction adds exactly the rows of the files that it removes.
//! Invariant: this crate does not know where rows come from; it never talks to the event log.
//!
//! Durability: after kill -9 or a power cut at any point, the table has every commit that returned. Files that no commit
//! names are removed by [`LakeTable::vacuum`]. `object_store` writes local files without fsync, so a local lake syncs them
//! itself, data before commit. A checkpoint that a power cut damaged is ignored.

mod added;
mod append;
mod checkpoint;
mod clock;
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
mod repeat;
mod shape;
mod sort;
mod state;
mod stats;
mod table;
mod txns;
mod vacuum;
mod writer;

pub use added::Added;
pub use compact::{CompactOptions, CompactReport};
pub use error::LakeError;
pub use lake::Lake;
pub use lock::LakeLock;
pub use progress::Progress;
pub use repeat::EventKey;
pub use table::LakeTable;
pub use vacuum::VacuumReport;
