//! `kerntrail log`: what of the event log was rejected.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use kerntrail_common::ids::IdSelection;
use kerntrail_pipeline::rejected::{self, RejectedMessage, ReplayReport, Shown};
use kerntrail_query_engine::output::{Format, List};
use kerntrail_transport::Codec;
use serde_json::{Value, json};

use crate::cli::{LogAction, Rejected};
use crate::config::Config;
use crate::parts::event_log::{self, Opened};
use crate::parts::{self, rejected as parts_rejected};

/// Bytes of a payload that are shown.
const SHOWN_BYTES: usize = 512;
/// How long a replay waits for Kafka; what is in the spool then stays there for the next server.
const LONGEST_SEND: Duration = Duration::from_secs(30);

/// Runs the subcommand.
pub async fn run(config: &Config, action: LogAction) -> anyhow::Result<ExitCode> {
    let folder = parts::rejected_dir(config);
    let LogAction::Rejected(action) = action;
    match action {
        Rejected::List(form) => list(&folder, form.output),
        Rejected::Show { id } => show(&folder, &id),
        Rejected::Replay { ids } => {
            check_ids(&folder, &ids)?;
            let (replayed, sent) = replay(config, ids).await?;
            report(&replayed, sent)
        }
    }
}

fn list(folder: &Path, format: Format) -> anyhow::Result<ExitCode> {
    let listing = rejected::list(folder)?;
    let messages = || listing.messages.iter();
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let list = List::default()
        .text("id", messages().map(|message| message.id.clone()))
        .text("rejected", messages().map(|message| message.rejected.clone()))
        .text("topic", messages().map(|message| message.topic.clone()))
        .numbers("partition", messages().map(|message| i64::from(message.partition)))
        .numbers("offset", messages().map(|message| message.offset))
        .numbers("bytes", messages().map(|message| number(message.bytes)))
        .text("reason", messages().map(|message| message.reason.clone()));
    list.write(format, &mut std::io::stdout())?;
    for error in listing.unreadable {
        eprintln!("kerntrail: {:#}", anyhow::Error::from(error));
    }
    Ok(ExitCode::SUCCESS)
}

fn show(folder: &Path, id: &str) -> anyhow::Result<ExitCode> {
    let shown = rejected::show(folder, id, &Codec::current())?;
    println!("{}", serde_json::to_string_pretty(&document(&shown))?);
    Ok(ExitCode::SUCCESS)
}

fn document(shown: &Shown) -> Value {
    let RejectedMessage { id, topic, partition, offset, rejected, reason, headers, bytes } = &shown.message;
    let headers = headers.as_ref().map(|headers| {
        json!({
            "schema_version": headers.schema_version,
            "node": headers.node,
            "stream": headers.stream.as_str(),
            "batch": headers.batch,
            "rows": headers.rows,
            "seq_range": headers.seq_range,
        })
    });
    json!({
        "id": id,
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "rejected": rejected,
        "reason": reason,
        "reason_now": shown.reason_now,
        "headers": headers,
        "bytes": bytes,
        "payload": dump(&shown.payload),
    })
}

/// The first bytes as lines of 16: offset, in hexadecimal, as ASCII.
fn dump(payload: &[u8]) -> Vec<String> {
    let shown = &payload[..payload.len().min(SHOWN_BYTES)];
    let line = |(number, bytes): (usize, &[u8])| {
        let mut line = format!("{:06x} ", number * 16);
        for byte in bytes {
            // Writing to a string does not fail.
            let _ = write!(line, " {byte:02x}");
        }
        let text = bytes.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' });
        format!("{line:<57}{}", text.collect::<String>())
    };
    shown.chunks(16).enumerate().map(line).collect()
}

/// What was replayed, and whether Kafka has it: a running server continues to send, but this process ends.
async fn replay(config: &Config, ids: Vec<String>) -> anyhow::Result<(ReplayReport, anyhow::Result<()>)> {
    match event_log::open(config).await? {
        Opened::Here(opened) => {
            let report = parts_rejected::replay(config, &opened, &IdSelection::all_or(ids)).await?;
            let sent = if report.replayed > 0 { sent(&opened).await } else { Ok(()) };
            Ok((report, sent))
        }
        Opened::InServer(_) => Ok((parts_rejected::ask_server(config, ids).await?, Ok(()))),
    }
}

/// Errors: Kafka does not have what was replayed.
async fn sent(log: &event_log::Log) -> anyhow::Result<()> {
    let settled = tokio::time::timeout(LONGEST_SEND, log.settle()).await;
    settled.unwrap_or_else(|_| bail!("the brokers did not acknowledge them within {} s", LONGEST_SEND.as_secs()))
}

/// Failure when a message stays.
///
/// Errors: the event log takes no messages, or what it took is not `sent` yet.
fn report(report: &ReplayReport, sent: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    let ReplayReport { replayed, refused, not_tried, stopped } = report;
    let replayed_or_spooled = if sent.is_ok() { "replayed" } else { "spooled" };
    println!("{replayed} {replayed_or_spooled}, {} cannot be read yet, {not_tried} not tried", refused.len());
    for (id, words) in refused {
        eprintln!("{id}: {}", words.replace(char::is_control, " "));
    }
    sent.with_context(|| format!("{replayed} messages are spooled, not yet sent; `kerntrail run` sends them"))?;
    if let Some(why) = stopped {
        bail!("the event log is not accepting messages: {why}");
    }
    Ok(if refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Errors: no rejected message has an id that is, or begins with, one of `ids`.
fn check_ids(folder: &Path, ids: &[String]) -> anyhow::Result<()> {
    match IdSelection::Ids(ids.to_vec()).unknown(&rejected::ids(folder)?) {
        Some(id) => bail!("there is no rejected message {id:?}; `kerntrail log rejected list` lists them"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_fails_when_a_message_is_kept_or_not_sent() {
        let all = ReplayReport { replayed: 2, ..ReplayReport::default() };
        assert_eq!(report(&all, Ok(())).unwrap(), ExitCode::SUCCESS);
        let error = report(&all, Err(anyhow::anyhow!("no broker answers"))).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "2 messages are spooled, not yet sent; `kerntrail run` sends them: no broker answers"
        );
        let some = ReplayReport { refused: vec![("id".into(), "damaged".into())], ..all.clone() };
        assert_eq!(report(&some, Ok(())).unwrap(), ExitCode::FAILURE);
        let stopped = ReplayReport { stopped: Some("full".into()), ..all };
        assert!(report(&stopped, Ok(())).unwrap_err().to_string().contains("is not accepting messages: full"));
    }

    #[test]
    fn bytes_are_shown_in_both_forms() {
        assert_eq!(
            dump(b"KT\x01 and nothing else\n"),
            [
                "000000  4b 54 01 20 61 6e 64 20 6e 6f 74 68 69 6e 67 20  KT..and.nothing.",
                "000010  65 6c 73 65 0a                                   else.",
            ]
        );
        assert_eq!(dump(&[0; 10_000]).len(), SHOWN_BYTES / 16);
    }
}
