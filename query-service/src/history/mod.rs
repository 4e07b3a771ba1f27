//! The history of one tenant as SQL sees it: the tables of the lake, with the columns computed from theirs.

pub(crate) mod catalog;
mod lake;
pub(crate) mod tables;
mod views;

pub use tables::{Tables, TablesError};
