//! A finding: the row that a rule's match becomes.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use kerntrail_schemas::TableBatch;
use kerntrail_schemas::TableBuilder;
use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::identity::{BootId, FindingId, RuleId, StreamId};
use kerntrail_schemas::tables::findings::{CREATE, UPDATE};
use kerntrail_schemas::tables::{Envelope, FindingColumns, imported_from};
use sha2::{Digest, Sha256};

use crate::evaluate::{Events, Match, int, text};
use crate::rules::{Rule, RuleKind};
use crate::suppression::Counted;

/// A finding to be sent to the event log.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) id: FindingId,
    pub(crate) rule: RuleId,
    /// The group of its rule's correlation; empty for a single event.
    pub(crate) group: String,
    /// What it belongs to with others, by [`Suppression`](crate::suppression::Suppression).
    pub(crate) together: String,
    pub(crate) within_us: i64,
    pub(crate) first_us: i64,
    pub(crate) last_us: i64,
    envelope: Envelope,
    own: FindingColumns,
    /// The first event, one row of its table.
    actor: RecordBatch,
}

/// Who writes findings.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub(crate) stream: StreamId,
    pub(crate) cluster: Option<String>,
}

impl Finding {
    /// The finding that `rule` makes from `events`; `None` if there are none.
    pub(crate) fn new(rule: &Rule, events: Events, writer: &Writer) -> Option<Self> {
        let (first, last) = (events.rows.first()?, events.rows.last()?);
        // A correlation is identified by its last event, since a late row may become its first one.
        let digest = Sha256::digest(format!("{}\0{}\0{}", rule.id, last.group, last.event_id));
        let id: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        // 63 bits of the id number the row.
        let seq = digest[..8].iter().fold(0i64, |bits, byte| (bits << 8) | i64::from(*byte)) & i64::MAX;
        let time = Micros(last.order.time_us);
        let id = FindingId::new(id);
        let envelope = Envelope {
            date: Some(time.day()),
            time: Some(time),
            cluster: writer.cluster.clone().or_else(|| text(&last.row, "cluster")),
            node: text(&last.row, "node"),
            boot_id: text(&last.row, "boot_id").map(BootId::new),
            source: Some("kerntrail"),
            stream: Some(writer.stream.clone()),
            cpu: Some(0),
            seq: Some(seq),
            activity: Some(CREATE.name.into()),
            action: Some("observed"),
            count: Some(1),
            ..Envelope::default()
        };
        let own = FindingColumns {
            finding_id: Some(id.clone()),
            rule_id: Some(rule.id.clone()),
            rule_name: Some(rule.title.clone()),
            rule_version: Some(rule.version.clone()),
            severity: Some(rule.level.as_str().into()),
            risk_score: Some(rule.risk_score()),
            attack_tactics: Some(rule.tactics.clone()),
            attack_techniques: Some(rule.techniques.clone()),
            first_time: Some(Micros(first.order.time_us)),
            last_time: Some(time),
            event_refs: Some(events.refs.clone()),
            group_key: matches!(rule.kind, RuleKind::Correlation(_)).then(|| last.group.clone()),
            message: Some(message(&events)),
            suppressed_count: Some(0),
        };
        let together = match rule.kind {
            RuleKind::Single(_) => rule.suppression.group(first),
            RuleKind::Correlation(_) => last.group.clone(),
        };
        Some(Self {
            id,
            rule: rule.id.clone(),
            together,
            within_us: rule.suppression.within_us,
            group: last.group.clone(),
            first_us: first.order.time_us,
            last_us: last.order.time_us,
            envelope,
            own,
            actor: first.row.clone(),
        })
    }
}

impl Finding {
    /// This, as an update of the finding that counts it.
    pub(crate) fn into_update(mut self, counted: &Counted) -> Self {
        self.envelope.activity = Some(UPDATE.name.into());
        self.own.finding_id = Some(counted.finding.clone());
        self.count(counted);
        self
    }

    /// Has what is `counted` in it.
    pub(crate) fn count(&mut self, counted: &Counted) {
        self.own.first_time = Some(Micros(counted.first_us));
        self.own.last_time = Some(Micros(counted.last_us));
        self.own.suppressed_count = Some(counted.suppressed);
    }

