//! Measures appends and compaction: `cargo run --release -p kerntrail-lake --example measure [folder]`.
//!
//! Rows are like those of a busy node: 100,000 process events of 50,000 processes in 20 containers, half the columns
//! filled. Everything is synced to disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use kerntrail_lake::{CompactOptions, Lake, LakeTable};
use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::identity::{BootHash, ContainerId, PodUid, ProcessUid, StreamId};
use kerntrail_schemas::tables::{Actor, Envelope, ProcessColumns};
use kerntrail_schemas::{Table, TableBuilder};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const LARGE: i64 = 100_000;

fn actor(number: i64, boot: &BootHash) -> Actor {
    let uid = |number: i64| ProcessUid::new(boot, number as u64 * 1_003_117, (number % 32_768) as u32);
    let parent = number / 20 * 20;
    let container = number % 20;
    let script = format!("/opt/app/job-{}.sh", number % 300);
    Actor {
        process_uid: Some(uid(number)),
        exec_seq: Some(1),
        pid: Some((number % 32_768) as i32),
        process_name: Some("bash".into()),
        process_path: Some("/usr/bin/bash".into()),
        args: Some(vec!["bash".into(), script.clone(), format!("--run={number}")]),
        args_truncated: Some(false),
        cmd_line: Some(format!("bash {script} --run={number}")),
        cwd: Some("/opt/app".into()),
        process_start_time: Some(Micros(1_795_521_600_000_000 + number * 1_003)),
        uid: Some(0),
        gid: Some(0),
        euid: Some(0),
        cap_effective: Some(0x1ff_ffff_ffff),
        session_leader_uid: Some(uid(container)),
        group_leader_uid: Some(uid(container)),
        entry_leader_uid: Some(uid(container)),
        entry_type: Some("container_start".into()),
        parent_process_uid: Some(uid(parent)),
        parent_pid: Some((parent % 32_768) as i32),
        parent_path: Some("/usr/bin/bash".into()),
        parent_args: Some(vec!["bash".into()]),
        ancestor_uids: Some(vec![uid(container).to_string(), uid(1).to_string()]),
        ancestor_paths: Some(vec!["/usr/bin/containerd-shim".into(), "/sbin/init".into()]),
        container_id: Some(ContainerId::new(format!("{container:064x}"))),
        container_name: Some("app".into()),
        image: Some("registry/app:1".into()),
        pod_uid: Some(PodUid::new(format!("0a0a0a0a-0000-4000-8000-{container:012x}"))),
        pod_name: Some(format!("app-{container}")),
        namespace: Some("default".into()),
        mnt_ns: Some(4_026_532_000 + container),
        pid_ns: Some(4_026_533_000 + container),
        enrichment_state: Some("no_api".into()),
        ..Actor::default()
    }
}

fn rows(first: i64, count: i64) -> Outcome<RecordBatch> {
    let boot = BootHash::of("boot");
    let mut builder = TableBuilder::<ProcessColumns>::default();
    let mut current = Arc::new(actor(first / 2, &boot));
    for seq in first..first + count {
        if seq % 2 == 0 {
            current = Arc::new(actor(seq / 2, &boot));
        }
        let time = Micros(1_795_521_600_000_000 + seq * 501);
        let envelope = Envelope {
            date: Some(time.day()),
            time: Some(time),
            boot_ns: Some(seq * 501_007),
            ingest_time: Some(time),
            node: Some("node".into()),
            source: Some("kernel"),
            stream: Some(StreamId::new("59a5a6c4-8f13-4d0b-9a3f-4be4a4a1b9a7+1")),
            cpu: Some((seq % 2) as i32),
            seq: Some(seq),
            activity: Some(if seq % 2 == 0 { "exec" } else { "exit" }.into()),
            action: Some("observed"),
            count: Some(1),
            ..Envelope::default()
        };
        let own = ProcessColumns { exit_code: (seq % 2 == 1).then_some(0), ..ProcessColumns::default() };
        builder.append(&envelope, Some(&current), &own);
    }
    Ok(builder.finish()?.flatten()?)
}

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

#[tokio::main]
async fn main() -> Outcome<()> {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let folder = folder.join(format!("kerntrail-measure-{}", std::process::id()));
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
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
