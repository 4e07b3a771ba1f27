//! The bytes of an input: counted, and decompressed where they are compressed.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flate2::bufread::GzDecoder;

/// Bytes read at once from the input.
const READ: usize = 256 * 1024;

/// How the input's bytes are compressed, as its first bytes show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    /// Not compressed.
    Plain,
    /// gzip, one member or several.
    Gzip,
    /// zstd, one frame or several.
    Zstd,
    /// A kind of file that is not read; its name.
    Other(&'static str),
}

impl Compression {
    fn of(start: &[u8]) -> Self {
        const KNOWN: [(&[u8], Compression); 9] = [
            (b"\x1f\x8b", Compression::Gzip),
            (b"\x28\xb5\x2f\xfd", Compression::Zstd),
            (b"PK\x03\x04", Compression::Other("a zip archive")),
            (b"BZh", Compression::Other("bzip2")),
            (b"\xfd7zXZ\x00", Compression::Other("xz")),
            (b"\x04\x22\x4d\x18", Compression::Other("lz4")),
            (b"PAR1", Compression::Other("a Parquet file")),
            (b"\xff\xfe", Compression::Other("UTF-16 text")),
            (b"\xfe\xff", Compression::Other("UTF-16 text")),
        ];
        // A zstd stream may open with a skippable frame.
        if start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == [0x2a, 0x4d, 0x18] {
            return Self::Zstd;
        }
        KNOWN.iter().find(|(magic, _)| start.starts_with(magic)).map_or(Self::Plain, |(_, compression)| *compression)
    }

    /// Its name, for messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain text",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Other(name) => name,
        }
    }
}

/// How far an input was read; shared with the thread that reads it.
#[derive(Debug, Default)]
pub(super) struct Meter {
    bytes: AtomicU64,
    failed: AtomicBool,
}

impl Meter {
    /// Bytes of the input read so far, before decompression.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether reading the input itself failed, as opposed to decompressing it.
    pub(super) fn failed(&self) -> bool {
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
/// Errors: the first bytes cannot be read. A kind of file that is not read gives [`Compression::Other`] and an empty
/// reader.
pub(super) fn open<R: Read + Send + 'static>(
    input: R,
    meter: Arc<Meter>,
) -> io::Result<(Compression, Box<dyn Read + Send>)> {
    let mut start = Vec::with_capacity(6);
    let mut input = Metered { inner: input, meter };
    input.by_ref().take(6).read_to_end(&mut start)?;
    let compression = Compression::of(&start);
    let all: Box<dyn Read + Send> = Box::new(io::Cursor::new(start).chain(input));
    let buffered = BufReader::with_capacity(READ, all);
    Ok((compression, decoder(compression, buffered)?))
}

fn decoder(compression: Compression, input: impl BufRead + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    Ok(match compression {
        Compression::Plain => Box::new(input),
        Compression::Gzip => Box::new(GzipMembers { member: Some(GzDecoder::new(input)) }),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
        Compression::Other(_) => Box::new(io::empty()),
    })
}

/// The members of a gzip file, one after the other. Zeros behind a member are skipped, as gzip(1) does: tapes and block
/// devices pad files with them.
struct GzipMembers<R> {
    /// The one that is read; `None` at the end of the file, and after an error behind a member.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(member) = &mut self.member else { return Ok(0) };
            let count = member.read(into)?;
            if count > 0 || into.is_empty() {
                return Ok(count);
            }
            let Some(mut rest) = self.member.take().map(GzDecoder::into_inner) else { return Ok(0) };
            if skip_zeros(&mut rest)? {
                return Ok(0);
            }
            self.member = Some(GzDecoder::new(rest));
        }
    }
}

/// Whether nothing but zeros was left in `input`.
fn skip_zeros(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let buffer = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            buffer => buffer?,
        };
        if buffer.is_empty() {
            return Ok(true);
        }
        let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        if zeros == 0 {
            return Ok(false);
        }
        input.consume(zeros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: Vec<u8>) -> (Compression, Vec<u8>, Option<io::ErrorKind>) {
        let (compression, mut reader) = open(io::Cursor::new(bytes), Arc::default()).unwrap();
        let mut text = Vec::new();
        let error = reader.read_to_end(&mut text).err().map(|error| error.kind());
        (compression, text, error)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut encoder, text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn inputs_are_decompressed_by_their_first_bytes() {
        let two_members = [gzip(b"one "), gzip(b"two")].concat();
        let zstd = |text: &[u8]| zstd::encode_all(text, 1).unwrap();
        let skippable = [b"\x50\x2a\x4d\x18\x02\x00\x00\x00ab".to_vec(), zstd(b"one "), zstd(b"two")].concat();
        let cases = [
            (b"one two".to_vec(), Compression::Plain, "one two"),
            (b"{}".to_vec(), Compression::Plain, "{}"),
            (Vec::new(), Compression::Plain, ""),
            (two_members, Compression::Gzip, "one two"),
            ([gzip(b"one "), vec![0; 100], gzip(b"two"), vec![0; 1_000_000]].concat(), Compression::Gzip, "one two"),
            ([zstd(b"one "), zstd(b"two")].concat(), Compression::Zstd, "one two"),
            (skippable, Compression::Zstd, "one two"),
            (b"PK\x03\x04....".to_vec(), Compression::Other("a zip archive"), ""),
            (b"\xff\xfe{\0}\0".to_vec(), Compression::Other("UTF-16 text"), ""),
        ];
        for (bytes, compression, text) in cases {
            assert_eq!(read(bytes), (compression, text.into(), None));
        }
    }

    #[test]
    fn a_truncated_stream_gives_the_data_before_its_end() {
        let text: Vec<u8> = (0..200_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for packed in [gzip(&text), zstd::encode_all(text.as_slice(), 1).unwrap()] {
            let (_, got, error) = read(packed[..packed.len() / 2].to_vec());
            assert!(error.is_some());
            assert!(!got.is_empty() && text.starts_with(&got));
        }
    }
}
