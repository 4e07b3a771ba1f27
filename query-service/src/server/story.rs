//! `GET /api/v1/tree` and `GET /api/v1/timeline`.

use std::num::NonZeroUsize;
use std::time::SystemTime;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use kerntrail_query_engine::QueryError;
use kerntrail_query_engine::output::Format;
use serde::Deserialize;

use super::answer::{failure, whole};
use super::callers::{Caller, Callers};
use crate::stories::timeline::{self, Entity, StoryFormat, Window};
use crate::stories::tree;

/// The options of both.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoryQuery {
    pod: Option<String>,
    container: Option<String>,
    process: Option<String>,
    finding: Option<String>,
    since: Option<String>,
    until: Option<String>,
    format: Option<String>,
    max_events: Option<NonZeroUsize>,
    max_processes: Option<NonZeroUsize>,
}

impl StoryQuery {
    fn entity(&self) -> Result<Option<Entity>, QueryError> {
        let named = [
            self.pod.as_deref().map(Entity::pod),
            self.container.as_deref().map(Entity::container),
            self.process.as_deref().map(Entity::process),
            self.finding.as_deref().map(Entity::finding),
        ];
        let mut named = named.into_iter().flatten();
        match (named.next(), named.next()) {
            (Some(_), Some(_)) => Err(QueryError::user("name one of pod, container, process and finding")),
            (one, _) => Ok(one.transpose()?),
        }
    }

    fn window(&self) -> Result<Window, QueryError> {
        Window::parse(self.since.as_deref(), self.until.as_deref(), SystemTime::now())
    }

    fn format(&self) -> Result<StoryFormat, QueryError> {
        self.format.as_deref().map_or(Ok(StoryFormat::Json), str::parse)
    }
}

fn media(format: StoryFormat) -> Format {
    match format {
        StoryFormat::Text => Format::Table,
        StoryFormat::Json => Format::Json,
        StoryFormat::Markdown => Format::Markdown,
    }
}

fn read(query: Result<Query<StoryQuery>, QueryRejection>) -> Result<StoryQuery, QueryError> {
    query.map(|Query(query)| query).map_err(|rejected| QueryError::user(rejected.body_text()))
}

/// The story of a pod, container, process or finding.
pub(super) async fn timeline(
    State(callers): State<Callers>,
    caller: Caller,
    query: Result<Query<StoryQuery>, QueryRejection>,
) -> Response {
    let answer = async {
        let query = read(query)?;
        let entity = query.entity()?.ok_or_else(|| QueryError::user("name a pod, container, process or finding"))?;
        let mut request = timeline::Request { window: query.window()?, ..timeline::Request::new(entity) };
        request.max_events = query.max_events.map_or(request.max_events, |asked| asked.min(timeline::MAX_EVENTS));
        let format = query.format()?;
        Ok(whole(media(format), timeline::timeline(&callers.session(caller), &request).await?.render(format)))
    };
    answer.await.unwrap_or_else(failure)
}

/// The processes of a pod, container, process or finding, or of everything.
pub(super) async fn tree(
    State(callers): State<Callers>,
    caller: Caller,
    query: Result<Query<StoryQuery>, QueryRejection>,
) -> Response {
    let answer = async {
        let query = read(query)?;
        let mut request =
            tree::Request { entity: query.entity()?, window: query.window()?, ..tree::Request::default() };
        request.max_processes =
            query.max_processes.map_or(request.max_processes, |asked| asked.min(tree::MAX_PROCESSES));
        let format = query.format()?;
        Ok(whole(media(format), tree::tree(&callers.session(caller), &request).await?.render(format)))
    };
    answer.await.unwrap_or_else(failure)
}
