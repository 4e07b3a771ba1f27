//! Memory of one query, within the memory of all of them together.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, TrackConsumersPool,
};

/// Consumers named in the log when memory runs out.
const TOP_CONSUMERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4);

/// A query that needs at most this part of the memory of all queries, one of 16, has it whatever others have taken: half as much
/// again if all do.
pub(crate) const SMALL: usize = 16;

/// What all queries have reserved.
#[derive(Debug)]
pub(crate) struct TotalMemory {
    most: usize,
    reserved: AtomicUsize,
}

impl TotalMemory {
    /// At most `most` bytes for all queries.
    pub(crate) fn new(most: NonZeroUsize) -> Arc<Self> {
        Arc::new(Self { most: most.get(), reserved: AtomicUsize::new(0) })
    }

    /// What all queries may reserve together, in bytes.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    fn take(&self, bytes: usize) -> Result<(), DataFusionError> {
        let more = |reserved: usize| reserved.checked_add(bytes).filter(|reserved| *reserved <= self.most);
        let taken = self.reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        let most = self.most;
        taken.map(drop).map_err(|reserved| {
            let text = format!("queries have reserved {reserved} of {most} bytes together; {bytes} more are too many");
            DataFusionError::ResourcesExhausted(text)
        })
    }

    fn give_back(&self, bytes: usize) {
        self.reserved.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A query's own pool, of which every reservation also counts in the total.
#[derive(Debug)]
pub(crate) struct QueryMemory {
    own: TrackConsumersPool<FairSpillPool>,
    total: Arc<TotalMemory>,
}

impl QueryMemory {
    /// At most `most` bytes, shared fairly among the operators that can spill.
    pub(crate) fn new(most: NonZeroUsize, total: Arc<TotalMemory>) -> Self {
        Self { own: TrackConsumersPool::new(FairSpillPool::new(most.get()), TOP_CONSUMERS), total }
    }

    /// Reserved now.
    pub(crate) fn bytes(&self) -> usize {
        self.own.reserved()
    }
}

impl fmt::Display for QueryMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.own.fmt(f)
    }
}

impl MemoryPool for QueryMemory {
    fn name(&self) -> &str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.total.reserved.fetch_add(additional, Ordering::Relaxed);
        self.own.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.total.give_back(shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<(), DataFusionError> {
        if self.own.reserved() + additional <= self.total.most / SMALL {
            self.total.reserved.fetch_add(additional, Ordering::Relaxed);
        } else {
            self.total.take(additional)?;
        }
        self.own.try_grow(reservation, additional).inspect_err(|_| self.total.give_back(additional))
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.own.memory_limit()
    }
}
