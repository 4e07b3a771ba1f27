//! `kerntrail tree` and `kerntrail timeline`.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context;
use kerntrail_query_service::stories::timeline::{self, Entity, Window};
use kerntrail_query_service::stories::tree;

use crate::cli::{Story, Subject};
use crate::config::Config;
use crate::parts;

/// Prints the tree of the subject, or of everything.
pub async fn tree(config: &Config, story: Story) -> anyhow::Result<ExitCode> {
    let request =
        tree::Request { entity: entity(&story.subject)?, window: window(&story)?, ..tree::Request::default() };
    let session = parts::session(config)?;
    print!("{}", tree::tree(&session, &request).await?.render(story.output));
    Ok(ExitCode::SUCCESS)
}

/// Prints the timeline of the subject.
pub async fn timeline(config: &Config, story: Story) -> anyhow::Result<ExitCode> {
    let entity =
        entity(&story.subject)?.context("a timeline needs a subject: --pod, --container, --process or --finding")?;
    let request = timeline::Request { window: window(&story)?, ..timeline::Request::new(entity) };
    let session = parts::session(config)?;
    print!("{}", timeline::timeline(&session, &request).await?.render(story.output));
    Ok(ExitCode::SUCCESS)
}

fn window(story: &Story) -> anyhow::Result<Window> {
    Ok(Window::parse(story.since.as_deref(), story.until.as_deref(), SystemTime::now())?)
}

fn entity(subject: &Subject) -> anyhow::Result<Option<Entity>> {
    let pod = subject.pod.as_deref().map(Entity::pod);
    let container = subject.container.as_deref().map(Entity::container);
    let process = subject.process.as_deref().map(Entity::process);
    let finding = subject.finding.as_deref().map(Entity::finding);
    Ok(pod.or(container).or(process).or(finding).transpose()?)
}
