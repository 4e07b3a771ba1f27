//! The open connections: a bounded number, of which idle ones make room for new ones.
//!
//! Otherwise whoever opens enough connections and sends nothing keeps everybody else out, and takes the file descriptors
//! that storage needs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// The connections of one listener.
pub(super) struct Connections {
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: usize,
    /// Those that wait for a request, by the time since when.
    idle: BTreeMap<u64, CancellationToken>,
    next: u64,
}

impl Connections {
    /// At most `most` at a time.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, state: Mutex::default() })
    }

    /// Room for one more connection; the one that has waited longest for a request is closed for it. `None` when all have a
    /// request in progress.
    pub(super) fn open(self: &Arc<Self>) -> Option<Arc<Connection>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.open >= self.most {
            // It counts as open until it is gone; for that moment there is one connection more.
            state.idle.pop_first()?.1.cancel();
        }
        state.open += 1;
        let connection = Connection { all: Arc::clone(self), close: CancellationToken::new(), idle: Mutex::new(None) };
        connection.wait(&mut state);
        Some(Arc::new(connection))
    }
}

/// One connection; it is idle at first. Dropping it makes room for another.
pub(super) struct Connection {
    all: Arc<Connections>,
    close: CancellationToken,
    /// Its key among the idle ones, while it is.
    idle: Mutex<Option<u64>>,
}

impl Connection {
    /// Cancelled when it has to make room.
    pub(super) fn closed(&self) -> CancellationToken {
        self.close.clone()
    }

    /// Takes it from the idle ones until the value is dropped.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        let mut state = self.all.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.leave(&mut state);
        Busy(Arc::clone(self))
    }

    fn wait(&self, state: &mut State) {
        let key = state.next;
        state.next += 1;
        state.idle.insert(key, self.close.clone());
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    fn leave(&self, state: &mut State) {
        if let Some(key) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take() {
            state.idle.remove(&key);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let all = Arc::clone(&self.all);
        let mut state = all.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.leave(&mut state);
        state.open -= 1;
    }
}

/// A request in progress.
pub(super) struct Busy(Arc<Connection>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.all.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.wait(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_idle_connection_makes_room_and_a_busy_one_does_not() {
        let connections = Connections::new(2);
        let first = connections.open().unwrap();
        let second = connections.open().unwrap();
        let request = first.busy();
        let third = connections.open().unwrap();
        assert!(second.closed().is_cancelled() && !first.closed().is_cancelled());
        drop(second);
        let other = third.busy();
        assert!(connections.open().is_none(), "both have a request");
        drop(request);
        drop(connections.open().unwrap());
        assert!(first.closed().is_cancelled());
        drop((first, other, third));
        let state = connections.state.lock().unwrap();
        assert_eq!((state.open, state.idle.len()), (0, 0));
    }
}
