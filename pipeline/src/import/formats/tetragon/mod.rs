//! Tetragon's JSON export (versions 0.8 to 1.6).

mod args;
mod kprobe;
mod names;
mod network;
mod process;
mod record;

use self::process::ExecId;
use self::record::{Body, Kind, Record, given};
use crate::import::format::{Format, Own, Reading, Refusal, Row, Scope};
use crate::import::time::rfc3339;

/// Tetragon's JSON export.
pub(crate) struct Tetragon;

impl Format for Tetragon {
    fn name(&self) -> &'static str {
        "tetragon"
    }

    fn read(&self, text: &str, scope: &mut Scope) -> Option<Result<Reading, Refusal>> {
        let record: Record<'_> = match serde_json::from_str(text) {
            Ok(record) => record,
            Err(error) => return Some(Err(error.into())),
        };
        match (&record.event, &record.other) {
            (Some((kind, body)), _) => Some(row(&record, *kind, body, scope)),
            (None, Some(other)) => Some(Ok(Reading::NoPlace(other.clone()))),
            (None, None) => None,
        }
    }
}

fn row(record: &Record<'_>, kind: Kind, body: &Body<'_>, scope: &mut Scope) -> Result<Reading, Refusal> {
    let process = body.process.as_ref().ok_or_else(|| Refusal::content("no process"))?;
    let named = given(&record.node_name);
    let inside = || given(&process.exec_id).and_then(ExecId::read).map(|id| id.node);
    let node = match named {
        Some(name) => scope.node(Tetragon.name(), Some(name)),
        None => scope.node(Tetragon.name(), inside().as_deref()),
    };
    let node = node.ok_or_else(|| Refusal::content("no node_name"))?;
    let time = given(&record.time).or(given(&body.time)).ok_or_else(|| Refusal::content("no time"))?;
    let time = rfc3339(time).ok_or_else(|| Refusal::content(format!("time {time:?} is no time")))?;
    let count = process::fit("aggregation_info.count", record.aggregation_info.as_ref().and_then(|info| info.count))?;
    let actor = scope.actor(&process::content(body, &node), || process::actor(body, &node))?;
    let (activity, mut own) = match kind {
        Kind::Exec => process::exec(process).map(|(activity, own)| (activity, Own::Process(own)))?,
        Kind::Exit => ("exit", Own::Process(process::exit(body)?)),
        Kind::Call => match kprobe::call(body, &actor.actor)? {
            Some(call) => call,
            None => return Ok(Reading::NoPlace(given(&body.function_name).unwrap_or_default().to_owned())),
        },
        kind => (network::activity(kind), Own::Network(Box::new(network::connection(kind, body)?))),
    };
    if let (Own::Network(flow), "close") = (&mut own, activity) {
        flow.end_time = Some(time);
    }
    Ok(Reading::Row(Row {
        time,
        node,
        cluster: scope.cluster.clone().or_else(|| process::owned(&record.cluster_name)),
        activity,
        action: kprobe::action(body),
        policy: process::owned(&body.policy_name),
        count: count.unwrap_or(1),
        actor,
        own,
    }))
}
