//! A message as a value of the store.
//!
//! ```text
//! record = version u8 (1) | appended at, ms since the Unix epoch, u64 | schema version u16 | batch i64 | rows u32
//!          | lowest seq i64 | highest seq i64 | length of node u16, node | length of stream u16, stream | payload
//! ```
//! Numbers are little endian. The store has checksums for its blocks, so a record has none.

use bytes::{Buf, Bytes};
use kerntrail_schemas::identity::StreamId;

use crate::log::{Headers, Message};
use crate::newer::Newer;

/// The first byte of a record, in every version.
const VERSION: u8 = 1;
const FIXED_BYTES: usize = 1 + 8 + 2 + 8 + 4 + 8 + 8;

/// Encodes `message`, which is appended at `now` (ms since the Unix epoch).
///
/// Errors: the node or the stream has more than 65,535 bytes.
pub(super) fn encode(message: &Message, now: u64) -> Result<Vec<u8>, String> {
    let headers = &message.headers;
    let mut out = Vec::with_capacity(FIXED_BYTES + 4 + 64 + message.payload.len());
    out.push(VERSION);
    out.extend_from_slice(&now.to_le_bytes());
    out.extend_from_slice(&headers.schema_version.to_le_bytes());
    out.extend_from_slice(&headers.batch.to_le_bytes());
    out.extend_from_slice(&headers.rows.to_le_bytes());
    out.extend_from_slice(&headers.seq_range.0.to_le_bytes());
    out.extend_from_slice(&headers.seq_range.1.to_le_bytes());
    for text in [headers.node.as_str(), headers.stream.as_str()] {
        let length = u16::try_from(text.len()).map_err(|_| format!("a name of {} bytes", text.len()))?;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(&message.payload);
    Ok(out)
}

/// When a record was appended; 0 where that cannot be read.
pub(super) fn appended_at(record: &[u8]) -> u64 {
    record.get(1..9).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Number of rows in a record's message; 0 where that cannot be read.
pub(super) fn rows(record: &[u8]) -> u32 {
    record.get(19..23).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// Why a record is not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// The bytes are not a record.
    Damaged(String),
    /// A newer release wrote it.
    Newer(Newer),
}

impl From<String> for Unreadable {
    fn from(reason: String) -> Self {
        Self::Damaged(reason)
    }
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(record: &[u8]) -> Result<Message, Unreadable> {
    let mut rest = record;
    let version = rest.try_get_u8().map_err(|_| "an empty record".to_owned())?;
    Newer::check("record", version.into(), VERSION.into()).map_err(Unreadable::Newer)?;
    if version != VERSION {
        return Err(format!("record version {version} is not known").into());
    }
    if record.len() < FIXED_BYTES {
        return Err(format!("{} bytes are not a record", record.len()).into());
    }
    rest.advance(8);
    let schema_version = rest.get_u16_le();
    let batch = rest.get_i64_le();
    let rows = rest.get_u32_le();
    let seq_range = (rest.get_i64_le(), rest.get_i64_le());
    let node = text(&mut rest)?;
    let stream = StreamId::new(text(&mut rest)?);
    let headers = Headers { schema_version, node, stream, batch, rows, seq_range };
    Ok(Message { headers, payload: Bytes::copy_from_slice(rest) })
}

fn text(rest: &mut &[u8]) -> Result<String, String> {
    let ends_early = "the record ends early";
    let length = usize::from(rest.try_get_u16_le().map_err(|_| ends_early)?);
    let (text, after) = rest.split_at_checked(length).ok_or(ends_early)?;
    *rest = after;
    String::from_utf8(text.to_vec()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_truncation() {
        let headers = Headers {
            schema_version: 1,
            node: "node-1".into(),
            stream: StreamId::new("b+7"),
            batch: i64::MAX,
            rows: 3,
            seq_range: (-1, 9),
        };
        let message = Message { headers, payload: Bytes::from_static(b"payload") };
        let record = encode(&message, 77).unwrap();
        assert_eq!(appended_at(&record), 77);
        assert_eq!(decode(&record), Ok(message.clone()));
        let without_payload = record.len() - message.payload.len();
        for end in 0..without_payload {
            assert!(decode(&record[..end]).is_err(), "{end}");
        }
        assert!(matches!(decode(&[0; 60]), Err(Unreadable::Damaged(_))));
    }

    #[test]
    fn a_record_of_version_1_is_read_and_written_unchanged() {
        let golden = include_bytes!("golden/record-v1.bin");
        let headers = Headers {
            schema_version: 1,
            node: "node-é".into(),
            stream: StreamId::new("boot+7"),
            batch: 1 << 40,
            rows: 3,
            seq_range: (-1, 9),
        };
        let message = Message { headers, payload: Bytes::from_static(b"KT\x01\x01 and then a frame") };
        assert_eq!(decode(golden), Ok(message.clone()));
        assert_eq!(encode(&message, 1_795_521_600_123).unwrap(), golden);
        assert_eq!(appended_at(golden), 1_795_521_600_123);
    }

    #[test]
    fn a_newer_record_is_not_mistaken_for_damage() {
        let newer = Newer { of: "record", version: 2, known: 1 };
        for record in [&[2][..], &[2; 300]] {
            assert_eq!(decode(record), Err(Unreadable::Newer(newer)));
        }
    }
}
