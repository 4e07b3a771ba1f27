//! Names of the metrics.

/// Commits, by table and operation.
pub const COMMITS_TOTAL: &str = "kerntrail_lake_commits_total";
/// Rows committed by appends, by table.
pub const EVENTS_IN_TOTAL: &str = "kerntrail_lake_events_in_total";
/// Bytes of the files that appends committed, by table.
pub const BYTES_WRITTEN_TOTAL: &str = "kerntrail_lake_bytes_written_total";
/// Commits that lost a race for a version, by table; most are tried again at the next version.
pub const RACES_TOTAL: &str = "kerntrail_lake_races_total";
/// Appends refused because their progress was already recorded, by table.
pub const CONFLICTS_TOTAL: &str = "kerntrail_lake_conflicts_total";
/// Files of the current snapshot, by table.
pub const FILES: &str = "kerntrail_lake_files";
/// Files that compaction replaced, by table.
pub const COMPACTED_FILES_TOTAL: &str = "kerntrail_lake_compacted_files_total";
/// Files that vacuum deleted, by table.
pub const VACUUMED_FILES_TOTAL: &str = "kerntrail_lake_vacuumed_files_total";
