//! The story of a pod, container, process or finding, from its first command to its last connection.
//!
//! Rows are collected ([`collect`]), boundary crossings marked ([`boundaries`]), and repetitions folded into one line
//! ([`lines`]). Renderers only print. The same rows give the same bytes: nothing here depends on the current time or on
//! chance.

mod boundaries;
pub(crate) mod collect;
mod describe;
mod entity;
pub(crate) mod events;
mod lines;
mod read;
mod render_json;
mod render_markdown;
mod render_text;
pub(crate) mod select;
mod summary;
pub(crate) mod window;

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use kerntrail_common::suggest::did_you_mean;
use kerntrail_query_engine::output::escape::visible;
use kerntrail_query_engine::{QueryError, Session};
use kerntrail_schemas::Table;

pub(crate) use self::describe::exit;
pub use self::entity::Entity;
pub use self::window::Window;

use self::boundaries::{Marks, mark};
use self::collect::{Collected, Content, End, Most, collect};
use self::lines::{Line, lines};
use self::select::{Selection, select};
use self::summary::{Summary, summarize};

/// Rows of each table in a story, by default.
pub const DEFAULT_EVENTS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4_999);
/// Most rows of each table that a request may ask for.
pub const MAX_EVENTS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99_999);

/// A form of a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoryFormat {
    /// For a terminal.
    Text,
    /// Everything, for programs.
    Json,
    /// For a ticket.
    Markdown,
}

impl fmt::Display for StoryFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Markdown => "markdown",
        })
    }
}

impl FromStr for StoryFormat {
    type Err = QueryError;
    fn from_str(name: &str) -> Result<Self, QueryError> {
        match name {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "markdown" => Ok(Self::Markdown),
            other => {
                let hint = did_you_mean(other, ["text", "json", "markdown"]);
                let text = format!("unknown format `{}`{hint}; formats are text, json and markdown", visible(other));
                Err(QueryError::user(text))
            }
        }
    }
}

/// What a story is about, and how much of it.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it is about.
    pub entity: Entity,
    /// When.
    pub window: Window,
    /// Most rows of each table; the story names a table that has more.
    pub max_events: NonZeroUsize,
}

impl Request {
    /// The whole story of `entity`.
    pub fn new(entity: Entity) -> Self {
        Self { entity, window: Window::default(), max_events: DEFAULT_EVENTS }
    }
}

/// A story, ready to be printed.
#[derive(Debug)]
pub struct Timeline {
    title: String,
    notes: Vec<String>,
    collected: Collected,
    /// One per event.
    marks: Vec<Marks>,
    lines: Vec<Line>,
    summary: Summary,
}

impl Timeline {
    fn new(selection: Selection, collected: Collected) -> Self {
        let marks = mark(&collected.events, &collected.hosts);
        let lines = lines(&collected, &marks);
        let summary = summarize(&collected, &marks, &lines);
        Self { title: selection.title, notes: selection.notes, collected, marks, lines, summary }
    }

    /// The story in `format`; ends with a line feed.
    pub fn render(&self, format: StoryFormat) -> String {
        match format {
            StoryFormat::Text => render_text::render(self),
            StoryFormat::Json => render_json::render(self),
            StoryFormat::Markdown => render_markdown::render(self),
        }
    }
}

/// The story that `request` asks for, as one query within the session's limits.
///
/// Errors: `user` when there is no such entity, more than one, or nothing happened to it in that time.
pub async fn timeline(session: &Session, request: &Request) -> Result<Timeline, QueryError> {
    let request = request.clone();
    session
        .read(|snapshot| async move {
            let selection = select(&snapshot, &request.entity, &request.window).await?;
            let most = Most { rows: request.max_events.get(), end: End::First };
            let tables: Vec<Table> =
                Table::ALL.iter().copied().filter(|table| table.declaration().in_timeline).collect();
            let collected =
                collect(&snapshot, Some(&selection), &request.window, Content::Events(&tables), most).await?;
            if collected.events.is_empty() && collected.findings.is_empty() {
                let nothing = format!("nothing is known about {} in that time", visible(&selection.title));
                return Err(QueryError::user(nothing));
            }
            Ok(Timeline::new(selection, collected))
        })
        .await
}
