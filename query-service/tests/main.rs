//! The query service through its public boundary, over a real lake.

mod formats;
mod golden;
mod http;
mod limits;
mod queries;
mod read_only;
mod rows;
mod script;
mod story;
