//! zstd with dictionaries, trained by `examples/train.rs`.
//!
//! A frame has neither the id of its dictionary nor a checksum: the first follows from the schema version, and the event log
//! has its own checksums.

use std::sync::LazyLock;

use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};
use zstd::zstd_safe::{CParameter, get_frame_content_size};

/// Dictionaries in ascending order, each with the first schema version whose messages are compressed with it. A version
/// without one of its own uses that of the version before. One that was released stays: stored messages need it.
const DICTIONARIES: &[(u16, &[u8])] = &[(1, include_bytes!("../../dictionaries/v1.zstd-dict"))];
/// What a higher level saves is measured in `examples/wire_size.rs`.
const LEVEL: i32 = 3;

/// A dictionary made ready for both directions.
struct Dictionary {
    since: u16,
    encoder: EncoderDictionary<'static>,
    decoder: DecoderDictionary<'static>,
}

static READY: LazyLock<Vec<Dictionary>> = LazyLock::new(|| {
    let ready = |(since, bytes): &(u16, &'static [u8])| Dictionary {
        since: *since,
        encoder: EncoderDictionary::copy(bytes, LEVEL),
        decoder: DecoderDictionary::copy(bytes),
    };
    DICTIONARIES.iter().map(ready).collect()
});

/// The dictionary of messages of `schema_version`.
fn of(schema_version: u16) -> Result<&'static Dictionary, String> {
    let found = READY.iter().rev().find(|dictionary| dictionary.since <= schema_version);
    found.ok_or_else(|| format!("schema version {schema_version} has no dictionary"))
}

/// Appends the frame of `plain`, laid out by `schema_version`, to `payload`.
pub(super) fn compress(schema_version: u16, plain: &[u8], payload: &mut Vec<u8>) -> Result<(), String> {
    let dictionary = of(schema_version)?;
    let mut compressor =
        Compressor::with_prepared_dictionary(&dictionary.encoder).map_err(|error| error.to_string())?;
    compressor.set_parameter(CParameter::DictIdFlag(false)).map_err(|error| error.to_string())?;
    payload.extend(compressor.compress(plain).map_err(|error| error.to_string())?);
    Ok(())
}

/// The content of `frame`, which a writer of `schema_version` made, if it is `most` bytes or fewer.
pub(super) fn decompress(schema_version: u16, frame: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let dictionary = of(schema_version)?;
    let size =
        get_frame_content_size(frame).map_err(|_| "no zstd frame")?.ok_or("its zstd frame does not state its size")?;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size > most {
        return Err(format!("it inflates to {size} bytes, {most} are allowed"));
    }
    let mut decompressor =
        Decompressor::with_prepared_dictionary(&dictionary.decoder).map_err(|error| error.to_string())?;
    let plain = decompressor.decompress(frame, size).map_err(|error| error.to_string())?;
    if plain.len() == size { Ok(plain) } else { Err("its zstd frame is shorter than it states".into()) }
}
