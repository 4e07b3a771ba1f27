//! Tetragon's JSON records, as far as rows are made of them (`api/v1/tetragon` in its repository, and the older
//! `process_connect`, `process_accept`, `process_listen` and `process_close`).
//!
//! Fields that no column needs are skipped.
//! As in protobuf's JSON mapping, absent, null and default are the same, and 64-bit numbers may be strings.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::kind;
use crate::import::json::{MaybeText, Number, Pairs, Text};

/// Declares records: each field may be missing or null.
macro_rules! records {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty,)* })*) => {
        $(
            #[derive(Debug, Default, Hash, serde::Deserialize)]
            #[serde(bound(deserialize = "'de: 'a"), expecting = "an object")]
            $(#[$doc])*
            pub(super) struct $name<'a> {
                $(pub(super) $field: Option<$kind>,)*
            }
        )*
    };
}

/// Declares records that borrow nothing.
macro_rules! number_records {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Default, Hash, serde::Deserialize)]
            #[serde(expecting = "an object")]
            pub(super) struct $name {
                $(pub(super) $field: Option<$kind>,)*
            }
        )*
    };
}

number_records! {
    /// A namespace: its inode number, and whether it is the node's own.
    Namespace { inum: Number, is_host: bool, }
    /// The namespaces of a process that columns need.
    Namespaces { mnt: Namespace, pid: Namespace, net: Namespace, user: Namespace, }
    /// Counts of a closed connection.
    Stats { bytes_sent: Number, bytes_received: Number, }
    /// How many events were aggregated into one.
    Aggregation { count: Number, }
    /// A container's security context.
    SecurityContext { privileged: bool, }
    /// An inode.
    Inode { number: Number, }
    /// What the exporter's rate limit left out.
    RateLimit { number_of_dropped_process_events: Number, }
}

