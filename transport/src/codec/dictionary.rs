//! zstd with a dictionary for each schema version, trained by `examples/train.rs`.
//!
//! A frame names neither dictionary nor checksum: the schema version tells the one, the event log checks the other.

use std::sync::LazyLock;

use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};
use zstd::zstd_safe::{CParameter, get_frame_content_size};

/// Dictionary of schema version 1. A version once released keeps its file: old messages need it.
const V1: &[u8] = include_bytes!("../../dictionaries/v1.zstd-dict");
/// What a higher level saves is measured in `examples/wire_size.rs`.
const LEVEL: i32 = 3;

static ENCODER: LazyLock<EncoderDictionary<'static>> = LazyLock::new(|| EncoderDictionary::copy(V1, LEVEL));
static DECODER_V1: LazyLock<DecoderDictionary<'static>> = LazyLock::new(|| DecoderDictionary::copy(V1));

/// Appends the frame of `plain` to `payload`.
pub(super) fn compress(plain: &[u8], payload: &mut Vec<u8>) -> Result<(), String> {
    let mut compressor = Compressor::with_prepared_dictionary(&ENCODER).map_err(|error| error.to_string())?;
    compressor.set_parameter(CParameter::DictIdFlag(false)).map_err(|error| error.to_string())?;
    payload.extend(compressor.compress(plain).map_err(|error| error.to_string())?);
    Ok(())
}

/// The content of `frame`, which a writer of `schema_version` made, if it is `most` bytes or fewer.
pub(super) fn decompress(schema_version: u16, frame: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let dictionary = match schema_version {
        1 => &DECODER_V1,
        version => return Err(format!("schema version {version} is not known")),
    };
    let size = get_frame_content_size(frame).map_err(|_| "no zstd frame")?.ok_or("its zstd frame tells no size")?;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size > most {
        return Err(format!("it inflates to {size} bytes, {most} are allowed"));
    }
    let mut decompressor = Decompressor::with_prepared_dictionary(dictionary).map_err(|error| error.to_string())?;
    let plain = decompressor.decompress(frame, size).map_err(|error| error.to_string())?;
    if plain.len() == size { Ok(plain) } else { Err("its zstd frame is shorter than it tells".into()) }
}
