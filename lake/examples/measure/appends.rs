//! What an append, a compaction, a checkpoint and an opening take.

use std::path::Path;
use std::time::{Duration, Instant};

use kerntrail_lake::{CompactOptions, Lake, LakeTable};
use kerntrail_schemas::Table;

use crate::Outcome;
use crate::rows::rows;

/// Rows of the largest append.
const LARGE: i64 = 100_000;

/// The middle and the worst of `runs` appends of `count` rows.
async fn appends(table: &mut LakeTable, runs: usize, count: i64) -> Outcome<(Duration, Duration)> {
    let mut times = Vec::new();
    for run in 0..runs {
        let rows = rows(run as i64 * count, count)?;
        let started = Instant::now();
        table.append(vec![rows], &[]).await?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let worst = times.last().copied().unwrap_or_default();
    Ok((times[times.len() / 2], worst))
}

/// Prints the figures of a lake made in `folder`.
pub(crate) async fn measure(folder: &Path) -> Outcome<()> {
    let lake = Lake::open(&folder.to_string_lossy(), "measure")?;
    let mut table = lake.table(Table::ProcessEvents).await?;
    for (runs, count) in [(200, 1), (200, 100), (40, 10_000), (10, LARGE)] {
        let (middle, worst) = appends(&mut table, runs, count).await?;
        let rate = count as f64 / middle.as_secs_f64();
        println!("append of {count:>6} rows: {middle:>10.1?} ({worst:.1?} at worst), {rate:>9.0} rows/s");
    }
    let rows: i64 = 200 + 200 * 100 + 40 * 10_000 + 10 * LARGE;
    let bytes = |table: &LakeTable| {
        table.files().iter().filter_map(|file| std::fs::metadata(file).ok()).map(|m| m.len()).sum::<u64>()
    };
    println!("{} files, {:.1} bytes/row", table.files().len(), bytes(&table) as f64 / rows as f64);
    let started = Instant::now();
    let everything = CompactOptions { small_files: 1, tier_files: 1, most_inputs: 64, ..CompactOptions::default() };
    while table.files().len() > 1 && table.compact(&everything).await?.merges > 0 {}
    let took = started.elapsed();
    println!(
        "compaction: {took:.1?}, {} files, {:.1} bytes/row",
        table.files().len(),
        bytes(&table) as f64 / rows as f64
    );
    let started = Instant::now();
    let made = table.checkpoint().await?;
    println!("checkpoint ({made}) at version {}: {:.1?}", table.version(), started.elapsed());
    let started = Instant::now();
    let again = Lake::open(&folder.to_string_lossy(), "measure")?;
    let version = again.table(Table::ProcessEvents).await?.version();
    println!("open at version {version}: {:.1?}", started.elapsed());
    Ok(())
}
