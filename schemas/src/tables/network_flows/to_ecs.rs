//! `network_flows` as events of the category `network`.

use serde_json::Value;

use crate::mapping::document::{Document, Placement, lower, rfc3339, same};
use crate::mapping::ecs::{TableMapping, duration, outcome};

pub(super) const MAPPING: TableMapping = TableMapping { kind: "event", columns: COLUMNS, finish };

const COLUMNS: &[Placement] = &[
    ("src_ip", "source.ip", same),
    ("src_ip", "source.address", same),
    ("src_port", "source.port", same),
    ("dst_ip", "destination.ip", same),
    ("dst_ip", "destination.address", same),
    ("dst_port", "destination.port", same),
    ("protocol", "network.transport", lower),
    ("start_time", "event.start", rfc3339),
    ("end_time", "event.end", rfc3339),
];

fn finish(document: &mut Document<'_>) {
    let direction = document.take_text("direction");
    let inbound = direction == Some("inbound");
    // The names that ECS has for directions as a host sees them.
    document.put_known(
        "network.direction",
        direction.map(|direction| match direction {
            "inbound" => "ingress",
            "outbound" => "egress",
            other => other,
        }),
    );
    let address = document.see_text("dst_ip").or(document.see_text("src_ip"));
    document.put_known("network.type", address.map(|ip| if ip.contains(':') { "ipv6" } else { "ipv4" }));
    if document.see_text("protocol") == Some("TCP") {
        document.put("network.iana_number", "6");
    }
    let (sent, received) = (document.take("bytes_out"), document.take("bytes_in"));
    let (source, destination) = if inbound { (received, sent) } else { (sent, received) };
    document.put_known("source.bytes", source.cloned());
    document.put_known("destination.bytes", destination.cloned());
    let total = source.and_then(Value::as_i64).zip(destination.and_then(Value::as_i64));
    document.put_known("network.bytes", total.map(|(source, destination)| source + destination));
    duration(document, "start_time", "end_time");
    outcome(document);
}