    /// This, as the finding that counts what a rule finds beyond `most` findings of an hour.
    pub(crate) fn into_limit(mut self, most: u32) -> Self {
        let text = format!(
            "more than {most} findings of this rule in an hour: suppressed_count counts further ones; the first is"
        );
        self.own.message = Some(format!("{text}: {}", self.message()));
        self
    }

    /// Title of its rule.
    pub(crate) fn rule_title(&self) -> &str {
        self.own.rule_name.as_deref().unwrap_or_default()
    }

    /// What happened, in a sentence.
    pub(crate) fn message(&self) -> &str {
        self.own.message.as_deref().unwrap_or_default()
    }
}

/// "12 events within 40s: first command -> last command, in pod namespace/name (imported from tetragon)".
fn message(Events { rows: events, summary, .. }: &Events) -> String {
    let mut commands: Vec<String> = events.iter().filter_map(what).collect();
    commands.dedup();
    let place = events.first().and_then(|event| {
        let pod = text(&event.row, "pod_name").or_else(|| text(&event.row, "origin_pod_name"))?;
        let namespace =
            text(&event.row, "namespace").or_else(|| text(&event.row, "origin_namespace")).unwrap_or_default();
        Some(format!(", in pod {namespace}/{pod}"))
    });
    let tools = events.iter().filter_map(|event| imported_from(&text(&event.row, "source")?).map(str::to_owned));
    let imported = match tools.collect::<BTreeSet<_>>() {
        tools if tools.is_empty() => String::new(),
        tools => format!(" (imported from {})", tools.into_iter().collect::<Vec<_>>().join(", ")),
    };
    let summary = summary.as_ref().map(|summary| format!("{summary}: ")).unwrap_or_default();
    format!("{summary}{}{}{imported}", commands.join(" -> "), place.unwrap_or_default())
}

/// What the message says of one event; `None` when what it needs is not known.
fn what(event: &Match) -> Option<String> {
    let said = event.table.declaration().in_finding.fill(|name| match name {
        "command" => text(&event.row, "cmd_line").or_else(|| text(&event.row, "process_path")),
        column => text(&event.row, column).or_else(|| int(&event.row, column).map(|number| number.to_string())),
    });
    (!said.is_empty()).then_some(said)
}

/// The ids of the findings that `table` holds.
pub(crate) async fn ids(
    session: &SessionContext,
    table: Arc<dyn TableProvider>,
) -> Result<HashSet<String>, DataFusionError> {
    let mut rows = session.read_table(table)?.select_columns(&["finding_id"])?.execute_stream().await?;
    let mut ids = HashSet::new();
    while let Some(batch) = rows.next().await.transpose()? {
        let column = cast(batch.column(0), &DataType::Utf8)?;
        ids.extend(column.as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    Ok(ids)
}

/// The findings as rows of their table.
pub(crate) fn rows(findings: &[Finding]) -> Result<TableBatch, ArrowError> {
    let mut builder = TableBuilder::<FindingColumns>::default();
    for finding in findings {
        builder.append(&finding.envelope, None, &finding.own);
    }
    let built = builder.finish()?;
    let schema = TableBatch::actors_schema();
    let actors = findings.iter().map(|finding| actor_columns(&finding.actor)).collect::<Result<Vec<_>, _>>()?;
    Ok(TableBatch { actors: Some(concat_batches(&schema, &actors)?), events: with_pointers(&built.events)?, ..built })
}

fn actor_columns(row: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = TableBatch::actors_schema();
    let column = |field: &arrow::datatypes::FieldRef| {
        let found = row.column_by_name(field.name()).cloned();
        found.unwrap_or_else(|| arrow::array::new_null_array(field.data_type(), row.num_rows()))
    };
    RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect())
}

/// Row n points to actor n.
fn with_pointers(events: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = events.schema();
    let place = schema.index_of("actor")?;
    let mut columns = events.columns().to_vec();
    columns[place] = Arc::new(arrow::array::Int32Array::from_iter_values(0..events.num_rows() as i32));
    RecordBatch::try_new(schema, columns)
}
