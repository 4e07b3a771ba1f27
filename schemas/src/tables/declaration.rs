//! What is declared of a table besides its columns.

use crate::activity::Activity;
use crate::mapping::{ecs, ocsf};
use crate::sentence::Sentence;

/// A table, except for its columns.
pub struct Declaration {
    /// Name in SQL, in the lake and in topics.
    pub name: &'static str,
    /// What its rows are about, in one sentence.
    pub meaning: &'static str,
    /// Number in the payload of a message. A number is never used again for another table.
    pub number: u8,
    /// Whether its rows have an actor.
    pub has_actor: bool,
    /// Whether its rows are events of a timeline.
    pub in_timeline: bool,
    /// How the message of a finding describes one of its events. `{command}` is the command line or path of the actor,
    /// the other values are columns; empty when one that it needs is missing.
    pub in_finding: Sentence,
    /// What can happen in it.
    pub activities: &'static [&'static Activity],
    /// How a row is classified whose activity this version does not know.
    pub unknown: Unknown,
    /// How a row becomes an OCSF event.
    pub(crate) ocsf: ocsf::TableMapping,
    /// How a row becomes an ECS document.
    pub(crate) ecs: ecs::TableMapping,
}

/// The entry used for a row whose activity is not declared, because a later version wrote it.
pub struct Unknown {
    /// Class and activity in OCSF.
    pub ocsf: ocsf::Classification,
    /// `event.category` in ECS.
    pub ecs_category: &'static [&'static str],
    /// `event.type` in ECS.
    pub ecs_type: &'static [&'static str],
    /// Its sentence in a timeline.
    pub sentence: Sentence,
}
