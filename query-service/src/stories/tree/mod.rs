//! Processes as a tree: parents and children, what each ran, how it ended.

mod build;
mod render;

use std::num::NonZeroUsize;

use kerntrail_query_engine::output::escape::visible;
use kerntrail_query_engine::{QueryError, Session};

use self::build::{Forest, build};
use crate::stories::timeline::collect::{Content, End, Most, collect};
use crate::stories::timeline::select::select;
use crate::stories::timeline::{Entity, StoryFormat, Window};

/// Processes in a tree, by default.
pub const DEFAULT_PROCESSES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1_999);
/// Most processes that a request may ask for.
pub const MAX_PROCESSES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(19_999);
/// Most rows read per process: it may fork, run several programs and end.
const ROWS_PER_PROCESS: usize = 5;

/// Which processes.
#[derive(Clone, Debug)]
pub struct Request {
    /// Those of the entity and its descendants; without an entity, all.
    pub entity: Option<Entity>,
    /// Those that started, ran a program or ended then.
    pub window: Window,
    /// Most processes; the tree says when there are more.
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

/// The tree that `request` asks for, as one query within the session's limits.
///
/// Errors: `user` when there is no such entity or more than one, or no process in that time.
pub async fn tree(session: &Session, request: &Request) -> Result<Tree, QueryError> {
    let request = request.clone();
    session
        .read(|snapshot| async move {
            let selection = match &request.entity {
                Some(entity) => Some(select(&snapshot, entity, &request.window).await?),
                None => None,
            };
            let most = request.max_processes.get();
            let end = if selection.is_some() { End::First } else { End::Last };
            let rows = Most { rows: most * ROWS_PER_PROCESS, end };
            let collected = collect(&snapshot, selection.as_ref(), &request.window, Content::Processes, rows).await?;
            let (title, notes) = selection.map_or_else(
                || ("all processes".to_owned(), Vec::new()),
                |selection| (selection.title, selection.notes),
            );
            if collected.events.is_empty() {
                return Err(QueryError::user(format!("no process of {} is known in that time", visible(&title))));
            }
            Ok(Tree { title, notes, forest: build(collected, most, end) })
        })
        .await
}
