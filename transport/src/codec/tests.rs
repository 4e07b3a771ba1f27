use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, ListArray, MapArray, PrimitiveArray, RecordBatch,
    StringArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use kerntrail_schemas::tables::{Actor, Envelope, LossColumns, ProcessColumns};
use kerntrail_schemas::{SCHEMA_VERSION, Table, TableBatch, TableBuilder};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// How many rows of a column have a value, and how many of the values differ.
#[derive(Clone, Copy)]
struct Shape {
    missing: f64,
    distinct: u64,
}

fn nulls(random: &mut StdRng, rows: usize, shape: Shape) -> Option<NullBuffer> {
    (shape.missing > 0.0).then(|| (0..rows).map(|_| !random.random_bool(shape.missing)).collect::<Vec<_>>().into())
}

fn number(random: &mut StdRng, shape: Shape) -> i64 {
    // Spread over the whole range, and the same for the same choice.
    (random.random_range(0..shape.distinct).wrapping_mul(0x9e37_79b9_7f4a_7c15)) as i64
}

fn offsets(random: &mut StdRng, rows: usize) -> OffsetBuffer<i32> {
    OffsetBuffer::from_lengths((0..rows).map(|_| random.random_range(0..4)))
}

fn array(random: &mut StdRng, data_type: &DataType, rows: usize, shape: Shape) -> ArrayRef {
    let nulls = nulls(random, rows, shape);
    let numbers: Vec<i64> = (0..rows).map(|_| number(random, shape)).collect();
    match data_type {
        DataType::Boolean => {
            Arc::new(BooleanArray::new(numbers.iter().map(|n| n % 2 == 0).collect::<Vec<_>>().into(), nulls))
        }
        DataType::Int32 => Arc::new(Int32Array::new(numbers.iter().map(|n| *n as i32).collect(), nulls)),
        DataType::Date32 => {
            let days: ArrayRef = Arc::new(Int32Array::new(numbers.iter().map(|n| *n as i32).collect(), nulls));
            cast(&days, data_type).unwrap()
        }
        DataType::Int64 => Arc::new(Int64Array::new(numbers.into(), nulls)),
        DataType::Timestamp(..) => {
            Arc::new(PrimitiveArray::<TimestampMicrosecondType>::new(numbers.into(), nulls).with_timezone("UTC"))
        }
        DataType::Utf8 => {
            let texts = numbers.iter().map(|n| format!("{}é{n}", "x".repeat(*n as usize % 9)));
            let texts = StringArray::from_iter_values(texts);
            let (offsets, values, _) = texts.into_parts();
            Arc::new(StringArray::new(offsets, values, nulls))
        }
        DataType::List(element) => {
            // Rows without a value may still point to elements: they must not travel.
            let offsets = offsets(random, rows);
            let values = array(random, element.data_type(), *offsets.last().unwrap() as usize, shape);
            Arc::new(ListArray::new(element.clone(), offsets, values, nulls))
        }
        DataType::Map(entry, sorted) => {
            let DataType::Struct(fields) = entry.data_type() else { panic!("{entry:?}") };
            let offsets = offsets(random, rows);
            let count = *offsets.last().unwrap() as usize;
            let keys = array(random, fields[0].data_type(), count, Shape { missing: 0.0, ..shape });
            let values = array(random, fields[1].data_type(), count, shape);
            let entries = StructArray::new(fields.clone(), vec![keys, values], None);
            Arc::new(MapArray::new(entry.clone(), offsets, entries, nulls, *sorted))
        }
        other => panic!("no random {other}"),
    }
}

