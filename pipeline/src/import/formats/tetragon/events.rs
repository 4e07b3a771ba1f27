//! Events that are not calls: which kind becomes a row of which table, and which fields fill the columns.
//!
//! `process_connect`, `process_accept`, `process_listen` and `process_close` come from older versions of Tetragon.

use kerntrail_schemas::tables::{NetworkColumns, ProcessColumns};

use super::argument::ArgumentSource::{self, *};
use super::fields;
use crate::import::mapping::mapping_table;

/// Kinds of events that are calls, which `calls.rs` has rows for.
pub(super) const CALL_KINDS: [&str; 2] = ["process_kprobe", "process_lsm"];

mapping_table! {
    /// The kinds of events that have a place in a table, calls aside.
    EVENTS: ArgumentSource;

    // Programs that ran when Tetragon started come from /proc.
    ProcessColumns "existing": ["process_exec"] if "`process.flags` has `procFS`", fields::is_existing => {
        binary_inode: Field("`process.binary_properties.file.inode.number`", fields::binary_inode),
        binary_memfd: Field("`process.binary_properties.file.path`, else `process.binary`", fields::binary_memfd),
    }
    ProcessColumns "exec": ["process_exec"] => {
        binary_inode: Field("`process.binary_properties.file.inode.number`", fields::binary_inode),
        binary_memfd: Field("`process.binary_properties.file.path`, else `process.binary`", fields::binary_memfd),
    }
    ProcessColumns "exit": ["process_exit"] => {
        exit_signal: Field("`signal`", fields::exit_signal),
        exit_code: Field("`status`", fields::exit_code),
    }

    // The source opened the connection.
    NetworkColumns "connect": ["process_connect"] => {
        direction: Fixed("outbound"),
        src_ip: Field("`source_ip`", fields::source_ip),
        src_port: Field("`source_port`", fields::source_port),
        dst_ip: Field("`destination_ip`", fields::destination_ip),
        dst_port: Field("`destination_port`", fields::destination_port),
        protocol: Field("`protocol`", fields::protocol),
        bytes_out: Field("`stats.bytes_sent`", fields::bytes_sent),
        bytes_in: Field("`stats.bytes_received`", fields::bytes_received),
    }
    NetworkColumns "accept": ["process_accept"] => {
        direction: Fixed("inbound"),
        src_ip: Field("`source_ip`", fields::source_ip),
        src_port: Field("`source_port`", fields::source_port),
        dst_ip: Field("`destination_ip`", fields::destination_ip),
        dst_port: Field("`destination_port`", fields::destination_port),
        protocol: Field("`protocol`", fields::protocol),
        bytes_out: Field("`stats.bytes_sent`", fields::bytes_sent),
        bytes_in: Field("`stats.bytes_received`", fields::bytes_received),
    }
    // A listener is the destination of connections to come.
    NetworkColumns "listen": ["process_listen"] => {
        direction: Fixed("inbound"),
        dst_ip: Field("`ip`", fields::listening_address),
        dst_port: Field("`port`", fields::listening_port),
        protocol: Field("`protocol`", fields::protocol),
        bytes_out: Field("`stats.bytes_sent`", fields::bytes_sent),
        bytes_in: Field("`stats.bytes_received`", fields::bytes_received),
    }
    // Which side opened the connection is unknown: `direction` stays NULL.
    NetworkColumns "close": ["process_close"] => {
        src_ip: Field("`source_ip`", fields::source_ip),
        src_port: Field("`source_port`", fields::source_port),
        dst_ip: Field("`destination_ip`", fields::destination_ip),
        dst_port: Field("`destination_port`", fields::destination_port),
        protocol: Field("`protocol`", fields::protocol),
        bytes_out: Field("`stats.bytes_sent`", fields::bytes_sent),
        bytes_in: Field("`stats.bytes_received`", fields::bytes_received),
        end_time: Field("`time`", fields::time),
    }
}
