//! `network_flows` as Network Activity.

use serde_json::Value;

use crate::errno;
use crate::mapping::document::{Document, Placement, lower, millis, same};
use crate::mapping::ocsf::{NETWORK, TableMapping, put_activity, status};

pub(super) const MAPPING: TableMapping = TableMapping { actor_at: "actor.process", columns: COLUMNS, finish };

const COLUMNS: &[Placement] = &[
    ("src_ip", "src_endpoint.ip", same),
    ("src_port", "src_endpoint.port", same),
    ("dst_ip", "dst_endpoint.ip", same),
    ("dst_port", "dst_endpoint.port", same),
    ("protocol", "connection_info.protocol_name", lower),
    ("start_time", "start_time", millis),
    ("end_time", "end_time", millis),
];

fn finish(event: &mut Document<'_>) {
    let direction = event.take_text("direction");
    let (id, caption) = match direction {
        Some("inbound") => (1, "Inbound"),
        Some("outbound") => (2, "Outbound"),
        Some(other) => (99, other),
        None => (0, "Unknown"),
    };
    event.put("connection_info.direction_id", id);
    event.put("connection_info.direction", caption);
    if event.see_text("protocol") == Some("TCP") {
        event.put("connection_info.protocol_num", 6);
    }
    let address = event.see_text("dst_ip").or(event.see_text("src_ip"));
    event.put_known("connection_info.protocol_ver_id", address.map(|ip| if ip.contains(':') { 6 } else { 4 }));
    traffic(event, direction == Some("inbound"));
    failure(event);
    status(event);
}

/// OCSF counts from the side that opened the connection, our columns from the actor's.
fn traffic(event: &mut Document<'_>, inbound: bool) {
    let (sent, received) = (event.take("bytes_out"), event.take("bytes_in"));
    let (out, into) = if inbound { (received, sent) } else { (sent, received) };
    event.put_known("traffic.bytes_out", out.cloned());
    event.put_known("traffic.bytes_in", into.cloned());
    let total = out.and_then(Value::as_i64).zip(into.and_then(Value::as_i64)).map(|(out, into)| out + into);
    event.put_known("traffic.bytes", total);
}

/// OCSF has activities of their own for connections that did not come about.
fn failure(event: &mut Document<'_>) {
    let Some((activity, ret)) = event.see_text("activity").zip(event.see_number("ret")) else { return };
    if ret == errno::REFUSED {
        put_activity(event, &NETWORK, "Refuse", activity);
    } else if errno::failed(ret) {
        put_activity(event, &NETWORK, "Fail", activity);
    }
}
