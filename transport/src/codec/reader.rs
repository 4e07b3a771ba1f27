//! Reads the primitive values of the format, checking bounds.

/// A position in untrusted bytes.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

const ENDS_EARLY: &str = "it ends early";

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(ENDS_EARLY)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, String> {
        let (first, rest) = self.rest.split_first().ok_or(ENDS_EARLY)?;
        self.rest = rest;
        Ok(*first)
    }

    /// An unsigned number in groups of seven bits, the lowest first.
    pub(super) fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number has more than 64 bits".into())
    }

    /// A count of items. The caller checks whether that many fit.
    pub(super) fn length(&mut self) -> Result<usize, String> {
        usize::try_from(self.varint()?).map_err(|error| error.to_string())
    }

    /// A count of items that take at least one byte each of what follows.
    pub(super) fn count(&mut self) -> Result<usize, String> {
        let count = self.length()?;
        if count > self.rest.len() { Err(ENDS_EARLY.into()) } else { Ok(count) }
    }

    /// Checks that nothing is left.
    pub(super) fn finish(self) -> Result<(), String> {
        match self.rest.len() {
            0 => Ok(()),
            more => Err(format!("{more} bytes follow the last column")),
        }
    }
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Zigzag: maps small numbers of either sign to small unsigned ones.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
