//! Measures the lake. Build it as it is shipped:
//! `cargo run --release -p kerntrail-lake --example measure -- appends|log [folder]`.
//!
//! `appends`: appends of 1 to 100,000 rows, compaction, a checkpoint, an opening.
//! `log`: opening, updating, committing and listing at 100, 1,000 and 10,000 commits of a file each, compared with
//! deltalake-core's own snapshots in the same run. A commit of ours waits for the disk and one of theirs does not; in a
//! folder in memory (`/dev/shm`) that makes no difference.
//!
//! The folder is the system's for temporary files unless one is given; what is made in it is removed.

mod appends;
mod log;
mod rows;

use std::path::PathBuf;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    if what == log::SIDE {
        return log::measure_side(&folder, arguments).await;
    }
    let folder = folder.join(format!("kerntrail-measure-{}", std::process::id()));
    let outcome = match what.as_str() {
        "appends" => appends::measure(&folder).await,
        "log" => log::measure(&folder).await,
        _ => return Err("which measurement: appends or log?".into()),
    };
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    outcome
}
