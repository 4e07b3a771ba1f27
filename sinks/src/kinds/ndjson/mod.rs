//! Files with one JSON object per line, rotated by size.

pub mod config;
pub mod file;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use kerntrail_schemas::Table;
use kerntrail_schemas::mapping::Row;

use crate::config::Settings;
use crate::destination::{Destination, Record};
use crate::encode::Profile;
use crate::metrics;
use crate::outcome::Outcome;
use config::NdjsonConfig;
use file::{Appended, Rotated};

/// A rotated file, opened when the first line is written.
pub struct Ndjson {
    profile: Profile,
    sink: String,
    config: NdjsonConfig,
    file: Arc<Mutex<Option<Rotated>>>,
}

impl Ndjson {
    /// The file of `config`; opens nothing.
    fn new(settings: &Settings, config: &NdjsonConfig) -> Self {
        Self { profile: settings.profile, sink: settings.name.clone(), config: config.clone(), file: Arc::default() }
    }
}

/// Appends `lines` to `file`, which is opened where it is not yet.
///
/// Errors: it cannot be opened.
fn append(file: &Mutex<Option<Rotated>>, config: &NdjsonConfig, lines: &[Bytes]) -> io::Result<Appended> {
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    let open = match file.take() {
        Some(open) => open,
        None => Rotated::open(&config.path, config.file_bytes.get(), config.files.get())?,
    };
    Ok(file.insert(open).append(lines))
}

#[async_trait]
impl Destination for Ndjson {
    fn encode(&self, table: Table, _event_id: &str, row: &Row) -> Bytes {
        let mut line = self.profile.document(table, row, "default", Utc::now()).to_string().into_bytes();
        line.push(b'\n');
        line.into()
    }

    async fn send(&self, records: &[Record]) -> Vec<Outcome> {
        let lines: Vec<Bytes> = records.iter().map(|record| record.bytes.clone()).collect();
        let (file, config) = (Arc::clone(&self.file), self.config.clone());
        match tokio::task::spawn_blocking(move || append(&file, &config, &lines)).await {
            Ok(Ok(appended)) => self.outcomes(&appended, records.len()),
            Ok(Err(error)) => {
                let alert = format!("cannot open {}: {error}", self.config.path.display());
                Outcome::Pause { alert }.all(records.len())
            }
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
