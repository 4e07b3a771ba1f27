//! Messages as each release writes them, kept as files: `golden/v<schema version>/<table>.message`, and
//! `golden/next/<table>.message` of an invented release after this one.
//!
//! A file of a schema version is never rewritten: it represents data in existing logs. `UPDATE_EXPECT=1` writes those that
//! are missing, and the invented ones again, since they have all columns of this release. To change the columns of a
//! version that no release has had yet, delete its files first.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;

use arrow::array::{
    Array as _, ArrayRef, BooleanArray, Date32Array, Int32Array, Int64Array, ListBuilder, MapBuilder, MapFieldNames,
    RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, SchemaRef};
use kerntrail_schemas::history::MessageColumns;
use kerntrail_schemas::{Column, SCHEMA_VERSION, SchemaHistory, Table, TableBatch};
use kerntrail_transport::codec::CodecError;
use kerntrail_transport::{
    Codec, Delivered, EmbeddedLog, EmbeddedOptions, EventLog as _, Newer, Polled, Position, Topic,
};
use tokio::time::Instant;

use crate::support::{LIMIT, message, open, read, subscribe, topic};

const EVENTS: usize = 5;
const ACTORS: usize = 3;

/// The rows of the golden message of `table`: every value follows from the name of its column and the row's number,
/// so a column has the same values in every version that has it.
fn rows(table: Table, actors: Option<&SchemaRef>, events: &SchemaRef) -> TableBatch {
    let batch = |schema: &SchemaRef, count| {
        let columns = schema.fields().iter().map(|field| column(field, count)).collect();
        RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
    };
    TableBatch { table, actors: actors.map(|schema| batch(schema, ACTORS)), events: batch(events, EVENTS) }
}

/// FNV-1a.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn column(field: &Field, count: usize) -> ArrayRef {
    let name = field.name().as_str();
    if name == "actor" {
        return Arc::new(Int32Array::from(vec![Some(0), None, Some(2), Some(1), Some(0)]));
    }
    let present = |row: usize| (hash(name) >> 32) as usize % 5 != row;
    let number = |row: usize| present(row).then(|| (hash(name) >> 8) as i64 + row as i64 * 1_000);
    let small = |row: usize| number(row).map(|number| number as i32 % 100_000);
    let text = |row: usize| present(row).then(|| format!("{name} é {}", row / 2));
    let all = 0..count;
    match field.data_type() {
        DataType::Boolean => {
            Arc::new(BooleanArray::from_iter(all.map(|row| number(row).map(|number| number % 3 == 0))))
        }
        DataType::Int32 => Arc::new(Int32Array::from_iter(all.map(small))),
        DataType::Int64 => Arc::new(Int64Array::from_iter(all.map(number))),
        DataType::Date32 => Arc::new(Date32Array::from_iter(all.map(small))),
        DataType::Timestamp(..) => Arc::new(TimestampMicrosecondArray::from_iter(all.map(number)).with_timezone("UTC")),
        DataType::Utf8 => Arc::new(StringArray::from_iter(all.map(text))),
        DataType::List(element) => {
            let mut lists = ListBuilder::new(StringBuilder::new()).with_field(Arc::clone(element));
            for row in all {
                for item in text(row).into_iter().take(row) {
                    lists.values().append_value(&item);
                    lists.values().append_null();
                }
                lists.append(present(row));
            }
            Arc::new(lists.finish())
        }
        DataType::Map(..) => {
            let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
            let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
            for row in all {
                if let Some(value) = text(row) {
                    maps.keys().append_value(format!("key {row}"));
                    maps.values().append_value(value);
                }
                maps.append(present(row)).unwrap();
            }
            Arc::new(maps.finish())
        }
        other => panic!("{other} has no golden values"),
    }
}

/// A release, as far as these files go.
struct Release {
    version: u16,
    codec: Codec,
    /// The folder of its messages.
    folder: PathBuf,
}

