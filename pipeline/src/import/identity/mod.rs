//! The identity of imported rows: a number for each, and the numbers that the lake has.

pub(super) mod canonical;
pub(super) mod known;

/// Number of the row at `place` among the rows of the record with the number `record`.
///
/// The first row has the record's own, as rows of the formats that make one row a record always had.
pub(super) fn row_number(record: i64, place: usize) -> i64 {
    match place {
        0 => record,
        place => (canonical::mix(record as u64, place as u64) >> 1) as i64,
    }
}
