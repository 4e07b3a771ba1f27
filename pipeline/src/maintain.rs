//! Maintenance in parallel with writing: compaction, checkpoints, vacuum, and the lag.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kerntrail_common::error::chain;
use kerntrail_lake::{CompactOptions, LakeError};
use kerntrail_schemas::Table;
use kerntrail_transport::Position;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::metrics::LAG_MESSAGES;
use crate::pipeline::Pipeline;

/// Time between two looks at the lag.
const LAG_EVERY: Duration = Duration::from_secs(5);
/// A table is vacuumed this many times while a replaced file is kept.
const VACUUMS: u32 = 4;

/// Looks after the tables until `cancel`. What fails is tried again at the next turn.
pub(crate) async fn run(pipeline: &Pipeline, cancel: CancellationToken) {
    let mut vacuumed = HashMap::new();
    let mut compact = tokio::time::interval(pipeline.config.compact_interval.0.max(Duration::from_millis(10)));
    let mut lag = tokio::time::interval(LAG_EVERY);
    compact.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    lag.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = lag.tick() => report_lag(pipeline).await,
            _ = compact.tick() => {
                // An interrupted merge leaves files that no commit refers to; the next vacuum removes them.
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = look_after_all(pipeline, &mut vacuumed) => {}
                }
            }
        }
    }
}

async fn look_after_all(pipeline: &Pipeline, vacuumed: &mut HashMap<Table, Instant>) {
    for &table in Table::ALL {
        if let Err(error) = look_after(pipeline, table, vacuumed).await {
            warn!(%table, error = chain(&error), "maintenance failed; retrying at the next interval");
        }
    }
}

async fn look_after(
    pipeline: &Pipeline,
    table: Table,
    vacuumed: &mut HashMap<Table, Instant>,
) -> Result<(), LakeError> {
    let Some(mut lake) = pipeline.lake.existing(table).await? else { return Ok(()) };
    lake.compact(&CompactOptions::default()).await?;
    lake.checkpoint().await?;
    let keep = pipeline.config.vacuum_keep.0;
    if vacuumed.get(&table).is_none_or(|last| last.elapsed() >= keep / VACUUMS) {
        lake.vacuum(keep).await?;
        vacuumed.insert(table, Instant::now());
    }
    Ok(())
}

async fn report_lag(pipeline: &Pipeline) {
    for topic in pipeline.topics() {
        let Ok(ends) = pipeline.log.end(&topic).await else { continue };
        let Ok(lake) = pipeline.lake.existing(topic.table).await else { continue };
        let taken = |partition: String| match &lake {
            Some(lake) => lake.progress(&partition).map(|progress| progress.next_offset),
            None => Ok(0),
        };
        let behind =
            |end: &Position| -> Result<i64, LakeError> { Ok((end.next - taken(end.partition.to_string())?).max(0)) };
        // Not known while a newer release records the progress.
        let Ok(lag) = ends.iter().map(behind).sum::<Result<i64, LakeError>>() else { continue };
        metrics::gauge!(LAG_MESSAGES, "table" => topic.table.name()).set(lag as f64);
    }
}
