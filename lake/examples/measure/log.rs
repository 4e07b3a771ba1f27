//! The cost of the log: opening, listing, applying another writer's commit, committing; compared with deltalake-core.
//!
//! The log is made by hand, a commit of one file each with the statistics of a real one; nothing reads the files. Each
//! side runs in a process of its own on a copy of the log, so that its memory can be measured; the sides alternate.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltalake_core::checkpoints::create_checkpoint_from_table_url_and_cleanup;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake_core::kernel::{Action, EagerSnapshot, Snapshot, Transaction};
use deltalake_core::logstore::{LogStoreRef, StorageConfig, logstore_for};
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use futures::TryStreamExt;
use kerntrail_lake::{Lake, LakeTable, Progress};
use kerntrail_schemas::Table;
use url::Url;

use crate::Outcome;
use crate::rows::rows;

/// Argument with which the program measures one side; see [`measure_side`].
pub(crate) const SIDE: &str = "side";
/// Ours, deltalake-core's with its files in memory, and its own without.
const SIDES: [&str; 3] = ["kerntrail", "eager", "lazy"];
/// Sizes of the log, in commits.
const SIZES: [i64; 3] = [100, 1_000, 10_000];
/// Commits after the checkpoint, of a hundred at most.
const TAIL: i64 = 50;
/// Processes a side and size.
const ROUNDS: usize = 5;
/// Updates and commits in each.
const REPEATS: usize = 20;
/// Path of the lake's only table below the lake's folder.
const TABLE: &str = "measure/process_events";

/// What one process measured: microseconds, and KiB beyond what it had before.
struct Figures([u64; 6]);

const NAMES: [&str; 6] = ["open µs", "list µs", "update µs", "commit µs", "KiB after opening", "peak KiB"];

/// Prints a table of figures, of logs made in `folder`.
pub(crate) async fn measure(folder: &Path) -> Outcome<()> {
    println!("| log | side | {} |", NAMES.join(" | "));
    println!("|---|---|{}", "---|".repeat(NAMES.len()));
    for size in SIZES {
        let log = make_log(&folder.join(size.to_string()), size).await?;
        let label = format!("{size} commits");
        report(&label, &measure_sides(&log)?);
    }
    Ok(())
}

fn report(label: &str, sides: &[(&str, [u64; 6])]) {
    let Some((_, ours)) = sides.first() else { return };
    for (side, figures) in sides {
        let cells = figures.iter().zip(ours).map(|(figure, ours)| match *side == SIDES[0] {
            true => format!("{figure}"),
            false => format!("{figure} ({:.1}x)", *figure as f64 / (*ours).max(1) as f64),
        });
        println!("| {label} | {side} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
}

/// Makes a lake in `folder` whose table has `size` commits of a file each, with a checkpoint [`TAIL`] commits back.
async fn make_log(folder: &Path, size: i64) -> Outcome<PathBuf> {
    let lake = Lake::open(&folder.to_string_lossy(), "measure")?;
    let mut table = lake.table(Table::ProcessEvents).await?;
    table.append(vec![rows(0, 100)?], &[]).await?;
    for version in 2..=size - TAIL {
        write_commit(folder, version)?;
    }
    let url = table_url(folder)?;
    create_checkpoint_from_table_url_and_cleanup(url, (size - TAIL) as u64, Some(false), None).await?;
    for version in size - TAIL + 1..=size {
        write_commit(folder, version)?;
    }
    Ok(folder.to_owned())
}

fn log_folder(lake: &Path) -> PathBuf {
    lake.join(TABLE).join("_delta_log")
}

fn table_url(lake: &Path) -> Outcome<Url> {
    Url::from_directory_path(lake.join(TABLE)).map_err(|()| "the folder must be absolute".into())
}

/// The commit of `version` as another writer would make it: the first one's file under another name.
fn write_commit(lake: &Path, version: i64) -> Outcome<()> {
    let log = log_folder(lake);
    let first = std::fs::read_to_string(log.join("00000000000000000001.json"))?;
    let commit = first.replace(".zstd.parquet", &format!("-{version}.zstd.parquet"));
    Ok(std::fs::write(log.join(format!("{version:020}.json")), commit)?)
}

/// The median figures of each side on copies of the lake at `lake`.
fn measure_sides(lake: &Path) -> Outcome<Vec<(&'static str, [u64; 6])>> {
    let mut measured: Vec<(&str, Vec<Figures>)> = SIDES.iter().map(|side| (*side, Vec::new())).collect();
    for _ in 0..ROUNDS {
        for (side, figures) in &mut measured {
            let copy = lake.with_extension("copy");
            copy_folder(lake, &copy)?;
            figures.push(run_side(&copy, side)?);
            std::fs::remove_dir_all(&copy)?;
        }
    }
    let median = |figures: &[Figures], index: usize| {
        let mut values: Vec<u64> = figures.iter().map(|figures| figures.0[index]).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    Ok(measured.iter().map(|(side, figures)| (*side, std::array::from_fn(|index| median(figures, index)))).collect())
}

/// The files are only ever replaced, so a copy may share them.
fn copy_folder(from: &Path, to: &Path) -> Outcome<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::hard_link(entry.path(), target)?;
        }
    }
    Ok(())
}