fn batch(random: &mut StdRng, schema: &SchemaRef, rows: usize) -> RecordBatch {
    let columns = schema.fields().iter().map(|field| {
        let missing = [0.0, 0.0, 0.5, 1.0][random.random_range(0..4)];
        let distinct = [1, 2, 10, 300, u64::MAX][random.random_range(0..5)];
        // Longer than needed, and cut: an array may be a slice of another.
        let whole = array(random, field.data_type(), rows + 3, Shape { missing, distinct });
        whole.slice(random.random_range(0..4), rows)
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

fn table_batch(random: &mut StdRng, table: Table, rows: usize) -> TableBatch {
    let actors = table.has_actor().then(|| {
        let count = random.random_range(0..=rows);
        batch(random, &TableBatch::actors_schema(), count)
    });
    TableBatch { table, actors, events: batch(random, &TableBatch::events_schema(table), rows) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_rows_are_decoded_unchanged(seed: u64, table in prop::sample::select(Table::ALL), rows in prop_oneof![Just(0), Just(1), 2usize..40, 300usize..700]) {
        let rows = table_batch(&mut StdRng::seed_from_u64(seed), table, rows);
        let payload = encode(&rows).unwrap();
        prop_assert_eq!(decode(table, SCHEMA_VERSION, &payload).unwrap(), rows);
    }

    #[test]
    fn damaged_bytes_are_an_error_or_other_rows(seed: u64, table in prop::sample::select(Table::ALL), rows in 0usize..60) {
        let mut random = StdRng::seed_from_u64(seed);
        let rows = table_batch(&mut random, table, rows);
        let (plain, payload) = (lay_out(&rows).unwrap(), encode(&rows).unwrap());
        for _ in 0..40 {
            // Neither panics; whether it is noticed depends on where it hits.
            let _ = read(table, &damage(&mut random, &plain), &newest(table)).map(|rows| rows.flatten());
            let _ = decode(table, SCHEMA_VERSION, &damage(&mut random, &payload)).map(|rows| rows.flatten());
        }
    }
}

fn newest(table: Table) -> MessageLayout {
    SchemaHistory::current().newest(table).unwrap().clone()
}

fn damage(random: &mut StdRng, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..4) {
        let place = random.random_range(0..=bytes.len());
        match random.random_range(0..4) {
            0 => bytes.truncate(place),
            1 => bytes.insert(place, random.random()),
            2 => bytes.extend((0..random.random_range(0..9)).map(|_| random.random::<u8>())),
            _ => {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = [0, 1, 0x7f, 0x80, 0xff, random.random()][random.random_range(0..6)];
                }
            }
        }
    }
    bytes
}

fn losses(count: i64) -> TableBatch {
    let mut builder = TableBuilder::<LossColumns>::default();
    for seq in 0..count {
        builder.append(&Envelope { seq: Some(seq), ..Envelope::default() }, None, &LossColumns::default());
    }
    builder.finish().unwrap()
}

fn payload_of(plain: &[u8]) -> Vec<u8> {
    let mut payload = vec![b'K', b'T', LAYOUT_VERSION, Table::EventLoss.number()];
    dictionary::compress(SCHEMA_VERSION, plain, &mut payload).unwrap();
    payload
}

/// One row of losses whose first column, `date`, is laid out as `first`; no other column has a value.
fn one_row(first: &[u8]) -> Vec<u8> {
    let others = TableBatch::events_schema(Table::EventLoss).fields().len() - 1;
    let plain = [&[1], first, &vec![column::NONE; others]].concat();
    payload_of(&plain)
}

#[test]
fn invalid_payloads_are_refused() {
    let good = encode(&losses(3)).unwrap().to_vec();
    assert_eq!(decode(Table::EventLoss, SCHEMA_VERSION, &good).unwrap().rows(), 3);
    let with = |place: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[place] = byte;
        bytes
    };
    let cases: BTreeMap<&str, (Vec<u8>, &str)> = [
        ("nothing", (vec![], "shorter than its header")),
        ("another magic", (with(0, b'X'), "does not start")),
        ("another layout", (with(2, 9), "layout version 9")),
        ("another table", (with(3, 1), "another table")),
        ("no frame", (good[..4].to_vec(), "no zstd frame")),
        ("half a frame", (good[..good.len() - 3].to_vec(), "")),
        ("too long", (vec![0; MAX_PAYLOAD_BYTES + 1], "payload bytes of at most")),
        ("a bomb", (payload_of(&vec![0; MAX_DECODED_BYTES + 1]), "it inflates to")),
        ("no columns", (payload_of(&[5]), "ends early")),
        ("more rows than allowed", (payload_of(&[0x81, 0x80, 0x04]), "rows of at most")),
        ("a row count of 70 bits", (payload_of(&[0xff; 11]), "more than 64 bits")),
        ("bytes behind the end", (payload_of(&[lay_out(&losses(1)).unwrap(), vec![7]].concat()), "bytes follow")),
        ("an unknown presence", (one_row(&[7]), "presence 7")),
        ("an unknown coding", (one_row(&[column::ALL, 7, 0]), "coding 7")),
        ("a date of 40 bits", (one_row(&[column::ALL, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]), "32 bits")),
        ("a choice of nothing", (one_row(&[column::ALL, 1, 0]), "choice of nothing")),
        ("a choice there is not", (one_row(&[column::ALL, 1, 2, 0, 2, 9]), "choice 9 of 2")),
    ]
    .into();
    for (name, (bytes, expected)) in cases {
        let error = decode(Table::EventLoss, SCHEMA_VERSION, &bytes).expect_err(name).to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
    let error = decode(Table::EventLoss, 99, &good).unwrap_err().to_string();
    assert!(error.contains("schema version 99"), "{error}");
}

#[test]
fn small_payloads_that_expand_too_much_are_refused() {
    // 65,536 rows of a text of 60,000 bytes, in a hundred bytes.
    let schema = TableBatch::events_schema(Table::EventLoss);
    let node = schema.index_of("node").unwrap();
    let mut plain = vec![0x80, 0x80, 0x04];
    for column in 0..schema.fields().len() {
        match column {
            _ if column == node => {
                plain.extend([column::ALL, 1, 1, 0xe0, 0xd4, 0x03]);
                plain.extend([b'x'; 60_000]);
            }
            _ => plain.push(column::NONE),
        }
    }
    let error = decode(Table::EventLoss, SCHEMA_VERSION, &payload_of(&plain)).unwrap_err().to_string();
    assert!(error.contains("when decoded"), "{error}");
}

#[test]
fn columns_of_another_table_are_refused() {
    let wrong =
        TableBatch { table: Table::EventLoss, actors: None, events: RecordBatch::new_empty(Table::Findings.schema()) };
    assert!(matches!(encode(&wrong), Err(CodecError::Encode { .. })));
    let without_actors = TableBatch { table: Table::ProcessEvents, ..losses(1) };
    assert!(matches!(encode(&without_actors), Err(CodecError::Encode { .. })));
}

/// `count` execs by as many processes, with arguments of `bytes` random characters each.
fn execs(count: usize, bytes: usize) -> TableBatch {
    let mut random = StdRng::seed_from_u64(5);
    let mut builder = TableBuilder::<ProcessColumns>::default();
    for seq in 0..count {
        let noise = (0..bytes).map(|_| char::from(random.random_range(b' '..b'~'))).collect();
        let actor = Arc::new(Actor { pid: Some(seq as i32), args: Some(vec![noise]), ..Actor::default() });
        let envelope = Envelope { seq: Some(seq as i64), ..Envelope::default() };
        builder.append(&envelope, Some(&actor), &ProcessColumns::default());
    }
    builder.finish().unwrap()
}

#[test]
fn rows_beyond_the_limits_are_split() {
    let none = execs(0, 0);
    assert!(split(&none).unwrap().is_empty());
    for (rows, least) in [(execs(10, 10), 1), (execs(3_000, 1_500), 4), (losses(MAX_ROWS as i64 + 1), 2)] {
        let pieces = split(&rows).unwrap();
        assert!(pieces.len() >= least, "{} pieces", pieces.len());
        let mut next = 0;
        let mut flat = Vec::new();
        for piece in &pieces {
            assert!(piece.payload.len() <= MAX_PAYLOAD_BYTES);
            assert_eq!(piece.seq_range, (next, next + i64::from(piece.rows) - 1));
            next += i64::from(piece.rows);
            let part = decode(rows.table, SCHEMA_VERSION, &piece.payload).unwrap();
            assert_eq!(part.actors.as_ref().map_or(part.rows(), RecordBatch::num_rows), piece.rows as usize);
            flat.push(part.flatten().unwrap());
        }
        assert_eq!(concat_batches(&rows.table.schema(), &flat).unwrap(), rows.flatten().unwrap());
    }
}

#[test]
fn a_single_row_beyond_the_limits_is_an_error() {
    let error = split(&execs(1, MAX_PAYLOAD_BYTES * 2)).unwrap_err();
    assert!(matches!(error, CodecError::TooLarge { rows: 1, .. }), "{error}");
}
