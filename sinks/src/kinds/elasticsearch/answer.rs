//! What a bulk response means for each record of the request.

use serde::Deserialize;
use serde_json::Value;

use crate::http::{Answer, excerpt};
use crate::outcome::{Outcome, Reason};

#[derive(Deserialize)]
struct Bulk {
    errors: bool,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Created,
}

#[derive(Deserialize)]
struct Created {
    status: u16,
    #[serde(default)]
    error: Option<Value>,
}

/// Decodes the response to a bulk request with `records` records.
pub(crate) fn read(answer: &Answer, records: usize) -> Vec<Outcome> {
    let words = || answer.words();
    match answer.status {
        200..=299 => match serde_json::from_slice::<Bulk>(&answer.body) {
            Ok(Bulk { errors: false, .. }) => Outcome::Delivered.all(records),
            Ok(bulk) if bulk.items.len() == records => bulk.items.iter().map(|item| outcome(&item.create)).collect(),
            // The outcome of single records is unknown. Sending them again is safe: the server knows their ids.
            Ok(bulk) => Outcome::retry(format!("{} answers to {records} records", bulk.items.len())).all(records),
            Err(error) => Outcome::Pause { alert: format!("not a bulk response ({error}): {}", words()) }.all(records),
        },
        400 | 413 => Outcome::Split { words: words() }.all(records),
        408 | 425 | 429 | 500..=599 => Outcome::Retry { after: answer.retry_after, words: words() }.all(records),
        _ => Outcome::Pause { alert: words() }.all(records),
    }
}

fn outcome(created: &Created) -> Outcome {
    let error = created.error.as_ref();
    let kind = error.and_then(|error| error["type"].as_str()).unwrap_or_default();
    let words = || error.map_or_else(|| format!("status {}", created.status), |error| excerpt(&error.to_string()));
    match (created.status, kind) {
        // 409: the document exists already.
        (200..=299 | 409, _) => Outcome::Delivered,
        (408 | 425 | 429 | 500..=599, _) => Outcome::retry(words()),
        // A write block (as on a full disk), missing privileges, a data stream that may not be created: not the record's fault.
        (401 | 403 | 404, _) => Outcome::Pause { alert: words() },
        (_, "cluster_block_exception" | "security_exception" | "index_not_found_exception") => {
            Outcome::Pause { alert: words() }
        }
        _ => Outcome::DeadLetter { reason: Reason::Refused, words: words() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(status: u16, body: &str, records: usize) -> String {
        let letter = |outcome: &Outcome| match outcome {
            Outcome::Delivered => 'D',
            Outcome::Retry { .. } => 'R',
            Outcome::Split { .. } => 'S',
            Outcome::DeadLetter { .. } => 'X',
            Outcome::Pause { .. } => 'P',
            Outcome::Late { .. } => 'L',
        };
        let answer = Answer { status, retry_after: None, body: body.to_owned().into() };
        read(&answer, records).iter().map(letter).collect()
    }

    /// Bodies as OpenSearch 2.19 and Elasticsearch 8 send them.
    #[test]
    fn outcomes_of_real_responses() {
        let mapping = r#"{"errors":true,"items":[
            {"create":{"status":201}},
            {"create":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"failed to parse field [process.pid] of type [long]","caused_by":{"reason":"For input string: \"abc\""}}}},
            {"create":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"[a]: version conflict, document already exists (current version [1])"}}}]}"#;
        let rejected = r#"{"took":3,"errors":true,"items":[
            {"create":{"_index":".ds-logs-x-000001","_id":"1","status":429,"error":{"type":"rejected_execution_exception","reason":"rejected execution of coordinating operation"}}},
            {"create":{"_index":".ds-logs-x-000001","_id":"2","_version":1,"result":"created","status":201}},
            {"create":{"status":503,"error":{"type":"unavailable_shards_exception","reason":"primary shard is not active"}}}]}"#;
        let blocked = r#"{"errors":true,"items":[{"create":{"status":403,"error":{"type":"cluster_block_exception","reason":"index [x] blocked by: [FORBIDDEN/8/index write (api)];"}}}]}"#;
        let document = r#"{"errors":true,"items":[{"create":{"status":400,"error":{"type":"document_parsing_exception","reason":"[1:20] failed to parse field [source.ip] of type [ip]"}}}]}"#;
        let not_there = r#"{"errors":true,"items":[{"create":{"status":404,"error":{"type":"index_not_found_exception","reason":"no such index and auto-create is off"}}}]}"#;
        for (status, body, records, expected) in [
            (200, r#"{"errors":false,"items":[{"create":{"status":201}}]}"#, 1, "D"),
            (200, r#"{"errors":false}"#, 2, "DD"),
            (200, mapping, 3, "DXD"),
            (200, rejected, 3, "RDR"),
            (200, blocked, 1, "P"),
            (200, document, 1, "X"),
            (200, not_there, 1, "P"),
            (200, mapping, 2, "RR"),
            (200, "<html>log in</html>", 1, "P"),
            (400, r#"{"error":{"type":"illegal_argument_exception"},"status":400}"#, 2, "SS"),
            (401, r#"{"error":{"type":"security_exception"},"status":401}"#, 1, "P"),
            (403, r#"{"error":{"type":"security_exception"},"status":403}"#, 1, "P"),
            (404, "", 1, "P"),
            (413, "", 2, "SS"),
            (
                429,
                r#"{"error":{"type":"rejected_execution_exception","reason":"coordinating limit"},"status":429}"#,
                2,
                "RR",
            ),
            (503, "", 1, "R"),
            (301, "", 1, "P"),
        ] {
            assert_eq!(letters(status, body, records), expected, "{status} {body}");
        }
    }

    #[test]
    fn the_servers_message_is_kept() {
        let body = r#"{"errors":true,"items":[{"create":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"failed to parse field [a]"}}}]}"#;
        let answer = Answer { status: 200, retry_after: None, body: body.into() };
        let Outcome::DeadLetter { words, .. } = &read(&answer, 1)[0] else { panic!("{answer:?}") };
        assert!(words.contains("mapper_parsing_exception") && words.contains("failed to parse field [a]"), "{words}");
    }
}
