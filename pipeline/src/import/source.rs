//! The bytes of an input: counted, and decompressed where they are compressed.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

/// Bytes read at once from the input.
const READ: usize = 256 * 1024;

/// How the input's bytes are packed; found from its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Not at all.
    Plain,
    /// gzip, one member or several.
    Gzip,
    /// zstd, one frame or several.
    Zstd,
    /// Something known that is not read; its name.
    Other(&'static str),
}

impl Packing {
    fn of(start: &[u8]) -> Self {
        const KNOWN: [(&[u8], Packing); 9] = [
            (b"\x1f\x8b", Packing::Gzip),
            (b"\x28\xb5\x2f\xfd", Packing::Zstd),
            (b"PK\x03\x04", Packing::Other("a zip archive")),
            (b"BZh", Packing::Other("bzip2")),
            (b"\xfd7zXZ\x00", Packing::Other("xz")),
            (b"\x04\x22\x4d\x18", Packing::Other("lz4")),
            (b"PAR1", Packing::Other("a Parquet file")),
            (b"\xff\xfe", Packing::Other("UTF-16 text")),
            (b"\xfe\xff", Packing::Other("UTF-16 text")),
        ];
        // A zstd stream may open with a skippable frame.
        if start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == [0x2a, 0x4d, 0x18] {
            return Self::Zstd;
        }
        KNOWN.iter().find(|(magic, _)| start.starts_with(magic)).map_or(Self::Plain, |(_, packing)| *packing)
    }

    /// Its name, for messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain text",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Other(name) => name,
        }
    }
}

/// What is known of an input while another thread reads it.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    bytes: AtomicU64,
    failed: AtomicBool,
}

impl Meter {
    /// Bytes of the input read so far, as they lie there (compressed).
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether reading the input itself failed, and not making sense of it.
    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

struct Metered<R> {
    inner: R,
    meter: Arc<Meter>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.read(into);
        match &result {
            Ok(count) => self.meter.bytes.fetch_add(*count as u64, Ordering::Relaxed),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(_) => {
                self.meter.failed.store(true, Ordering::Relaxed);
                0
            }
        };
        result
    }
}

/// Opens `input`, decompressed; what is read of it shows in `meter`.
///
/// Errors: the first bytes cannot be read. What is packed in a way that is not read gives [`Packing::Other`] and an
/// empty reader.
pub(crate) fn open<R: Read + Send + 'static>(
    input: R,
    meter: Arc<Meter>,
) -> io::Result<(Packing, Box<dyn Read + Send>)> {
    let mut start = Vec::with_capacity(6);
    let mut input = Metered { inner: input, meter };
    input.by_ref().take(6).read_to_end(&mut start)?;
    let packing = Packing::of(&start);
    let all: Box<dyn Read + Send> = Box::new(io::Cursor::new(start).chain(input));
    let buffered = BufReader::with_capacity(READ, all);
    Ok((packing, decoder(packing, buffered)?))
}

fn decoder(packing: Packing, input: impl BufRead + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    Ok(match packing {
        Packing::Plain => Box::new(input),
        Packing::Gzip => Box::new(MultiGzDecoder::new(input)),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
        Packing::Other(_) => Box::new(io::empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: Vec<u8>) -> (Packing, Vec<u8>, Option<io::ErrorKind>) {
        let (packing, mut reader) = open(io::Cursor::new(bytes), Arc::default()).unwrap();
        let mut text = Vec::new();
        let error = reader.read_to_end(&mut text).err().map(|error| error.kind());
        (packing, text, error)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut encoder, text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn packing_is_found_and_undone() {
        let two_members = [gzip(b"one "), gzip(b"two")].concat();
        let zstd = |text: &[u8]| zstd::encode_all(text, 1).unwrap();
        let skippable = [b"\x50\x2a\x4d\x18\x02\x00\x00\x00ab".to_vec(), zstd(b"one "), zstd(b"two")].concat();
        let cases = [
            (b"one two".to_vec(), Packing::Plain, "one two"),
            (b"{}".to_vec(), Packing::Plain, "{}"),
            (Vec::new(), Packing::Plain, ""),
            (two_members, Packing::Gzip, "one two"),
            ([zstd(b"one "), zstd(b"two")].concat(), Packing::Zstd, "one two"),
            (skippable, Packing::Zstd, "one two"),
            (b"PK\x03\x04....".to_vec(), Packing::Other("a zip archive"), ""),
            (b"\xff\xfe{\0}\0".to_vec(), Packing::Other("UTF-16 text"), ""),
        ];
        for (bytes, packing, text) in cases {
            assert_eq!(read(bytes), (packing, text.into(), None));
        }
    }

    #[test]
    fn a_cut_stream_gives_what_came_before_the_cut() {
        let text: Vec<u8> = (0..200_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for packed in [gzip(&text), zstd::encode_all(text.as_slice(), 1).unwrap()] {
            let (_, got, error) = read(packed[..packed.len() / 2].to_vec());
            assert!(error.is_some());
            assert!(!got.is_empty() && text.starts_with(&got));
        }
    }
}
