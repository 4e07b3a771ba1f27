//! The numbers of the records that the lake holds, so that none is imported twice.
//!
//! Numbers are loaded a day at a time, when the first record of that day comes by, and kept by hour of the event. An
//! event has the same time whenever it is imported, so its hour is the only place to look.
//!
//! Invariant: a number is either in the set of its hour, or was never seen by this import and not in the lake.
//! Bounds: [`MOST_HELD`] numbers (about 16 bytes each) are in memory, and one hour more; the hours touched least
//! recently go to unnamed temporary files and come back when they are needed.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::prelude::{SessionContext, col, lit};
use futures::StreamExt;
use kerntrail_lake::Lake;
use kerntrail_schemas::Table;
use kerntrail_schemas::cell::{Day, Micros};
use kerntrail_schemas::identity::StreamId;
use xxhash_rust::xxh3::xxh3_64;

use crate::import::ImportError;

/// Numbers held in memory.
const MOST_HELD: usize = 8 * 1024 * 1024;

/// Takes numbers that are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = (self.0 << 8) | u64::from(*byte));
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

type Numbers = HashSet<u64, BuildHasherDefault<AsIs>>;

/// The numbers of one table and hour.
#[derive(Default)]
struct Hour {
    numbers: Numbers,
    /// Numbers in the file instead of in memory.
    stored: Option<File>,
    touched: u64,
}

impl Hour {
    fn store(&mut self) -> io::Result<()> {
        let mut file = BufWriter::new(tempfile::tempfile()?);
        for number in std::mem::take(&mut self.numbers) {
            file.write_all(&number.to_le_bytes())?;
        }
        self.stored = Some(file.into_inner().map_err(io::IntoInnerError::into_error)?);
        Ok(())
    }

    fn bring_back(&mut self) -> io::Result<()> {
        let Some(mut file) = self.stored.take() else { return Ok(()) };
        file.rewind()?;
        let mut file = BufReader::new(file);
        let mut number = [0; 8];
        loop {
            match file.read_exact(&mut number) {
                Ok(()) => self.numbers.insert(u64::from_le_bytes(number)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            };
        }
    }
}

/// Table, and hours since the Unix epoch.
type Place = (Table, i64);

/// Knows which records are in the lake, or were seen before in this import.
pub(crate) struct Known<'a> {
    lake: &'a Lake,
    loaded: HashSet<(Table, Day, &'static str)>,
    latest: Option<(Table, Day, &'static str)>,
    hours: HashMap<Place, Hour>,
    held: usize,
    most_held: usize,
    clock: u64,
}

impl<'a> Known<'a> {
    /// What `lake` holds as of the first question about a day.
    pub(crate) fn new(lake: &'a Lake) -> Self {
        Self {
            lake,
            loaded: HashSet::new(),
            latest: None,
            hours: HashMap::new(),
            held: 0,
            most_held: MOST_HELD,
            clock: 0,
        }
    }

    /// Loads what the lake holds of `table` and the day of `time`, unless it is loaded.
    ///
    /// `source`: the value of that column in the lake's rows of this format.
    pub(crate) async fn load_day(
        &mut self,
        table: Table,
        source: &'static str,
        time: Micros,
    ) -> Result<(), ImportError> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| ImportError::Known { table, source: error };
        self.load(table, time.day(), source).await.map_err(failed)?;
        self.loaded.insert((table, time.day(), source));
        Ok(())
    }

    /// Whether [`Known::load_day`] need not be called.
    pub(crate) fn is_loaded(&mut self, table: Table, source: &'static str, time: Micros) -> bool {
        let of_day = (table, time.day(), source);
        // Nearly always the day of the record before.
        if self.latest != Some(of_day) && self.loaded.contains(&of_day) {
            self.latest = Some(of_day);
        }
        self.latest == Some(of_day)
    }

    /// Whether the record `seq` of `stream` is new, once its day is loaded; from now on it is known.
    pub(crate) fn is_new(
        &mut self,
        table: Table,
        stream: &StreamId,
        seq: i64,
        time: Micros,
    ) -> Result<bool, ImportError> {
        let storing = |error: io::Error| ImportError::Known { table, source: error.into() };
        self.insert((table, hour(time)), key(stream.as_str(), seq)).map_err(storing)
    }

    async fn load(
        &mut self,
        table: Table,
        day: Day,
        source: &str,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Some(lake_table) = self.lake.existing(table).await? else { return Ok(()) };
        let of_day = col("date").eq(lit(ScalarValue::Date32(Some(day.0)))).and(col("source").eq(lit(source)));
        let rows = SessionContext::new().read_table(lake_table.provider())?.filter(of_day)?;
        let mut rows = rows.select_columns(&["stream", "seq", "time"])?.execute_stream().await?;
        while let Some(batch) = rows.next().await.transpose()? {
            let streams = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8)?;
            let streams = streams.as_string::<i32>();
            let seqs = batch.column(1).as_primitive_opt::<Int64Type>();
            let times = batch.column(2).as_primitive_opt::<TimestampMicrosecondType>();
            let (Some(seqs), Some(times)) = (seqs, times) else {
                return Err(DataFusionError::Execution(format!("{table} has other columns")).into());
            };
            for row in (0..batch.num_rows()).filter(|row| seqs.is_valid(*row) && times.is_valid(*row)) {
                let place = (table, hour(Micros(times.value(row))));
                self.insert(place, key(streams.value(row), seqs.value(row)))?;
            }
        }
        Ok(())
    }

    /// Whether `number` was not there.
    fn insert(&mut self, place: Place, number: u64) -> io::Result<bool> {
        self.clock += 1;
        let hour = self.hours.entry(place).or_default();
        hour.touched = self.clock;
        if hour.stored.is_some() {
            hour.bring_back()?;
            self.held += hour.numbers.len();
        }
        let new = hour.numbers.insert(number);
        self.held += usize::from(new);
        if self.held > self.most_held {
            self.make_room(place)?;
        }
        Ok(new)
    }

    /// Stores hours until half of what may be held is free, but not `keep`.
    fn make_room(&mut self, keep: Place) -> io::Result<()> {
        let mut oldest: Vec<(u64, Place)> = self.hours.iter().map(|(place, hour)| (hour.touched, *place)).collect();
        oldest.sort_unstable();
        for (_, place) in oldest {
            if self.held <= self.most_held / 2 {
                break;
            }
            match self.hours.get_mut(&place) {
                Some(hour) if place != keep && !hour.numbers.is_empty() => {
                    self.held -= hour.numbers.len();
                    hour.store()?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn hour(time: Micros) -> i64 {
    time.0.div_euclid(3_600_000_000)
}

/// One number for a record: its own, changed by its stream.
fn key(stream: &str, seq: i64) -> u64 {
    seq as u64 ^ xxh3_64(stream.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_hours_are_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(&folder.path().to_string_lossy(), "t").unwrap();
        let mut known = Known::new(&lake);
        known.most_held = 10;
        let place = |hour| (Table::ProcessEvents, hour);
        for round in 0..3 {
            for number in 0..100u64 {
                let new = known.insert(place((number % 7) as i64), number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap();
                assert_eq!(new, round == 0, "{round} {number}");
            }
        }
        assert!(known.hours.values().any(|hour| hour.stored.is_some()));
        assert!(known.insert((Table::FileEvents, 0), 0).unwrap(), "another table");
    }
}
