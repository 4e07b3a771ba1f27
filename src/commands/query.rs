//! `kerntrail query`: SQL over the lake, answered in this process.

use std::io::Read;
use std::process::ExitCode;

use kerntrail_query_engine::output::{self, Options};

use crate::cli::Query;
use crate::config::Config;
use crate::parts;

/// Answers `query` on standard output.
pub async fn run(config: &Config, query: Query) -> anyhow::Result<ExitCode> {
    let session = parts::session(config)?;
    let answer = session.query(&sql(query.sql)?).await?;
    output::write(answer, query.output.output, Options::default(), &mut std::io::stdout()).await?;
    Ok(ExitCode::SUCCESS)
}

fn sql(given: String) -> anyhow::Result<String> {
    if given != "-" {
        return Ok(given);
    }
    let mut sql = String::new();
    std::io::stdin().read_to_string(&mut sql)?;
    Ok(sql)
}
