//! Sends dead letters again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kerntrail_common::error::chain;
use kerntrail_common::ids::IdSelection;
use kerntrail_schemas::Table;
use kerntrail_transport::Codec;
use tokio_util::sync::CancellationToken;

use super::{Content, DlqError, Letter, files};
use crate::config::{Settings, SinkConfig};
use crate::deliver::{Wait, pack, settle};
use crate::destination::{Destination, Record};
use crate::outcome::Reason;
use crate::select::{Identified, select};

/// Consecutive failures after which a replay gives up, since a person waits for it.
const MAX_FAILURES: u32 = 5;

/// Result of a replay.
#[derive(Debug, Default, PartialEq)]
pub struct ReplayReport {
    /// Letters delivered and removed.
    pub delivered: usize,
    /// Letters refused again, or that cannot be read: id and reason. They stay.
    pub refused: Vec<(String, String)>,
    /// Letters not sent, because the destination does not accept events now.
    pub not_sent: usize,
    /// Why, where there are such.
    pub stopped: Option<String>,
}

/// Sends letters of the sink that `config` describes, as it is configured now; `where` does not count for a row.
///
/// A letter is removed once its event is delivered, and rewritten with the new reason when it is refused again. Can run
/// while the server runs. Ends after a few consecutive failures, when the destination has to be repaired, or at `stop`.
///
/// Errors: the sink cannot be used, or files cannot be read, written or removed. Events delivered before are removed.
pub async fn replay(
    config: &SinkConfig,
    dlq_dir: &Path,
    selection: &IdSelection,
    stop: &CancellationToken,
) -> Result<ReplayReport, DlqError> {
    let folder = dlq_dir.join(&config.name);
    let Some(_lock) = files::lock(&folder)? else { return Err(DlqError::Busy { sink: config.name.clone() }) };
    let settings = config.settings().map_err(|error| DlqError::Config(Box::new(error)))?;
    let destination = settings.connect().map_err(|error| DlqError::Config(Box::new(error)))?;
    let mut replay = Replay::open(&settings, folder, selection)?;
    let records = replay.records(destination.as_ref())?;
    replay.send(destination.as_ref(), records, stop).await?;
    Ok(replay.report())
}

/// The letters being replayed, by number.
struct Replay<'a> {
    settings: &'a Settings,
    folder: PathBuf,
    letters: Vec<Letter>,
    /// Letters that cannot be read: id and reason.
    unreadable: Vec<(String, String)>,
    /// Number of unsettled events of each letter.
    open: BTreeMap<usize, usize>,
    refused: BTreeMap<usize, String>,
    delivered: usize,
    stopped: Option<String>,
}

