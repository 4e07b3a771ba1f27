//! One Parquet file of a table.

use std::collections::HashMap;
use std::str::Utf8Error;
use std::sync::{Arc, OnceLock};

use chrono::{Datelike, NaiveDate};
use datafusion::common::Statistics;
use deltalake_core::kernel::{Add, Remove};
use kerntrail_schemas::Table;
use percent_encoding::percent_decode_str;

use crate::stats;

/// The column that tables are partitioned by.
pub(crate) const PARTITION: &str = "date";
/// Folder for rows whose day is unknown: Hive's name for a NULL partition.
const UNKNOWN_DAY: &str = "__HIVE_DEFAULT_PARTITION__";
/// Days from 0001-01-01 to 1970-01-01.
const EPOCH_FROM_CE: i32 = 719_163;

/// A Parquet file that a commit added.
#[derive(Debug)]
pub(crate) struct DataFile {
    /// Path below the table.
    pub(crate) path: Arc<str>,
    /// Days since the Unix epoch; `None` for rows whose day is unknown.
    pub(crate) day: Option<i32>,
    /// Bytes.
    pub(crate) size: u64,
    /// Milliseconds since the Unix epoch.
    pub(crate) modified: i64,
    /// Delta's JSON of row count, null counts, lowest and highest values.
    pub(crate) stats_json: Option<Box<str>>,
    /// [`DataFile::stats_json`], parsed at first use.
    statistics: OnceLock<Arc<Statistics>>,
}

impl DataFile {
    /// The file that `add` names.
    pub(crate) fn new(add: Add) -> Self {
        let day = add.partition_values.get(PARTITION).and_then(Option::as_deref);
        Self::read(add.path.into(), day, add.size, add.modification_time, add.stats.map(Into::into))
    }

    /// The file that the log describes so: `day` as text, `size` in bytes, `modified` in milliseconds since the epoch.
    pub(crate) fn read(
        path: Arc<str>,
        day: Option<&str>,
        size: i64,
        modified: i64,
        stats_json: Option<Box<str>>,
    ) -> Self {
        let (day, size) = (day.and_then(parse_day), u64::try_from(size).unwrap_or(0));
        Self { path, day, size, modified, stats_json, statistics: OnceLock::new() }
    }

    /// A file that was just written and is not committed yet.
    pub(crate) fn fresh(path: String, day: Option<i32>, size: u64, stats_json: String) -> Self {
        let stats_json = Some(stats_json.into());
        Self { path: path.into(), day, size, modified: now(), stats_json, statistics: OnceLock::new() }
    }

    /// Its statistics, of the columns of `table` in order, without the partition column.
    pub(crate) fn statistics(&self, table: Table) -> Arc<Statistics> {
        Arc::clone(self.statistics.get_or_init(|| Arc::new(stats::read(table, self.stats_json.as_deref(), self.size))))
    }

    /// Number of rows, if its statistics have it.
    pub(crate) fn rows(&self, table: Table) -> Option<usize> {
        self.statistics(table).num_rows.get_value().copied()
    }

    /// The action that adds it.
    pub(crate) fn add(&self, data_change: bool) -> Add {
        Add {
            path: self.path.to_string(),
            partition_values: partition_values(self.day),
            size: self.size as i64,
            modification_time: self.modified,
            data_change,
            stats: self.stats_json.as_deref().map(str::to_owned),
            ..Add::default()
        }
    }

    /// The action that removes it without changing the table's rows.
    pub(crate) fn remove(&self, now: i64) -> Remove {
        Remove {
            path: self.path.to_string(),
            data_change: false,
            deletion_timestamp: Some(now),
            extended_file_metadata: Some(true),
            partition_values: Some(partition_values(self.day)),
            size: Some(self.size as i64),
            ..Remove::default()
        }
    }
}

fn partition_values(day: Option<i32>) -> HashMap<String, Option<String>> {
    HashMap::from([(PARTITION.to_owned(), day.and_then(format_day))])
}

/// A new, unique path below the table for a file of `day`.
pub(crate) fn new_path(day: Option<i32>) -> String {
    let folder = day.and_then(format_day).unwrap_or_else(|| UNKNOWN_DAY.to_owned());
    format!("{PARTITION}={folder}/part-{}.zstd.parquet", uuid::Uuid::new_v4())
}

fn format_day(day: i32) -> Option<String> {
    let date = NaiveDate::from_num_days_from_ce_opt(day.checked_add(EPOCH_FROM_CE)?)?;
    Some(date.format("%Y-%m-%d").to_string())
}

fn parse_day(text: &str) -> Option<i32> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(date.num_days_from_ce() - EPOCH_FROM_CE)
}

/// A file's path as text of the log: a URI, in which some characters are written as `%` and two hex digits.
pub(crate) fn decode_path(text: &str) -> Result<String, Utf8Error> {
    Ok(percent_decode_str(text).decode_utf8()?.into_owned())
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formatted_days_are_parsed_back() {
        for day in [0, -1, 20_781, 2_932_896, -719_162] {
            let text = format_day(day).unwrap();
            assert_eq!(parse_day(&text), Some(day), "{text}");
        }
        assert_eq!(format_day(20_781).as_deref(), Some("2026-11-24"));
        assert_eq!(format_day(i32::MAX), None);
    }
}
