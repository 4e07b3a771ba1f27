//! Indexer acknowledgement: each channel numbers its deliveries, and a client asks which of them are indexed.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

/// How the server treats acknowledgements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// A delivery is acknowledged as soon as the client asks.
    #[default]
    Given,
    /// Deliveries stay unacknowledged until the mode is [`Acks::Given`] again.
    Held,
    /// Deliveries made in this mode are never acknowledged, as when an indexer lost them.
    Dropped,
}

/// The deliveries of one token and channel.
#[derive(Debug, Default)]
struct Channel {
    next: u64,
    open: HashSet<u64>,
}

/// All channels. As in Splunk, they are in memory only and lost by a restart.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    channels: HashMap<(String, String), Channel>,
}

impl Ledger {
    /// Numbers a delivery and returns its id.
    pub(super) fn record(&mut self, token: &str, channel: &str, mode: Acks) -> u64 {
        let channel = self.channels.entry((token.to_owned(), channel.to_owned())).or_default();
        let id = channel.next;
        channel.next += 1;
        if mode != Acks::Dropped {
            channel.open.insert(id);
        }
        id
    }

    /// Returns which of `ids` are acknowledged. Each is reported as `true` only once, as Splunk then forgets the id.
    pub(super) fn take(&mut self, token: &str, channel: &str, ids: &[u64], mode: Acks) -> Value {
        let mut channel = self.channels.get_mut(&(token.to_owned(), channel.to_owned()));
        let mut acknowledged = |id: &u64| mode == Acks::Given && channel.as_mut().is_some_and(|c| c.open.remove(id));
        let answers: Map<String, Value> = ids.iter().map(|id| (id.to_string(), acknowledged(id).into())).collect();
        Value::Object(answers)
    }
}
