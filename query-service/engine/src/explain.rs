//! EXPLAIN without the paths of files.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::LogicalPlan;

/// Whether rows of `plan` describe how a query is run.
pub(crate) fn is_explain(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_))
}

/// `batch` with each file path cut to its last part.
pub(crate) fn without_paths(batch: &RecordBatch) -> RecordBatch {
    let columns: Vec<ArrayRef> = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Utf8 => {
                let texts = column.as_string::<i32>().iter().map(|text| text.map(without_path));
                Arc::new(texts.collect::<StringArray>()) as ArrayRef
            }
            _ => Arc::clone(column),
        })
        .collect();
    RecordBatch::try_new(batch.schema(), columns).unwrap_or_else(|_| RecordBatch::new_empty(batch.schema()))
}

fn without_path(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_inclusive([' ', ',', '[', ']', '{', '}', '(', ')', '\n']) {
        let is_path = word.contains('/') && (word.contains(".parquet") || word.contains("://"));
        out.push_str(if is_path { word.rsplit('/').next().unwrap_or(word) } else { word });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::without_path;

    #[test]
    fn only_file_paths_are_shortened() {
        let plan = "DataSourceExec: file_groups={2 groups: [[var/lib/kt/t/process_events/date=2026-08-01/a.parquet:0..9], \
                    [s3://b/x/b.parquet]]}, predicate=process_path = /bin/sh";
        let cut =
            "DataSourceExec: file_groups={2 groups: [[a.parquet:0..9], [b.parquet]]}, predicate=process_path = /bin/sh";
        assert_eq!(without_path(plan), cut);
    }
}
