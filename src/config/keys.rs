//! Every setting by name, with its line of documentation: flags, variables, the reference and the check of a
//! file's keys come from here.

use super::Config;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Where it stands in the file: `node.root`.
    pub path: &'static str,
    /// What it means.
    pub doc: &'static str,
}

impl Setting {
    /// Its flag, without the dashes: `node-root`.
    pub fn flag(&self) -> String {
        self.path.replace(['.', '_'], "-")
    }

    /// Its environment variable: `KERNTRAIL_NODE_ROOT`.
    pub fn variable(&self) -> String {
        format!("KERNTRAIL_{}", self.path.replace('.', "_").to_uppercase())
    }
}

macro_rules! settings {
    ($($path:literal $doc:literal)*) => { &[$(Setting { path: $path, doc: $doc },)*] };
}

/// All settings outside `[[sinks]]`.
pub const SETTINGS: &[Setting] = settings! {
    "data_dir" "folder of the embedded log, the lake and all state; /var/lib/kerntrail for root, ~/.local/share/kerntrail otherwise"
    "tenant" "whose events: names the topics and the lake's folder; 1 to 64 letters, digits, - and _"
    "cluster" "name of the Kubernetes cluster, a column of every row; empty: unknown"
    "node.name" "name of the node, a column of every row; empty: the host name"
    "node.root" "root of the node's file system: / on the node itself, /host in a pod that mounts it there"
    "node.pid" "pid of the node's init as this program sees it; its namespaces are the host's"
    "collector.enabled" "whether events are collected from the kernel (needs root and BPF)"
    "collector.ring_size" "size of the ring between kernel and collector, 64KiB to 1GiB; rounded up to a power of two"
    "collector.max_processes" "most processes that the process table holds; beyond it, rows of event_loss"
    "collector.batch_interval" "a batch leaves at the latest after this time"
    "collector.batch_rows" "a batch leaves at the latest with this many rows"
    "collector.mask" "further regular expressions over one argument; the group `secret`, or else the whole match, is masked before it leaves the node"
    "kubernetes.watch" "pods of the node are watched for labels, workload and service account: auto, or off"
    "kubernetes.kubeconfig" "kubeconfig of that watch; empty: the pod's service account, where there is one"
    "log.kind" "event log: embedded (one machine) or kafka"
    "log.max_size" "most bytes that the embedded log or spool holds; when full, writers wait"
    "log.kafka.bootstrap" "brokers, host:port, separated by commas"
    "log.kafka.partitions" "partitions of a topic that has to be created"
    "log.kafka.replication" "replicas of a topic that has to be created"
    "log.kafka.properties" "further librdkafka properties, such as security.protocol"
    "lake.uri" "folder of the lake; empty: <data_dir>/lake"
    "lake.flush_interval" "rows are committed at the latest after this time"
    "lake.flush_rows" "rows are committed at the latest when this many wait"
    "lake.flush_size" "rows are committed at the latest when they take this many bytes"
    "lake.compact_interval" "how often small files are looked for and joined"
    "lake.vacuum_keep" "how long replaced files stay for readers of older versions"
    "http.listen" "address of the HTTP service; loopback only"
    "query.memory" "most memory of one query, of which 8 run at a time; what is over spills to disk or ends the query"
    "query.timeout" "longest run of one query"
    "query.max_rows" "most rows that one query returns"
    "rules.enabled" "whether detection rules run"
    "rules.dir" "folder of further Sigma rules; empty: only the shipped ones"
    "rules.interval" "how often rules look for new rows"
    "logging.level" "this program's own messages: error, warn, info, debug, trace, or a tracing filter"
    "logging.format" "text or json"
};

/// The setting's built-in value as TOML text.
pub fn default_of(path: &str) -> Option<toml::Value> {
    let defaults = toml::Value::try_from(Config::default()).ok()?;
    path.split('.').try_fold(&defaults, |value, key| value.get(key)).cloned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn leaves(prefix: &str, value: &toml::Value, into: &mut BTreeSet<String>) {
        match value {
            toml::Value::Table(table) if !table.is_empty() => {
                for (key, value) in table {
                    let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                    leaves(&path, value, into);
                }
            }
            _ => {
                into.insert(prefix.to_owned());
            }
        }
    }

    #[test]
    fn the_list_names_exactly_what_the_configuration_has() {
        let mut have = BTreeSet::new();
        leaves("", &toml::Value::try_from(Config::default()).unwrap(), &mut have);
        // Sinks are tables of their own, with keys of their own.
        assert!(have.remove("sinks"));
        let listed: BTreeSet<String> = SETTINGS.iter().map(|setting| setting.path.to_owned()).collect();
        assert_eq!(have, listed);
    }

    #[test]
    fn no_two_settings_share_a_flag() {
        let flags: BTreeSet<String> = SETTINGS.iter().map(Setting::flag).collect();
        assert_eq!(flags.len(), SETTINGS.len());
    }
}