impl Release {
    fn new(version: u16, columns: &MessageColumns, folder: &str) -> Self {
        Self {
            version,
            codec: Codec::new(Arc::new(SchemaHistory::new(columns, version))),
            folder: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder),
        }
    }

    /// That of schema version `version`.
    fn of(version: u16) -> Self {
        Self::new(version, &MessageColumns::declared(), &format!("v{version}"))
    }

    /// The one after this: a column more of the actor and of three tables.
    fn next() -> Self {
        let version = SCHEMA_VERSION + 1;
        let added = |name, data_type| Column { name, data_type, meaning: "added in the next version", since: version };
        let mut columns = MessageColumns::declared();
        columns.actor.insert(5, added("next_text", DataType::Utf8));
        for (table, place) in [(Table::ProcessEvents, 0), (Table::Findings, 3), (Table::EventLoss, 6)] {
            columns.own.get_mut(&table).unwrap().insert(place, added("next_number", DataType::Int64));
        }
        Self::new(version, &columns, "next")
    }

    /// The tables that it has.
    fn tables(&self) -> impl Iterator<Item = Table> {
        Table::ALL.iter().copied().filter(|&table| self.codec.history().layout(table, self.version).is_some())
    }

    /// The rows of the golden message with the columns that `version` had, which this one knows.
    fn rows(&self, table: Table, version: u16) -> TableBatch {
        let layout = self.codec.history().layout(table, version).unwrap();
        rows(table, layout.actors.as_ref(), &layout.events)
    }

    /// Its golden message.
    fn message(&self, table: Table) -> Vec<u8> {
        WRITTEN.call_once(write_messages);
        let path = self.path(table);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; UPDATE_EXPECT=1 writes it", path.display()))
    }

    fn path(&self, table: Table) -> PathBuf {
        self.folder.join(format!("{table}.message"))
    }
}

/// Before any message is read, since tests run at the same time.
static WRITTEN: Once = Once::new();

/// Writes the messages that are missing, and the invented ones again, if that is wanted.
fn write_messages() {
    if std::env::var_os("UPDATE_EXPECT").is_none() {
        return;
    }
    let next = Release::next();
    for release in (1..=SCHEMA_VERSION).map(Release::of).chain([Release::next()]) {
        std::fs::create_dir_all(&release.folder).unwrap();
        for table in release.tables() {
            let path = release.path(table);
            if release.version == next.version || !path.exists() {
                let message = release.codec.encode(&release.rows(table, release.version)).unwrap();
                std::fs::write(path, message).unwrap();
            }
        }
    }
}

/// `older` with the columns of `newer`, NULL where `older` has none.
fn widened(older: &TableBatch, newer: &TableBatch) -> TableBatch {
    let batch = |older: &RecordBatch, newer: &RecordBatch| {
        let schema = newer.schema();
        let columns = schema.fields().iter().map(|field| {
            let held = older.column_by_name(field.name()).cloned();
            held.unwrap_or_else(|| new_null_array(field.data_type(), older.num_rows()))
        });
        RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap()
    };
    TableBatch {
        table: older.table,
        actors: older.actors.as_ref().zip(newer.actors.as_ref()).map(|(older, newer)| batch(older, newer)),
        events: batch(&older.events, &newer.events),
    }
}

#[test]
fn messages_of_version_1_are_read_by_the_first_and_by_the_next_release() {
    let (first, next) = (Release::of(1), Release::next());
    for table in first.tables() {
        let (message, written) = (first.message(table), first.rows(table, 1));
        assert_eq!(first.codec.decode(table, 1, &message).unwrap(), written, "{table}");
        let expected = widened(&written, &next.rows(table, next.version));
        assert_eq!(next.codec.decode(table, 1, &message).unwrap(), expected, "{table}");
    }
}

#[test]
fn messages_of_every_version_are_read_by_this_release() {
    let this = Release::of(SCHEMA_VERSION);
    for release in (1..=SCHEMA_VERSION).map(Release::of) {
        for table in release.tables() {
            let expected = widened(&release.rows(table, release.version), &this.rows(table, SCHEMA_VERSION));
            let read = Codec::current().decode(table, release.version, &release.message(table)).unwrap();
            assert_eq!(read, expected, "{table} of version {}", release.version);
        }
    }
}

#[test]
fn messages_of_the_next_version_are_read_by_its_release_and_refused_by_the_first() {
    let (first, next) = (Release::of(1), Release::next());
    let newer = Newer { of: "schema", version: next.version.into(), known: 1 };
    for table in next.tables() {
        let message = next.message(table);
        assert_eq!(
            next.codec.decode(table, next.version, &message).unwrap(),
            next.rows(table, next.version),
            "{table}"
        );
        assert_eq!(first.codec.check_version(next.version, &message), Err(newer));
        match first.codec.decode(table, next.version, &message) {
            Err(CodecError::Newer { newer: found, .. }) => assert_eq!(found, newer, "{table}"),
            other => panic!("{table}: {other:?}"),
        }
    }
}

#[test]
fn columns_of_the_next_version_are_in_those_tables_that_have_them() {
    let next = Release::next();
    for table in next.tables() {
        let rows = next.codec.decode(table, next.version, &next.message(table)).unwrap();
        let added = rows.events.column_by_name("next_number").map(|column| column.null_count() < EVENTS);
        let expected = [Table::ProcessEvents, Table::Findings, Table::EventLoss].contains(&table).then_some(true);
        assert_eq!(added, expected, "{table}");
        let of_actor = rows.actors.map(|actors| actors.column_by_name("next_text").unwrap().null_count() < ACTORS);
        assert_eq!(of_actor, table.has_actor().then_some(true), "{table}");
    }
}

