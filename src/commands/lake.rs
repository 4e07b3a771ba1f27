//! `kerntrail lake`: what lies in it.

use std::process::ExitCode;

use kerntrail_query_service::output::{self, Format, Options};
use kerntrail_schemas::Table;

use crate::cli::LakeAction;
use crate::config::Config;
use crate::parts;

/// Runs the subcommand.
pub async fn run(config: &Config, action: LakeAction) -> anyhow::Result<ExitCode> {
    match action {
        LakeAction::Info => info(config).await,
        LakeAction::Files { table } => files(config, table.parse()?).await,
    }
}

async fn info(config: &Config) -> anyhow::Result<ExitCode> {
    let lake = parts::lake(config)?;
    let engine = parts::engine(config)?;
    println!("{:<16} {:>8} {:>8}  rows", "table", "version", "files");
    for table in Table::ALL {
        let Some(handle) = lake.existing(*table).await? else { continue };
        print!("{:<16} {:>8} {:>8}  ", table.name(), handle.version(), handle.files().len());
        let answer = engine.query(&format!("select count(*) as rows from {table}")).await?;
        let mut rows = Vec::new();
        output::write(answer, Format::Csv, Options::default(), &mut rows).await?;
        println!("{}", String::from_utf8_lossy(&rows).lines().nth(1).unwrap_or("0"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn files(config: &Config, table: Table) -> anyhow::Result<ExitCode> {
    if let Some(handle) = parts::lake(config)?.existing(table).await? {
        for file in handle.files() {
            println!("{file}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
