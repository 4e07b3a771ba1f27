//! Everything that the pipeline itself makes: the time of ingestion, and rows about messages that cannot be read.

use std::sync::Arc;

use expect_test::expect_file;
use kerntrail_lake::Lake;
use kerntrail_schemas::Table;
use kerntrail_schemas::produced::Produced;

use crate::memory_log::{Entry, MemoryLog};
use crate::support::{config, damaged, message, pipeline, place, running};

/// What `table` of `lake` holds, added to `produced`.
pub(crate) async fn add_rows(lake: &Lake, table: Table, produced: &mut Produced) {
    let Some(rows) = lake.existing(table).await.unwrap() else { return };
    let session = kerntrail_session::unguarded(|config| config);
    session.register_table("t", rows.provider()).unwrap();
    for batch in session.sql("select * from t").await.unwrap().collect().await.unwrap() {
        produced.add(table, &batch);
    }
}

#[tokio::test]
async fn the_list_of_activities_and_columns_of_the_pipeline_is_current() {
    let folder = tempfile::tempdir().unwrap();
    let log = MemoryLog::new(1);
    let lake = Arc::new(Lake::open(folder.path().join("lake").to_str().unwrap(), "acme").unwrap());
    log.push(&place(Table::ProcessEvents, 0), Entry::Message(damaged(message(Table::ProcessEvents, "s", 1, 10, 10))));
    let pipeline = pipeline(&log, &lake, config(folder.path()));
    let (drained, ended) = running(&pipeline, pipeline.drain()).await;
    drained.unwrap();
    ended.unwrap();
    let mut produced = Produced::default();
    add_rows(&lake, Table::EventLoss, &mut produced).await;
    let list = expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/producers/pipeline.txt")];
    list.assert_eq(&produced.listing());
}
