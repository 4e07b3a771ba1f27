//! Where in an event the mapping tables of `events.rs` and `calls.rs` find the value of a column.

use std::fmt;

use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::tables::Actor;

use super::call::CallArguments;
use super::names;
use super::record::Body;
use crate::import::json::{Number, id};
use crate::import::mapping::{ColumnValue, FoundValue, ValueSource};

/// What a row is made of.
pub(super) struct TetragonEvent<'a> {
    pub(super) body: &'a Body<'a>,
    /// The arguments; empty for events that are not calls.
    pub(super) call: CallArguments<'a>,
    pub(super) actor: &'a Actor,
    pub(super) time: Micros,
}

/// Where the value of a column is found.
///
/// A policy chooses which arguments of a function are exported, and the export does not name them. So arguments are
/// identified by type and order: the texts (strings, paths, files) count from 0, and so do the numbers. The value of an
/// argument that the policy leaves out is NULL where that can be seen.
#[derive(Clone, Copy)]
pub(super) enum ArgumentSource {
    /// The text with this number.
    Text(usize),
    /// A text, counted from the target of a mount: the first path of the kernel's; without any, the second text.
    FromTarget(isize),
    /// Of two texts the first; of one, none.
    FirstOfTwo,
    /// Of two texts the second; of one, that one.
    LastOfTwo,
    /// The number with this number.
    Number(usize),
    /// The number at this distance after the last text.
    AfterText(usize),
    /// Likewise, its permission bits.
    Permissions(usize),
    /// The user id with this number, or the last one; -1 stands for no change.
    UserId(usize),
    /// The namespaces that the flags in this number name.
    Namespaces(usize),
    /// What the call returned.
    Return,
    /// The same for every event.
    Fixed(&'static str),
    /// The field of this name, read by a function.
    Field(&'static str, for<'a> fn(&TetragonEvent<'a>) -> FoundValue),
}

impl ValueSource for ArgumentSource {
    type Event<'a> = TetragonEvent<'a>;
    type Condition = for<'a> fn(&TetragonEvent<'a>) -> bool;

    fn holds(condition: &Self::Condition, event: &TetragonEvent<'_>) -> bool {
        condition(event)
    }

    fn find(self, event: &TetragonEvent<'_>) -> FoundValue {
        let call = &event.call;
        Ok(match self {
            Self::Text(place) => call.text(place).map(ColumnValue::Text),
            Self::FromTarget(distance) => {
                call.target().checked_add_signed(distance).and_then(|place| call.text(place)).map(ColumnValue::Text)
            }
            Self::FirstOfTwo => call.text(0).filter(|_| call.has_two_texts()).map(ColumnValue::Text),
            Self::LastOfTwo => call.text(usize::from(call.has_two_texts())).map(ColumnValue::Text),
            Self::Number(place) => call.number(place).map(ColumnValue::Number),
            Self::AfterText(place) => call.after_text(place).map(ColumnValue::Number),
            Self::Permissions(place) => call.after_text(place).map(|mode| ColumnValue::Number(mode & 0o7777)),
            Self::UserId(place) => {
                let number = call.number(place).or(call.last_number()).filter(|number| *number != -1);
                id("uid", number.map(|number| Number(number.into())))?.map(|id| ColumnValue::Number(id.into()))
            }
            Self::Namespaces(place) => call.number(place).and_then(names::namespaces).map(ColumnValue::Text),
            Self::Return => call.return_value().map(ColumnValue::Number),
            Self::Fixed(text) => Some(ColumnValue::Text(text.to_owned())),
            Self::Field(_, read) => read(event)?,
        })
    }
}

impl fmt::Display for ArgumentSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(place) => write!(f, "text {}", place + 1),
            Self::FromTarget(-1) => f.write_str("text before the target"),
            Self::FromTarget(0) => f.write_str("target: first path, else text 2"),
            Self::FromTarget(_) => f.write_str("text after the target"),
            Self::FirstOfTwo => f.write_str("text 1 of two"),
            Self::LastOfTwo => f.write_str("text 2, or the only one"),
            Self::Number(place) => write!(f, "number {}", place + 1),
            Self::AfterText(place) => write!(f, "number {} after the texts", place + 1),
            Self::Permissions(place) => write!(f, "number {} after the texts, permission bits", place + 1),
            Self::UserId(place) => write!(f, "number {}, or the last one", place + 1),
            Self::Namespaces(place) => write!(f, "number {}, as names", place + 1),
            Self::Return => f.write_str("`return`"),
            Self::Fixed(text) => write!(f, "always `{text}`"),
            Self::Field(name, _) => f.write_str(name),
        }
    }
}