records! {
    /// A process, as it acts in an event.
    Process {
        exec_id: Text<'a>,
        pid: Number,
        uid: Number,
        cwd: Text<'a>,
        binary: Text<'a>,
        arguments: Text<'a>,
        flags: Text<'a>,
        start_time: Text<'a>,
        auid: Number,
        pod: Pod<'a>,
        docker: Text<'a>,
        parent_exec_id: Text<'a>,
        cap: Capabilities<'a>,
        ns: Namespaces,
        process_credentials: Credentials<'a>,
        binary_properties: BinaryProperties<'a>,
    }
    /// A process as the parent or an ancestor of another.
    Relative { exec_id: Text<'a>, pid: Number, binary: Text<'a>, arguments: Text<'a>, }
    /// A pod, and the container of it that the process runs in. `labels` are Cilium's, older than `pod_labels`.
    Pod {
        namespace: Text<'a>,
        name: Text<'a>,
        uid: Text<'a>,
        container: Container<'a>,
        pod_labels: Pairs<'a>,
        workload: Text<'a>,
        workload_kind: Text<'a>,
    }
    /// A container.
    Container { id: Text<'a>, name: Text<'a>, image: Image<'a>, security_context: SecurityContext, }
    /// An image: `id` holds its digest, `name` its tag.
    Image { id: Text<'a>, name: Text<'a>, }
    /// Names of capabilities.
    Capabilities { effective: Vec<Text<'a>>, }
    /// Credentials, of a process or as an argument.
    Credentials { uid: Number, gid: Number, euid: Number, egid: Number, caps: Capabilities<'a>, }
    /// About the file of a program that has no name on disk.
    BinaryProperties { file: BinaryFile<'a>, }
    /// The file of a program that has no name on disk.
    BinaryFile { inode: Inode, path: Text<'a>, }
    /// A cgroup of which events were no longer, or are again reported.
    Throttle { cgroup: Text<'a>, }
    /// A file, of `file_arg`, `path_arg` and `linux_binprm_arg`.
    FileArg { path: Text<'a>, }
    /// A socket; the source is this side.
    SockArg {
        protocol: Text<'a>,
        r#type: Text<'a>,
        saddr: Text<'a>,
        sport: Number,
        daddr: Text<'a>,
        dport: Number,
        state: Text<'a>,
    }
    /// An address.
    SockaddrArg { family: Text<'a>, addr: Text<'a>, port: Number, }
    /// A kernel module.
    ModuleArg { name: Text<'a>, }
    /// A BPF program.
    #[serde(rename_all = "PascalCase")]
    BpfArg { prog_name: Text<'a>, }
    /// An argument of a call: one of these.
    Arg {
        string_arg: Text<'a>,
        int_arg: Number,
        uint_arg: Number,
        size_arg: Number,
        long_arg: Number,
        path_arg: FileArg<'a>,
        file_arg: FileArg<'a>,
        linux_binprm_arg: FileArg<'a>,
        sock_arg: SockArg<'a>,
        sockaddr_arg: SockaddrArg<'a>,
        process_credentials_arg: Credentials<'a>,
        cap_effective_arg: Text<'a>,
        module_arg: ModuleArg<'a>,
        bpf_attr_arg: BpfArg<'a>,
        bpf_prog_arg: BpfArg<'a>,
    }
    /// The fields of an event of any kind; each kind has some of them.
    Body {
        process: Process<'a>,
        parent: Relative<'a>,
        ancestors: Vec<Relative<'a>>,
        time: Text<'a>,
        signal: Text<'a>,
        status: Number,
        function_name: Text<'a>,
        args: Vec<Arg<'a>>,
        r#return: Arg<'a>,
        action: Text<'a>,
        policy_name: Text<'a>,
        source_ip: Text<'a>,
        source_port: Number,
        destination_ip: Text<'a>,
        destination_port: Number,
        ip: Text<'a>,
        port: Number,
        protocol: Text<'a>,
        stats: Stats,
    }
}

/// What a record says is missing.
#[derive(Debug)]
pub(super) enum Loss<'a> {
    RateLimit(RateLimit),
    Throttle(Throttle<'a>),
}

/// One record of the export.
#[derive(Debug, Default)]
pub(super) struct Record<'a> {
    /// The event and the name of its kind, if that is in a mapping table.
    pub(super) event: Option<(&'static str, Body<'a>)>,
    /// What the record says is missing.
    pub(super) loss: Option<Loss<'a>>,
    /// Name of an event of another kind.
    pub(super) other: Option<String>,
    pub(super) node_name: MaybeText<'a>,
    pub(super) time: MaybeText<'a>,
    pub(super) cluster_name: MaybeText<'a>,
    pub(super) aggregation_info: Option<Aggregation>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Record<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RecordVisitor)
    }
}

struct RecordVisitor;

impl<'de> Visitor<'de> for RecordVisitor {
    type Value = Record<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record<'de>, A::Error> {
        let mut record = Record::default();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match key.as_str() {
                "node_name" => once(&mut record.node_name, "node_name", &mut map)?,
                "time" => once(&mut record.time, "time", &mut map)?,
                "cluster_name" => once(&mut record.cluster_name, "cluster_name", &mut map)?,
                "aggregation_info" => once(&mut record.aggregation_info, "aggregation_info", &mut map)?,
                "rate_limit_info" => record.loss = map.next_value::<Option<RateLimit>>()?.map(Loss::RateLimit),
                "process_throttle" => record.loss = map.next_value::<Option<Throttle<'de>>>()?.map(Loss::Throttle),
                key => match kind(key) {
                    Some(_) if record.event.is_some() => {
                        return Err(serde::de::Error::custom(format_args!("a second event, `{key}`")));
                    }
                    Some(kind) => record.event = map.next_value::<Option<Body<'de>>>()?.map(|body| (kind, body)),
                    None => {
                        map.next_value::<IgnoredAny>()?;
                        if key.starts_with("process_") {
                            record.other = Some(key.to_owned());
                        }
                    }
                },
            }
        }
        Ok(record)
    }
}

/// Reads the value of `key`, which must not have been there before.
fn once<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    slot: &mut Option<T>,
    key: &'static str,
    map: &mut A,
) -> Result<(), A::Error> {
    if slot.is_some() {
        return Err(serde::de::Error::duplicate_field(key));
    }
    *slot = map.next_value()?;
    Ok(())
}
