//! Which record is which: a number for each, and the numbers that the lake holds.

pub(crate) mod canonical;
pub(crate) mod known;