fn run_side(lake: &Path, side: &str) -> Outcome<Figures> {
    let output = Command::new(std::env::current_exe()?).arg(SIDE).arg(lake).arg(side).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figures: Vec<u64> = text.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
    let failed = |_| format!("{side} failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(Figures(figures.try_into().map_err(failed)?))
}

/// Measures the side that the next of `arguments` names on the lake in `folder`, and prints its figures.
pub(crate) async fn measure_side(folder: &Path, mut arguments: impl Iterator<Item = String>) -> Outcome<()> {
    let side = arguments.next().unwrap_or_default();
    let before = memory("VmRSS:")?;
    let (mut opened, open) = timed(Side::open(folder, &side)).await?;
    let after = memory("VmRSS:")?;
    let (files, list) = timed(opened.list()).await?;
    let mut version = opened.version();
    if files as i64 != version {
        return Err(format!("{side} lists {files} files of {version}").into());
    }
    let mut updates = Vec::new();
    for _ in 0..REPEATS {
        version += 1;
        write_commit(folder, version)?;
        updates.push(timed(opened.update()).await?.1);
    }
    let mut commits = Vec::new();
    for _ in 0..REPEATS {
        version += 1;
        commits.push(timed(opened.commit()).await?.1);
    }
    if opened.version() != version {
        return Err(format!("{side} is at {} and not at {version}", opened.version()).into());
    }
    let memories = [after.saturating_sub(before), memory("VmHWM:")?.saturating_sub(before)];
    let times = [open, list, middle(updates), middle(commits)].map(|time| time.as_micros());
    let figures: Vec<String> =
        times.map(|time| time.to_string()).into_iter().chain(memories.map(|m| m.to_string())).collect();
    println!("{}", figures.join(" "));
    Ok(())
}

async fn timed<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<(T, Duration)> {
    let started = Instant::now();
    let done = work.await?;
    Ok((done, started.elapsed()))
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// A line of `/proc/self/status`, in KiB.
fn memory(name: &str) -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// A table opened by one of the [`SIDES`].
enum Side {
    Ours(Box<LakeTable>),
    Eager(LogStoreRef, Box<EagerSnapshot>),
    Lazy(LogStoreRef, Arc<Snapshot>),
}

impl Side {
    async fn open(folder: &Path, side: &str) -> Outcome<Self> {
        if side == SIDES[0] {
            let lake = Lake::open(&folder.to_string_lossy(), "measure")?;
            let table = lake.existing(Table::ProcessEvents).await?.ok_or("no table")?;
            return Ok(Self::Ours(Box::new(table)));
        }
        let store = logstore_for(&table_url(folder)?, StorageConfig::default())?;
        Ok(match side {
            "eager" => {
                let snapshot = EagerSnapshot::try_new(store.as_ref(), None).await?;
                Self::Eager(store, Box::new(snapshot))
            }
            _ => {
                let snapshot = Snapshot::try_new(store.as_ref(), None).await?;
                Self::Lazy(store, Arc::new(snapshot))
            }
        })
    }

    fn version(&self) -> i64 {
        match self {
            Self::Ours(table) => table.version(),
            Self::Eager(_, snapshot) => snapshot.version() as i64,
            Self::Lazy(_, snapshot) => snapshot.version() as i64,
        }
    }

    /// Number of files, after their names were put together.
    async fn list(&self) -> Outcome<usize> {
        Ok(match self {
            Self::Ours(table) => table.files().len(),
            Self::Eager(store, snapshot) => {
                let files = snapshot.log_data();
                let names: Vec<String> = files.iter().map(|file| store.to_uri(&file.object_store_path())).collect();
                names.len()
            }
            Self::Lazy(store, snapshot) => {
                let files: Vec<_> = snapshot.file_views(store.as_ref(), None).try_collect().await?;
                let names: Vec<String> = files.iter().map(|file| store.to_uri(&file.object_store_path())).collect();
                names.len()
            }
        })
    }

    async fn update(&mut self) -> Outcome<()> {
        match self {
            Self::Ours(table) => table.refresh().await?,
            Self::Eager(store, snapshot) => {
                let mut state = deltalake_core::table::state::DeltaTableState::new((**snapshot).clone());
                state.update(store, None).await?;
                **snapshot = state.snapshot().clone();
            }
            Self::Lazy(store, snapshot) => *snapshot = Arc::clone(snapshot).update(store.engine(None), None).await?,
        }
        Ok(())
    }

    /// Commits progress alone, and is at the version of that.
    async fn commit(&mut self) -> Outcome<()> {
        match self {
            Self::Ours(table) => {
                let Progress { from_offset, .. } = table.progress("topic/0")?;
                let progress = Progress {
                    partition: "topic/0".into(),
                    from_offset,
                    next_offset: from_offset + 1,
                    ..Progress::default()
                };
                table.append(vec![], &[progress]).await?;
            }
            Self::Eager(store, snapshot) => {
                let done = commit_theirs(store, snapshot).await?;
                **snapshot = done;
            }
            Self::Lazy(store, snapshot) => {
                // deltalake-core commits on top of an eager snapshot only: the commit goes without one, then the update.
                let version = snapshot.version() + 1;
                let actions = [Action::Txn(Transaction::new("topic/0", version as i64))];
                let lines = actions.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?.join("\n");
                let bytes = deltalake_core::logstore::CommitOrBytes::LogBytes(lines.into());
                store.write_commit_entry(version, bytes, uuid::Uuid::new_v4()).await?;
                *snapshot = Arc::clone(snapshot).update(store.engine(None), None).await?;
            }
        }
        Ok(())
    }
}

async fn commit_theirs(store: &LogStoreRef, snapshot: &EagerSnapshot) -> Outcome<EagerSnapshot> {
    let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
    let properties = CommitProperties::default().with_create_checkpoint(false).with_cleanup_expired_logs(Some(false));
    let action = Action::Txn(Transaction::new("topic/0", snapshot.version() as i64));
    let builder = CommitBuilder::from(properties).with_actions(vec![action]);
    let done = builder.build(Some(snapshot), Arc::clone(store), operation).await?;
    Ok(done.snapshot().snapshot().clone())
}
