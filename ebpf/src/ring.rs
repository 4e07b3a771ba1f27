//! The ring buffer as an asynchronous source of batches.
//!
//! The kernel side wakes the reader only when an eighth of the ring is full; below that it polls every [`TICK`].
//! So a storm costs one wake-up for thousands of records, and a quiet node one poll per tick.
//!
//! Unless [`Reader::read`] is called, the ring fills up; the kernel then counts what it drops (see [`crate::loss`]).
//! There is no other queue.

use std::io;
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::Batch;

/// Longest time for which a record waits in the ring for an idle reader.
pub const TICK: Duration = Duration::from_millis(50);
/// A batch is full at this many records ...
pub const BATCH_RECORDS: usize = 8192;
/// ... or bytes.
pub const BATCH_BYTES: usize = 1 << 20;

/// Reads the ring; there is one for the loaded programs.
pub struct Reader {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl Reader {
    /// Needs a tokio runtime with IO and time.
    pub(crate) fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        // SAFETY: the ring owns its descriptor, gives the same one always, and is dropped with the registration.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }?;
        Ok(Self { ring })
    }

    /// Waits for records and replaces what is in `batch` with them: at least one, at most a full batch.
    ///
    /// Records of one CPU arrive in the order of their numbers, except that neighbors may be swapped (`bpf/ring.h` explains
    /// why). Errors: the ring can't be polled. Cancel-safe: a record is taken only when it is handed out.
    pub async fn read(&mut self, batch: &mut Batch) -> io::Result<()> {
        loop {
            if self.take(batch) > 0 {
                return Ok(());
            }
            tokio::select! {
                ready = self.ring.readable() => ready?.clear_ready(),
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// Replaces what is in `batch` with the records that wait in the ring, at most a full batch. Returns how many.
    pub fn take(&mut self, batch: &mut Batch) -> usize {
        batch.clear();
        while batch.len() < BATCH_RECORDS && batch.bytes() < BATCH_BYTES {
            let Some(record) = self.ring.get_mut().next() else { break };
            batch.push(&record);
        }
        batch.len()
    }
}
