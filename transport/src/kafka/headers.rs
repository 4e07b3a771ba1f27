//! A message's headers as Kafka headers, all text, so that any tool shows them:
//!
//! | header | value |
//! |---|---|
//! | `kt-schema` | schema version of the writer |
//! | `kt-stream` | who numbered the rows and batches |
//! | `kt-batch` | batch number |
//! | `kt-rows` | number of rows |
//! | `kt-seq` | lowest and highest `seq`, joined by `..` |
//!
//! The node is the key. Other headers are left alone.

use std::str::FromStr;

use kerntrail_schemas::identity::StreamId;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};

use crate::log::Headers;

const SCHEMA: &str = "kt-schema";
const STREAM: &str = "kt-stream";
const BATCH: &str = "kt-batch";
const ROWS: &str = "kt-rows";
const SEQ: &str = "kt-seq";

pub(super) fn write(headers: &Headers) -> OwnedHeaders {
    let (low, high) = headers.seq_range;
    let texts = [
        (SCHEMA, headers.schema_version.to_string()),
        (STREAM, headers.stream.to_string()),
        (BATCH, headers.batch.to_string()),
        (ROWS, headers.rows.to_string()),
        (SEQ, format!("{low}..{high}")),
    ];
    let all = OwnedHeaders::new_with_capacity(texts.len());
    texts.iter().fold(all, |all, (key, value)| all.insert(Header { key, value: Some(value) }))
}

/// What [`write()`] wrote, or which header is missing or malformed.
pub(super) fn read(message: &BorrowedMessage<'_>) -> Result<Headers, String> {
    let node = message.key().ok_or("it has no key")?;
    let node = String::from_utf8(node.to_vec()).map_err(|_| "its key is not UTF-8")?;
    let all = message.headers().ok_or("it has no headers")?;
    let text = |name: &str| {
        let found = all.iter().find(|header| header.key == name).and_then(|header| header.value);
        let bytes = found.ok_or_else(|| format!("it has no header {name}"))?;
        std::str::from_utf8(bytes).map_err(|_| format!("its header {name} is not UTF-8"))
    };
    let (low, high) = text(SEQ)?.split_once("..").ok_or_else(|| malformed(SEQ))?;
    Ok(Headers {
        schema_version: number(SCHEMA, text(SCHEMA)?)?,
        node,
        stream: StreamId::new(text(STREAM)?),
        batch: number(BATCH, text(BATCH)?)?,
        rows: number(ROWS, text(ROWS)?)?,
        seq_range: (number(SEQ, low)?, number(SEQ, high)?),
    })
}

fn number<T: FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| malformed(name))
}

fn malformed(name: &str) -> String {
    format!("its header {name} is malformed")
}
