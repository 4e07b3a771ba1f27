//! Files with one JSON object a line, rotated by size.

pub mod config;
pub mod file;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use kerntrail_schemas::Table;
use kerntrail_schemas::mapping::Row;

use crate::config::{ConfigError, Settings};
use crate::destination::{Destination, Record};
use crate::encode::Profile;
use crate::metrics;
use crate::retry::Outcome;
use config::NdjsonTarget;
use file::{Appended, Rotated};

/// A rotated file.
pub struct Ndjson {
    profile: Profile,
    sink: String,
    file: Arc<Mutex<Rotated>>,
}

impl Ndjson {
    /// Opens the file of `target`.
    ///
    /// Errors: it cannot be opened, or another process writes it.
    pub fn open(settings: &Settings, target: &NdjsonTarget) -> Result<Self, ConfigError> {
        let file = Rotated::open(&target.path, target.file_bytes, target.files).map_err(|source| {
            ConfigError::File { sink: settings.name.clone(), field: "path", path: target.path.clone(), source }
        })?;
        Ok(Self { profile: settings.profile, sink: settings.name.clone(), file: Arc::new(Mutex::new(file)) })
    }
}

#[async_trait]
impl Destination for Ndjson {
    fn encode(&self, table: Table, _event_id: &str, row: &Row) -> Bytes {
        let mut line = self.profile.document(table, row, "default").to_string().into_bytes();
        line.push(b'\n');
        line.into()
    }

    async fn send(&self, records: &[Record]) -> Vec<Outcome> {
        let lines: Vec<Bytes> = records.iter().map(|record| record.bytes.clone()).collect();
        let file = Arc::clone(&self.file);
        let write = move || file.lock().unwrap_or_else(PoisonError::into_inner).append(&lines);
        match tokio::task::spawn_blocking(write).await {
            Ok(appended) => self.outcomes(&appended, records.len()),
            Err(error) => Outcome::retry(error.to_string()).all(records.len()),
        }
    }
}

impl Ndjson {
    fn outcomes(&self, appended: &Appended, records: usize) -> Vec<Outcome> {
        if appended.deleted > 0 {
            let labels = [("sink", self.sink.clone()), ("reason", "rotated".to_owned())];
            ::metrics::counter!(metrics::EVENTS_LOST, &labels).increment(appended.deleted);
        }
        let mut outcomes = Outcome::Delivered.all(appended.lines);
        let words = appended.error.as_ref().map(ToString::to_string).unwrap_or_default();
        outcomes.extend(Outcome::retry(words).all(records - appended.lines));
        outcomes
    }
}