/// Reads what `group` has not committed, with `codec`, until a message waits for another release or `last` is read, and
/// commits what it could read: the offsets of that, and whether something waits.
async fn read_on(log: &EmbeddedLog, codec: &Codec, last: i64) -> (Vec<i64>, bool) {
    let mut consumer = subscribe(log, "g", &topic("t")).await;
    let (mut read, deadline) = (Vec::new(), Instant::now() + LIMIT);
    while read.last() != Some(&last) {
        assert!(Instant::now() < deadline, "{last} is not there; so far: {read:?}");
        let Polled::Messages(messages) = consumer.poll(100, Duration::from_millis(100)).await.unwrap() else {
            continue;
        };
        for Delivered { partition, offset, message } in messages {
            let (table, version) = (partition.topic.table, message.headers.schema_version);
            match codec.decode(table, version, &message.payload) {
                Ok(rows) => assert_eq!(rows.rows(), EVENTS),
                Err(CodecError::Newer { .. }) => return (read, true),
                Err(error) => panic!("{error}"),
            }
            consumer.commit(&[Position { partition, next: offset + 1 }]).await.unwrap();
            read.push(offset);
            if offset == last {
                return (read, false);
            }
        }
    }
    (read, false)
}

#[tokio::test]
async fn a_log_is_read_across_upgrade_and_rollback() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Release::of(1), Release::next());
    let (first, next) = (old.codec.clone(), new.codec.clone());
    let log = open(folder.path(), EmbeddedOptions::default()).await;
    let append = async |releases: &[&Release]| {
        let message = |release: &&Release| {
            let mut message = message("n", 0);
            message.headers.schema_version = release.version;
            message.payload = release.message(Table::ProcessEvents).into();
            message
        };
        log.append(&topic("t"), releases.iter().map(message).collect()).await.unwrap();
    };
    append(&[&old, &new, &old]).await;
    assert_eq!(read_on(&log, &first, 2).await, (vec![0], true));
    // It meets the same message however often it starts again.
    assert_eq!(read_on(&log, &first, 2).await, (vec![], true));
    // Upgraded.
    assert_eq!(read_on(&log, &next, 2).await, (vec![1, 2], false));
    // Rolled back while a writer of the next release is still there.
    append(&[&old, &new]).await;
    assert_eq!(read_on(&log, &first, 4).await, (vec![3], true));
    append(&[&old]).await;
    assert_eq!(read_on(&log, &next, 5).await, (vec![4, 5], false));
    // And once all of them write version 1 again, both read it.
    append(&[&old, &old]).await;
    assert_eq!(read_on(&log, &first, 6).await, (vec![6], false));
    assert_eq!(read_on(&log, &next, 7).await, (vec![7], false));
}

/// Copies a folder; a file that ends with `.zst` is decompressed.
fn unpack(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let into = to.join(path.file_name().unwrap());
        if path.is_dir() {
            unpack(&path, &into);
        } else if path.extension().is_some_and(|ending| ending == "zst") {
            let compressed = std::fs::File::open(&path).unwrap();
            std::fs::write(into.with_extension(""), zstd::decode_all(compressed).unwrap()).unwrap();
        } else {
            std::fs::copy(&path, &into).unwrap();
        }
    }
}

/// The folder of an embedded log, and so of a spool, that a release wrote which put no version there. The group
/// `forwarder` had committed the first message of `process_events`.
#[tokio::test]
async fn a_log_of_version_1_is_opened_and_read_further() {
    let folder = tempfile::tempdir().unwrap();
    unpack(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/log-v1"), folder.path());
    for keyspace in 0..3 {
        // Git keeps no empty folder.
        std::fs::create_dir_all(folder.path().join(format!("store/keyspaces/{keyspace}/tables"))).unwrap();
    }
    let log = open(folder.path(), EmbeddedOptions::default()).await;
    assert_eq!(std::fs::read_to_string(folder.path().join("format")).unwrap(), "1\n");
    for (table, name, expected) in
        [(Table::ProcessEvents, "forwarder", &[1, 2][..]), (Table::EventLoss, "another", &[0, 1, 2])]
    {
        let topic = Topic { tenant: "acme".into(), table };
        let seen = read(&mut *subscribe(&log, name, &topic).await, expected.len()).await;
        let offsets: Vec<i64> = seen.messages.iter().map(|delivered| delivered.offset).collect();
        assert_eq!((offsets.as_slice(), seen.batches().as_slice()), (expected, expected));
        for Delivered { message, .. } in seen.messages {
            let rows = Release::next().codec.decode(table, message.headers.schema_version, &message.payload).unwrap();
            assert_eq!(rows.rows(), message.headers.rows as usize);
        }
    }
}
