//! The event log as its users see it: what all implementations promise, and what each promises beyond.

mod contract;
mod embedded;
mod kafka;
mod kill;
mod model;
mod spooled;
mod support;