impl<'a> Replay<'a> {
    fn open(settings: &'a Settings, folder: PathBuf, selection: &IdSelection) -> Result<Self, DlqError> {
        let (mut letters, mut unreadable) = (Vec::new(), Vec::new());
        for path in selection.select(files::letters(&folder)?, |path| files::id(path)) {
            match files::read(&path) {
                // One that is damaged, or of a newer release, does not stop the others.
                Err(error @ (DlqError::Newer { .. } | DlqError::NotALetter { .. })) => {
                    unreadable.push((files::id(&path), chain(&error)));
                }
                read => letters.extend(read?),
            }
        }
        letters.sort_by(|a: &Letter, b: &Letter| (&a.written, &a.event_id).cmp(&(&b.written, &b.event_id)));
        let (open, refused) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { settings, folder, letters, unreadable, open, refused, delivered: 0, stopped: None })
    }

    /// The events of all letters; letters without events are settled.
    fn records(&mut self, destination: &dyn Destination) -> Result<Vec<Record>, DlqError> {
        let mut records = Vec::new();
        for number in 0..self.letters.len() {
            match self.rows(number) {
                Ok((table, rows)) => {
                    self.open.insert(number, rows.len());
                    let record = |row: Identified| record(destination, table, row, number);
                    records.extend(rows.into_iter().map(record));
                    self.close(number, 0)?;
                }
                Err(words) => self.refuse(number, words)?,
            }
        }
        Ok(records)
    }

    /// The rows of a letter.
    ///
    /// Errors: why it has none, as a message.
    fn rows(&self, number: usize) -> Result<(Table, Vec<Identified>), String> {
        let letter = &self.letters[number];
        let table: Table = letter.table.parse().map_err(|error| chain(&error))?;
        let rows = match &letter.content {
            Content::Row(row) => vec![Identified { event_id: letter.event_id.clone(), row: row.clone(), place: 0 }],
            Content::Message { schema_version, payload } => {
                let payload = BASE64_STANDARD.decode(payload).map_err(|error| chain(&error))?;
                let (codec, filter) = (Codec::current(), &self.settings.filter);
                let selection = select(&codec, filter, table, *schema_version, &payload, &letter.event_id);
                let selection = selection.map_err(|error| chain(&error))?;
                let failed = selection.failed.into_iter().map(|(row, _)| row);
                selection.selected.into_iter().chain(failed).collect()
            }
        };
        Ok((table, rows))
    }

    async fn send(
        &mut self,
        destination: &dyn Destination,
        records: Vec<Record>,
        stop: &CancellationToken,
    ) -> Result<(), DlqError> {
        let mut waiting =
            VecDeque::from(pack(records, self.settings.delivery.batch_events(), self.settings.delivery.batch_bytes()));
        let mut backoff = self.settings.delivery.backoff();
        let mut failures = 0;
        while let Some(request) = waiting.pop_front() {
            let outcomes = tokio::select! {
                () = stop.cancelled() => { self.stopped = Some("stopped".to_owned()); return Ok(()) }
                outcomes = destination.send(&request) => outcomes,
            };
            let settled = settle(request, outcomes);
            for record in settled.delivered {
                self.close(record.message, 1)?;
            }
            for (record, reason, words) in settled.dead {
                self.refuse_record(record, reason, words)?;
            }
            settled.next.into_iter().rev().for_each(|request| waiting.push_front(request));
            failures = if settled.wait == Wait::No { 0 } else { failures + 1 };
            match settled.wait {
                Wait::No => backoff.reset(),
                Wait::Backoff { after, .. } if failures < MAX_FAILURES => {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(backoff.after_refusal(after)) => {}
                    }
                }
                Wait::Backoff { words: why, .. } | Wait::Pause { alert: why } => {
                    self.stopped = Some(why);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// `events` of a letter are settled; with the last one its file is removed.
    fn close(&mut self, number: usize, events: usize) -> Result<(), DlqError> {
        let Some(open) = self.open.get_mut(&number) else { return Ok(()) };
        *open -= events.min(*open);
        if *open == 0 {
            self.open.remove(&number);
            files::remove(&files::path(&self.folder, &self.letters[number].id()))?;
            self.delivered += 1;
        }
        Ok(())
    }

    /// A row was refused again. A row of a message that could be decoded now becomes a letter of its own.
    fn refuse_record(&mut self, record: Record, reason: Reason, words: String) -> Result<(), DlqError> {
        let number = record.message;
        if matches!(self.letters[number].content, Content::Row(_)) {
            return self.refuse(number, words);
        }
        let letter = Letter {
            event_id: record.event_id,
            reason,
            words,
            replays: 0,
            content: Content::Row(record.row),
            ..self.letters[number].clone()
        };
        files::write(&files::path(&self.folder, &letter.id()), &letter)?;
        self.close(number, 1)
    }

    fn refuse(&mut self, number: usize, words: String) -> Result<(), DlqError> {
        self.open.remove(&number);
        let letter = &mut self.letters[number];
        letter.replays += 1;
        letter.words.clone_from(&words);
        let path = files::path(&self.folder, &letter.id());
        // One that was purged in the meantime stays purged.
        if path.exists() {
            files::write(&path, letter)?;
        }
        self.refused.insert(number, words);
        Ok(())
    }

    fn report(self) -> ReplayReport {
        let not_sent: BTreeSet<&usize> = self.open.keys().collect();
        let again = self.refused.into_iter().map(|(number, words)| (self.letters[number].id(), words));
        ReplayReport {
            delivered: self.delivered,
            not_sent: not_sent.len(),
            stopped: self.stopped,
            refused: self.unreadable.into_iter().chain(again).collect(),
        }
    }
}

fn record(destination: &dyn Destination, table: Table, row: Identified, number: usize) -> Record {
    let Identified { event_id, row, place } = row;
    let bytes = destination.encode(table, &event_id, &row);
    Record { table, event_id, row, bytes, message: number, place }
}
