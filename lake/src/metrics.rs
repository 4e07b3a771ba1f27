//! Names of the metrics.

kerntrail_common::metric_names! {
    /// Commits, by table and operation.
    counter COMMITS_TOTAL = "kerntrail_lake_commits_total";
    /// Rows committed by appends, by table.
    counter EVENTS_IN_TOTAL = "kerntrail_lake_events_in_total";
    /// Bytes of the files that appends committed, by table.
    counter BYTES_WRITTEN_TOTAL = "kerntrail_lake_bytes_written_total";
    /// Commits that lost a race for a version, by table; most are retried at the next version.
    counter RACES_TOTAL = "kerntrail_lake_races_total";
    /// Appends refused because their progress was already recorded, by table.
    counter CONFLICTS_TOTAL = "kerntrail_lake_conflicts_total";
    /// Files in the current snapshot, by table.
    gauge FILES = "kerntrail_lake_files";
    /// Records of progress in the current snapshot, offsets and batch numbers, by table; ended streams expire.
    gauge PROGRESS_RECORDS = "kerntrail_lake_progress_records";
    /// Files that compaction replaced, by table.
    counter COMPACTED_FILES_TOTAL = "kerntrail_lake_compacted_files_total";
    /// 1 while files are not merged because a newer release added columns to the table, by table.
    gauge COMPACTION_HELD = "kerntrail_lake_compaction_held";
    /// Files that vacuum deleted, by table.
    counter VACUUMED_FILES_TOTAL = "kerntrail_lake_vacuumed_files_total";
}
