//! The rows that the lake holds, so that none is imported twice.
//!
//! Their numbers are loaded a day at a time, when the first row of that day comes, and kept by hour. An event has the
//! same time whenever it is imported, so a row can only be found in its hour.
//!
//! Invariant: a number is in the set of its hour if the lake holds the row or this import has seen it.
//! Bounds: [`MAX_IN_MEMORY`] numbers (about 16 bytes each) and one hour more are in memory; the least recently used hours
//! are moved to unnamed temporary files and read again when they are needed.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::prelude::{col, lit};
use futures::StreamExt;
use kerntrail_lake::Lake;
use kerntrail_schemas::Table;
use kerntrail_schemas::cell::{Day, Micros};
use kerntrail_schemas::identity::StreamId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::import::ImportError;

/// Numbers held in memory.
const MAX_IN_MEMORY: usize = 8 * 1024 * 1024;

/// Hashes numbers that are hashes already.
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
    /// Holds the numbers while they are not in memory.
    stored: Option<File>,
    used: u64,
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
type HourKey = (Table, i64);

/// Knows which rows are in the lake, or were seen before in this import.
pub(in crate::import) struct KnownRows<'a> {
    lake: &'a Lake,
    loaded: HashSet<(Table, Day, &'static str)>,
    latest: Option<(Table, Day, &'static str)>,
    hours: HashMap<HourKey, Hour>,
    in_memory: usize,
    max_in_memory: usize,
    clock: u64,
}

impl<'a> KnownRows<'a> {
    /// The rows of `lake`, as of the first question about a day.
    pub(in crate::import) fn new(lake: &'a Lake) -> Self {
        Self {
            lake,
            loaded: HashSet::new(),
            latest: None,
            hours: HashMap::new(),
            in_memory: 0,
            max_in_memory: MAX_IN_MEMORY,
            clock: 0,
        }
    }

    /// Loads the rows of `table` with the day of `time` and this `source`.
    pub(in crate::import) async fn load_day(
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

    /// Whether [`KnownRows::load_day`] was called for these values.
    pub(in crate::import) fn is_loaded(&mut self, table: Table, source: &'static str, time: Micros) -> bool {
        let of_day = (table, time.day(), source);
        // Nearly always the day of the row before.
        if self.latest != Some(of_day) && self.loaded.contains(&of_day) {
            self.latest = Some(of_day);
        }
        self.latest == Some(of_day)
    }

    /// Whether the row with these numbers is new, once its day is loaded; from now on it is known.
    pub(in crate::import) fn is_new(
        &mut self,
        table: Table,
        numbers: (&StreamId, i32, i64),
        time: Micros,
    ) -> Result<bool, ImportError> {
        let (stream, cpu, seq) = numbers;
        let failed = |error: io::Error| ImportError::Known { table, source: error.into() };
        self.insert((table, hour(time)), key(stream.as_str(), cpu, seq)).map_err(failed)
    }

    async fn load(
        &mut self,
        table: Table,
        day: Day,
        source: &str,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Some(lake_table) = self.lake.existing(table).await? else { return Ok(()) };
        let of_day = col("date").eq(lit(ScalarValue::Date32(Some(day.0)))).and(col("source").eq(lit(source)));
        let session = kerntrail_session::unguarded(|config| config);
        let rows = session.read_table(lake_table.provider())?.filter(of_day)?;
        let mut rows = rows.select_columns(&["stream", "cpu", "seq", "time"])?.execute_stream().await?;
        while let Some(batch) = rows.next().await.transpose()? {
            let streams = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8)?;
            let streams = streams.as_string::<i32>();
            let cpus = batch.column(1).as_primitive_opt::<Int32Type>();
            let seqs = batch.column(2).as_primitive_opt::<Int64Type>();
            let times = batch.column(3).as_primitive_opt::<TimestampMicrosecondType>();
            let (Some(cpus), Some(seqs), Some(times)) = (cpus, seqs, times) else {
                let reason = format!("cpu, seq or time of {table} has another type");
                return Err(DataFusionError::Execution(reason).into());
            };
            for row in (0..batch.num_rows()).filter(|row| seqs.is_valid(*row) && times.is_valid(*row)) {
                let hour = (table, hour(Micros(times.value(row))));
                self.insert(hour, key(streams.value(row), cpus.value(row), seqs.value(row)))?;
            }
        }
        Ok(())
    }

    /// Adds a number of an hour; whether it was not there.
    fn insert(&mut self, key: HourKey, number: u64) -> io::Result<bool> {
        self.clock += 1;
        let hour = self.hours.entry(key).or_default();
        hour.used = self.clock;
        if hour.stored.is_some() {
            hour.bring_back()?;
            self.in_memory += hour.numbers.len();
        }
        let new = hour.numbers.insert(number);
        self.in_memory += usize::from(new);
        if self.in_memory > self.max_in_memory {
            self.make_room(key)?;
        }
        Ok(new)
    }

    /// Moves hours other than `keep` to files until half of the memory allowed is free.
    fn make_room(&mut self, keep: HourKey) -> io::Result<()> {
        let mut oldest: Vec<(u64, HourKey)> = self.hours.iter().map(|(key, hour)| (hour.used, *key)).collect();
        oldest.sort_unstable();
        for (_, key) in oldest {
            if self.in_memory <= self.max_in_memory / 2 {
                break;
            }
            match self.hours.get_mut(&key) {
                Some(hour) if key != keep && !hour.numbers.is_empty() => {
                    self.in_memory -= hour.numbers.len();
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

/// One number for a row: its own, mixed with stream and processor.
fn key(stream: &str, cpu: i32, seq: i64) -> u64 {
    seq as u64 ^ xxh3_64_with_seed(stream.as_bytes(), cpu as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_spilled_to_files_are_still_known() {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(&folder.path().to_string_lossy(), "t").unwrap();
        let mut known = KnownRows::new(&lake);
        known.max_in_memory = 10;
        let of_hour = |hour| (Table::ProcessEvents, hour);
        for round in 0..3 {
            for number in 0..100u64 {
                let new =
                    known.insert(of_hour((number % 7) as i64), number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap();
                assert_eq!(new, round == 0, "{round} {number}");
            }
        }
        assert!(known.hours.values().any(|hour| hour.stored.is_some()));
        assert!(known.insert((Table::FileEvents, 0), 0).unwrap(), "another table");
    }
}
