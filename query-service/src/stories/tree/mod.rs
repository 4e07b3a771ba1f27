//! Processes as a tree: who started whom, what each ran, how it ended.

mod build;
mod render;

use std::num::NonZeroUsize;

use kerntrail_schemas::Table;

use self::build::{Forest, build};
use crate::engine::Engine;
use crate::engine::error::QueryError;
use crate::engine::output::escape::visible;
use crate::stories::timeline::collect::{End, Most, collect};
use crate::stories::timeline::select::select;
use crate::stories::timeline::{Entity, StoryFormat, Window};

/// Processes shown unless asked otherwise.
pub const DEFAULT_PROCESSES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1_999);
/// Processes that can be asked for.
pub const MAX_PROCESSES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(19_999);
/// Rows read for a process at most: it may fork, run several programs and end.
const ROWS_PER_PROCESS: usize = 5;

/// Which processes.
#[derive(Clone, Debug)]
pub struct Request {
    /// Those of it and of its descendants; all of them without.
    pub entity: Option<Entity>,
    /// Those that started, ran a program or ended then.
    pub window: Window,
    /// At most so many, the first ones; the tree says when there are more.
    pub max_processes: NonZeroUsize,
}

impl Default for Request {
    fn default() -> Self {
        Self { entity: None, window: Window::default(), max_processes: DEFAULT_PROCESSES }
    }
}

/// A tree, ready to be printed.
#[derive(Debug)]
pub struct Tree {
    title: String,
    notes: Vec<String>,
    forest: Forest,
}

impl Tree {
    /// The tree in `format`; ends with a line feed.
    pub fn render(&self, format: StoryFormat) -> String {
        match format {
            StoryFormat::Text => render::text(self),
            StoryFormat::Json => render::json(self),
            StoryFormat::Markdown => render::markdown(self),
        }
    }
}

/// The tree that `request` asks for, as one query within the engine's limits.
///
/// Errors: `user` when there is no such entity or more than one, or no process in that time.
pub async fn tree(engine: &Engine, request: &Request) -> Result<Tree, QueryError> {
    let request = request.clone();
    engine
        .with_session(|session| async move {
            let selection = match &request.entity {
                Some(entity) => Some(select(&session, entity, &request.window).await?),
                None => None,
            };
            let most = request.max_processes.get();
            let tables = [Table::ProcessEvents];
            let end = if selection.is_some() { End::First } else { End::Last };
            let rows = Most { rows: most * ROWS_PER_PROCESS, end };
            let collected = collect(&session, selection.as_ref(), &request.window, &tables, rows).await?;
            let (title, notes) = selection.map_or_else(
                || ("all processes".to_owned(), Vec::new()),
                |selection| (selection.title, selection.notes),
            );
            if collected.events.is_empty() {
                return Err(QueryError::user(format!("no process is known of {} in that time", visible(&title))));
            }
            Ok(Tree { title, notes, forest: build(collected, most, end) })
        })
        .await
}
