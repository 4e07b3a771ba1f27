//! `kerntrail lake`: its tables and files.

use std::process::ExitCode;
use std::sync::Arc;

use kerntrail_query_engine::Session;
use kerntrail_query_engine::output::{self, Format, List, Options};
use kerntrail_schemas::Table;

use crate::cli::LakeAction;
use crate::config::Config;
use crate::parts;

/// Runs the subcommand.
pub async fn run(config: &Config, action: LakeAction) -> anyhow::Result<ExitCode> {
    match action {
        LakeAction::Info(form) => info(config, form.output).await,
        LakeAction::Files { table } => files(config, table.parse()?).await,
    }
}

async fn info(config: &Config, format: Format) -> anyhow::Result<ExitCode> {
    let lake = parts::lake_to_read(config)?;
    let session = parts::session_over(config, Arc::clone(&lake))?;
    let (mut names, mut numbers) = (Vec::new(), Vec::new());
    for table in Table::ALL {
        let Some(handle) = lake.existing(*table).await? else { continue };
        names.push(table.name());
        numbers.push([handle.version(), i64::try_from(handle.files().len())?, rows(&session, *table).await?]);
    }
    let column = |index: usize| numbers.iter().map(move |row| row[index]);
    let list = List::default().text("table", names);
    let list = list.numbers("version", column(0)).numbers("files", column(1)).numbers("rows", column(2));
    list.write(format, &mut std::io::stdout())?;
    Ok(ExitCode::SUCCESS)
}

async fn rows(session: &Session, table: Table) -> anyhow::Result<i64> {
    let answer = session.query(&format!("select count(*) as rows from {table}")).await?;
    let mut rows = Vec::new();
    output::write(answer, Format::Csv, Options::default(), &mut rows).await?;
    Ok(String::from_utf8_lossy(&rows).lines().nth(1).unwrap_or("0").parse()?)
}

async fn files(config: &Config, table: Table) -> anyhow::Result<ExitCode> {
    if let Some(handle) = parts::lake(config)?.existing(table).await? {
        for file in handle.files() {
            println!("{file}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
