//! Messages as earlier releases wrote them, kept as files: `golden/v<schema version>/<table>.message`.
//!
//! A file of a released version is never rewritten: it represents data in existing logs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array as _, ArrayRef, BooleanArray, Date32Array, Int32Array, Int64Array, ListBuilder, MapBuilder, MapFieldNames,
    RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, SchemaRef};
use kerntrail_schemas::history::MessageColumns;
use kerntrail_schemas::{Column, SchemaHistory, Table, TableBatch};
use kerntrail_transport::codec::CodecError;
use kerntrail_transport::{
    Codec, Delivered, EmbeddedLog, EmbeddedOptions, EventLog as _, Newer, Polled, Position, Topic,
};
use tokio::time::Instant;

use crate::support::{LIMIT, message, open, read, subscribe, topic};

const EVENTS: usize = 5;
const ACTORS: usize = 3;

fn file(version: u16, table: Table) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/v{version}/{table}.message"))
}

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

/// What the release after this one knows, as far as these files go: a column more of the actor and of three tables.
fn next_release() -> Codec {
    let added = |name, data_type| Column { name, data_type, meaning: "added in version 2", since: 2 };
    let mut columns = MessageColumns::declared();
    columns.actor.insert(5, added("process_sha256", DataType::Utf8));
    for (table, place) in [(Table::ProcessEvents, 0), (Table::Findings, 3), (Table::EventLoss, 6)] {
        columns.own.get_mut(&table).unwrap().insert(place, added("added_number", DataType::Int64));
    }
    Codec::new(Arc::new(SchemaHistory::new(&columns, 2)))
}

/// The codec of a release of schema version 1, whatever this one has.
fn first_release() -> Codec {
    Codec::new(Arc::new(SchemaHistory::new(&MessageColumns::declared(), 1)))
}

/// The rows of the golden message with the columns of `version`.
fn rows_of(codec: &Codec, table: Table, version: u16) -> TableBatch {
    let layout = codec.history().layout(table, version).unwrap();
    rows(table, layout.actors.as_ref(), &layout.events)
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

fn golden(version: u16, table: Table) -> Vec<u8> {
    let path = file(version, table);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn messages_of_version_1_are_read_by_the_first_and_by_the_next_release() {
    let (first, next) = (first_release(), next_release());
    for &table in Table::ALL {
        let (message, written) = (golden(1, table), rows_of(&first, table, 1));
        assert_eq!(first.decode(table, 1, &message).unwrap(), written, "{table}");
        let expected = widened(&written, &rows_of(&next, table, 2));
        assert_eq!(next.decode(table, 1, &message).unwrap(), expected, "{table}");
    }
}

#[test]
fn messages_of_version_2_are_read_by_the_next_release_and_refused_by_the_first() {
    let (first, next) = (first_release(), next_release());
    let newer = Newer { of: "schema", version: 2, known: 1 };
    for &table in Table::ALL {
        let written = rows_of(&next, table, 2);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::create_dir_all(file(2, table).parent().unwrap()).unwrap();
            std::fs::write(file(2, table), next.encode(&written).unwrap()).unwrap();
        }
        let message = golden(2, table);
        assert_eq!(next.decode(table, 2, &message).unwrap(), written, "{table}");
        assert_eq!(first.check_version(2, &message), Err(newer));
        match first.decode(table, 2, &message) {
            Err(CodecError::Newer { newer: found, .. }) => assert_eq!(found, newer, "{table}"),
            other => panic!("{table}: {other:?}"),
        }
    }
}

#[test]
fn columns_of_version_2_are_in_those_tables_that_have_them() {
    let next = next_release();
    for &table in Table::ALL {
        let rows = next.decode(table, 2, &golden(2, table)).unwrap();
        let added = rows.events.column_by_name("added_number").map(|column| column.null_count() < EVENTS);
        let expected = [Table::ProcessEvents, Table::Findings, Table::EventLoss].contains(&table).then_some(true);
        assert_eq!(added, expected, "{table}");
        let of_actor = rows.actors.map(|actors| actors.column_by_name("process_sha256").unwrap().null_count() < ACTORS);
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
    let (first, next) = (first_release(), next_release());
    let log = open(folder.path(), EmbeddedOptions::default()).await;
    let append = async |versions: &[u16]| {
        let message = |version: &u16| {
            let mut message = message("n", 0);
            message.headers.schema_version = *version;
            message.payload = golden(*version, Table::ProcessEvents).into();
            message
        };
        log.append(&topic("t"), versions.iter().map(message).collect()).await.unwrap();
    };
    append(&[1, 2, 1]).await;
    assert_eq!(read_on(&log, &first, 2).await, (vec![0], true));
    // It meets the same message however often it starts again.
    assert_eq!(read_on(&log, &first, 2).await, (vec![], true));
    // Upgraded.
    assert_eq!(read_on(&log, &next, 2).await, (vec![1, 2], false));
    // Rolled back while a writer of the next release is still there.
    append(&[1, 2]).await;
    assert_eq!(read_on(&log, &first, 4).await, (vec![3], true));
    append(&[1]).await;
    assert_eq!(read_on(&log, &next, 5).await, (vec![4, 5], false));
    // And once all of them write version 1 again, both read it.
    append(&[1, 1]).await;
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
            let rows = next_release().decode(table, message.headers.schema_version, &message.payload).unwrap();
            assert_eq!(rows.rows(), message.headers.rows as usize);
        }
    }
}
