//! The schedule: every interval, each rule is evaluated on the rows that were added to its tables since its cursor.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use kerntrail_common::error::chain;
use kerntrail_lake::{Lake, LakeError};
use kerntrail_schemas::Table;
use kerntrail_schemas::identity::{FindingId, StreamId};
use kerntrail_transport::codec::CodecError;
use kerntrail_transport::{EventLog, Holds, LogError, Message, Topic};
use tokio_util::sync::CancellationToken;

use crate::config::DetectorConfig;
use crate::correlation::{RowsOf, completed};
use crate::evaluate::{Events, Match, Order, matches, session};
use crate::exceptions::Exceptions;
use crate::finding::{self, Finding, Writer};
use crate::fresh::{RuleScan, Scans};
use crate::metrics;
use crate::rules::{Condition, Rule, RuleKind, Rules};
use crate::set_aside::SetAside;
use crate::state::{Cursors, DetectorStateError, State, StoredMessage, now_us};
use crate::suppression::{Admitted, Candidate};

/// Findings of one pass that are logged individually; beyond that, only their number is logged.
const TOLD_SINGLY: usize = 10;

/// A pass, or one rule in it, failed; the next pass starts from the same cursors.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The lake cannot be read.
    #[error("cannot read the rows of {table} for rules")]
    Lake {
        /// The table.
        table: Table,
        /// Why.
        #[source]
        source: LakeError,
    },
    /// A rule's query failed.
    #[error("cannot evaluate the rule \"{title}\"")]
    Evaluate {
        /// The rule.
        title: String,
        /// Why.
        #[source]
        source: DataFusionError,
    },
    /// A rule took too long.
    #[error("the rule \"{title}\" takes longer than {limit:?}")]
    Slow {
        /// The rule.
        title: String,
        /// How long it may take.
        limit: Duration,
    },
    /// The findings that the lake holds already cannot be read.
    #[error("cannot read earlier findings")]
    Known(#[source] DataFusionError),
    /// Findings cannot be encoded as a message.
    #[error("cannot encode findings")]
    Encode(#[source] CodecError),
    /// Findings cannot be converted to rows.
    #[error("cannot build rows of findings")]
    Rows(#[source] arrow::error::ArrowError),
    /// Findings cannot be appended to the event log.
    #[error("cannot append findings to the event log")]
    Append(#[source] LogError),
    /// The stored payload of findings is not base64.
    #[error("the outbox of findings is damaged")]
    StoredMessage(#[source] base64::DecodeError),
    /// The state file failed.
    #[error(transparent)]
    State(#[from] DetectorStateError),
}

/// Runs rules on what arrives in the lake.
pub struct Detector {
    rules: Rules,
    lake: Arc<Lake>,
    log: Arc<dyn EventLog>,
    config: DetectorConfig,
    writer: Writer,
    session: SessionContext,
    scans: Scans,
    holds: Holds,
    aside: SetAside,
    exceptions: Exceptions,
}

impl Detector {
    /// A detector of `rules` over `lake`, whose findings go to `log`.
    pub fn new(rules: Rules, lake: Arc<Lake>, log: Arc<dyn EventLog>, config: DetectorConfig) -> Self {
        let writer =
            Writer { stream: StreamId::of_import("detections", &config.node), cluster: config.cluster.clone() };
        let (aside, session) = (SetAside::new(config.interval.0), session());
        let scans = Scans::new(&session, &rules);
        Self {
            rules,
            lake,
            log,
            config,
            writer,
            session,
            scans,
            holds: Holds::default(),
            aside,
            exceptions: Exceptions::default(),
        }
    }

    /// Makes no findings of what `exceptions` cover.
    pub fn with_exceptions(self, exceptions: Exceptions) -> Self {
        Self { exceptions, ..self }
    }

    /// Notes in `holds` that the rules wait for an upgrade, when a newer release wrote their state.
    pub fn with_holds(self, holds: Holds) -> Self {
        Self { holds, ..self }
    }

    /// Runs until `cancel`; a failed pass is logged and tried again. The state of a newer release is left as it is: no rule
    /// runs before the upgrade; after it, they continue from there.
    ///
    /// Without a state file, rules start with all rows of the lake; findings that it holds already are not repeated.
    pub async fn run(&self, cancel: CancellationToken) -> Result<(), DetectError> {
        metrics::begin(&self.rules);
        let mut held = self.holds.of("rules");
        let mut ticks = tokio::time::interval(self.config.interval.0);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            // A pass that is cut off has stored nothing, or what it stored is sent by the next one.
            let done = tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                done = self.pass() => done,
            };
            held.remind();
            match done {
                Ok(_) => held.release_file(&self.state_file()),
                Err(DetectError::State(DetectorStateError::Newer { path, newer })) => {
                    metrics::pass_failed();
                    held.hold_file(&path, newer);
                }
                Err(error) => {
                    metrics::pass_failed();
                    tracing::warn!(error = chain(&error), "rules could not run; retrying");
                }
            }
        }
    }

    fn state_file(&self) -> PathBuf {
        self.config.state_dir.join("detector.json")
    }

    /// Evaluates the rules once on new rows; returns the number of new findings.
    ///
    /// A rule whose query fails or takes too long does not stop the others: it keeps its own cursor and is tried again in a
    /// later pass.
    pub async fn pass(&self) -> Result<usize, DetectError> {
        let path = self.state_file();
        let stored = State::read(&path)?;
        let begins = stored.is_none();
        let mut state = stored.unwrap_or_else(State::begin);
        self.send(&mut state, &path).await?;
        state.behind.retain(|id, _| self.rules.iter().any(|rule| rule.id.as_str() == id));
        let before = Before { cursors: state.cursors.clone(), behind: state.behind.clone() };
        let fresh = self.fresh(&self.rules.tables(), &before.cursors, &mut state.cursors).await?;
        // A version without rows (a compaction) still moves the cursor.
        if fresh.moved.is_empty() && state.behind.is_empty() && !state.groups.has_due(now_us()) {
            return Ok(0);
        }
        let mut scanned = self.scan(&fresh, &state).await;
        let mut findings = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let scanned = scanned.remove(&index);
            findings.extend(self.look(rule, scanned, &fresh, &before.cursors, &mut state).await?);
        }
        metrics::behind(state.behind.len());
        if findings.is_empty() && before.is_still(&state) && !state.groups.has_due(now_us()) {
            return Ok(0);
        }
        let known = if begins && !findings.is_empty() { self.known().await? } else { HashSet::new() };
        let findings = self.group(findings, &known, &mut state)?;
        let count = findings.len();
        self.store_and_send(findings, state, &path).await?;
        Ok(count)
    }

    /// The ids of the findings that the lake holds: they were made before the state was lost.
    async fn known(&self) -> Result<HashSet<String>, DetectError> {
        let failed = |source| DetectError::Lake { table: Table::Findings, source };
        let Some(table) = self.lake.existing(Table::Findings).await.map_err(failed)? else { return Ok(HashSet::new()) };
        finding::ids(&self.session, table.provider()).await.map_err(DetectError::Known)
    }

    /// Those of `found` that are the first of their group, and not `known`; the others are counted in them, or in what was
    /// found before.
    fn group(
        &self,
        found: Vec<Finding>,
        known: &HashSet<String>,
        state: &mut State,
    ) -> Result<Vec<Finding>, DetectError> {
        let (now_us, most) = (now_us(), self.config.max_findings_per_hour);
        let mut first: Vec<Finding> = Vec::new();
        let mut places: HashMap<FindingId, usize> = HashMap::new();
        let mut updates: BTreeMap<FindingId, Finding> = BTreeMap::new();
        for finding in found {
            let candidate = Candidate {
                rule: finding.rule.as_str(),
                key: &finding.together,
                finding: &finding.id,
                first_us: finding.first_us,
                time_us: finding.last_us,
                within_us: finding.within_us,
            };
            let admitted = state.groups.admit(&candidate, most, now_us);
            let is_known = known.contains(finding.id.as_str());
            match admitted {
                Admitted::Same => {}
                Admitted::First | Admitted::Limit if is_known => {}
                Admitted::First => {
                    places.insert(finding.id.clone(), first.len());
                    first.push(finding);
                }
                Admitted::Limit => {
                    metrics::limited(finding.rule_title());
                    let rule = finding.rule_title();
                    tracing::warn!(rule, most, "a rule finds too much in an hour; what follows is counted");
                    places.insert(finding.id.clone(), first.len());
                    first.push(finding.into_limit(most));
                }
                Admitted::Again(counted) => {
                    metrics::suppressed(finding.rule_title());
                    match places.get(&counted.finding) {
                        Some(place) => first[*place].count(&counted),
                        None => {
                            let last = updates.remove(&counted.finding).filter(|last| last.last_us > finding.last_us);
                            let update = last.unwrap_or(finding).into_update(&counted);
                            updates.insert(counted.finding, update);
                        }
                    }
                }
            }
        }
        for (of, update) in updates {
            for message in self.messages(std::slice::from_ref(&update), 0)? {
                state.groups.wait(&of, StoredMessage::of(&message));
            }
        }
        Ok(first)
    }

    /// `findings` as messages, which are numbered from `batch`.
    fn messages(&self, findings: &[Finding], batch: i64) -> Result<Vec<Message>, DetectError> {
        let rows = finding::rows(findings).map_err(DetectError::Rows)?;
        Message::of_rows(&rows, &self.config.node, &self.writer.stream, batch).map_err(DetectError::Encode)
    }

    /// What the rules that are not behind find in the `fresh` rows, by their places.
    async fn scan(&self, fresh: &Fresh, state: &State) -> BTreeMap<usize, RuleScan> {
        let in_step = self.rules.iter().enumerate().filter(|(_, rule)| !state.behind.contains_key(rule.id.as_str()));
        let mut scanned: BTreeMap<usize, RuleScan> = in_step.map(|(place, _)| (place, RuleScan::default())).collect();
        for (table, rows) in &fresh.added {
            let done = self.scans.scan(&self.session, (*table, rows), self.config.timeout.0, &mut scanned).await;
            let Err(error) = done else { continue };
            // None of the rules over the table has seen all rows.
            let error = Arc::new(error);
            for (place, _) in self.rules.iter().enumerate().filter(|(_, rule)| rule.tables().contains(table)) {
                if let Some(scan) = scanned.get_mut(&place) {
                    scan.error = Some(DataFusionError::Shared(Arc::clone(&error)));
                }
            }
        }
        for (place, rule) in self.rules.iter().enumerate() {
            scanned.get(&place).into_iter().for_each(|scan| metrics::took(rule, scan.took));
        }
        scanned
    }

    /// The findings of `rule` in what it found in `fresh`, or, if it is behind, in all rows since its own cursor; none when
    /// its query fails, or is not due again yet.
    async fn look(
        &self,
        rule: &Rule,
        scanned: Option<RuleScan>,
        fresh: &Fresh,
        before: &Cursors,
        state: &mut State,
    ) -> Result<Vec<Finding>, DetectError> {
        let mut behind = state.behind.remove(rule.id.as_str());
        if behind.is_some() && !self.aside.is_due(rule.id.as_str()) {
            state.behind.extend(behind.map(|cursors| (rule.id.as_str().to_owned(), cursors)));
            return Ok(Vec::new());
        }
        let missed = match &mut behind {
            Some(cursors) => Some(self.missed(&rule.tables(), cursors).await?),
            None => None,
        };
        let evaluated = match scanned {
            Some(scanned) => self.conclude(rule, scanned, fresh, state).await,
            None => self.in_time(rule, missed.as_ref().unwrap_or(fresh), state).await,
        };
        let error = match evaluated {
            Ok(found) => {
                self.aside.succeeded(rule.id.as_str());
                return Ok(found);
            }
            Err(error) => error,
        };
        self.aside.failed(rule.id.as_str());
        if behind.is_none() {
            tracing::warn!(error = chain(&error), "a rule is set aside and will be retried; the others go on");
        }
        state.behind.insert(rule.id.as_str().to_owned(), behind.unwrap_or_else(|| before.clone()));
        Ok(Vec::new())
    }

    /// The findings of `rule`, which has been evaluated on each of the `fresh` rows.
    async fn conclude(
        &self,
        rule: &Rule,
        scanned: RuleScan,
        fresh: &Fresh,
        state: &mut State,
    ) -> Result<Vec<Finding>, DetectError> {
        let RuleScan { mut matches, touched, error, took } = scanned;
        let limit = self.config.timeout.0;
        match error {
            Some(source) => return Err(DetectError::Evaluate { title: rule.title.clone(), source }),
            None if took >= limit => return Err(DetectError::Slow { title: rule.title.clone(), limit }),
            None => {}
        }
        match &rule.kind {
            RuleKind::Single(_) => {
                matches.sort_by_key(|event| event.order);
                Ok(self.of_each(rule, matches))
            }
            RuleKind::Correlation(_) if touched => self.in_time(rule, fresh, state).await,
            RuleKind::Correlation(_) => Ok(Vec::new()),
        }
    }

    /// The findings of `rule`, each of one event.
    fn of_each(&self, rule: &Rule, found: Vec<Match>) -> Vec<Finding> {
        let events = found.into_iter().map(|event| Events::each(vec![event]));
        let uncovered = events.filter(|events| {
            let is_covered = self.exceptions.cover(rule, events);
            if is_covered {
                metrics::excepted(&rule.title);
            }
            !is_covered
        });
        uncovered.filter_map(|events| Finding::new(rule, events, &self.writer)).collect()
    }

    /// The findings of `rule` in `fresh`, from queries of its own.
    async fn in_time(&self, rule: &Rule, fresh: &Fresh, state: &mut State) -> Result<Vec<Finding>, DetectError> {
        let (title, limit) = (rule.title.clone(), self.config.timeout.0);
        match tokio::time::timeout(limit, self.evaluate(rule, fresh, state)).await {
            Ok(evaluated) => evaluated.map_err(|source| DetectError::Evaluate { title, source }),
            Err(_) => Err(DetectError::Slow { title, limit }),
        }
    }

    /// The rows added to `tables` since the `cursors`, which advance from where they were `before`.
    async fn fresh(
        &self,
        tables: &BTreeSet<Table>,
        before: &Cursors,
        cursors: &mut Cursors,
    ) -> Result<Fresh, DetectError> {
        let fresh = self.missed(tables, cursors).await?;
        for table in fresh.all.keys() {
            let cursor = before.get(table.name()).copied().unwrap_or(-1);
            let version = fresh.moved.get(table).copied();
            metrics::lag(*table, version.map_or(0, |version| version - cursor));
            cursors.extend(version.map(|version| (table.name().to_owned(), version)));
        }
        fresh.added.iter().for_each(|(table, rows)| metrics::read(*table, rows.as_ref()));
        Ok(fresh)
    }

    /// The rows added to `tables` since the `cursors`, which do not move, except those that the lake no longer knows.
    async fn missed(&self, tables: &BTreeSet<Table>, cursors: &mut Cursors) -> Result<Fresh, DetectError> {
        let mut fresh = Fresh::default();
        for &table in tables {
            let failed = |source| DetectError::Lake { table, source };
            let Some(handle) = self.lake.existing(table).await.map_err(failed)? else { continue };
            let cursor = cursors.get(table.name()).copied();
            fresh.all.insert(table, handle.provider());
            if cursor == Some(handle.version()) {
                continue;
            }
            let added = match handle.added_since(cursor).await {
                Ok(added) => added,
                Err(LakeError::CursorTooOld { oldest, .. }) => {
                    self.tell_gap(table, cursor, oldest);
                    cursors.insert(table.name().to_owned(), oldest);
                    handle.added_since(Some(oldest)).await.map_err(failed)?
                }
                Err(LakeError::CursorAhead { .. }) => handle.added_since(None).await.map_err(failed)?,
                Err(error) => return Err(failed(error)),
            };
            fresh.moved.insert(table, added.to_version);
            fresh.added.extend(added.rows.map(|rows| (table, rows)));
        }
        Ok(fresh)
    }

    fn tell_gap(&self, table: Table, cursor: Option<i64>, oldest: i64) {
        metrics::gap(table);
        tracing::warn!(%table, cursor, oldest, "rules missed rows: the lake no longer has the commits after the cursor");
    }

    async fn evaluate(&self, rule: &Rule, fresh: &Fresh, state: &mut State) -> Result<Vec<Finding>, DataFusionError> {
        match &rule.kind {
            RuleKind::Single(step) => {
                let Some(rows) = fresh.added.get(&step.table) else { return Ok(Vec::new()) };
                let mut found = matches(&self.session, Arc::clone(rows), step, &[], None).await?;
                found.sort_by_key(|event| event.order);
                Ok(self.of_each(rule, found))
            }
            RuleKind::Correlation(correlation) => {
                let recent = state.recent_of(rule.id.as_str());
                let is_found = |group: &str, order: Order| recent.has(group, order);
                let complete = completed(&self.session, correlation, &fresh.added, &fresh.all, &is_found).await?;
                let is_threshold = matches!(correlation.condition, Condition::Threshold(_));
                let mut found = Vec::new();
                for events in complete {
                    let (span, is_covered) = (events.span(), self.exceptions.cover(rule, &events));
                    let Some(finding) = Finding::new(rule, events, &self.writer) else { continue };
                    // A threshold has left out what was found before.
                    let is_new = is_threshold || state.is_new(rule.id.as_str(), &finding.group, span);
                    if is_new {
                        state.remember(rule.id.as_str(), &finding.group, span);
                        match is_covered {
                            true => metrics::excepted(&rule.title),
                            false => found.push(finding),
                        }
                    }
                }
                Ok(found)
            }
        }
    }

    /// Stores the cursors together with the findings up to them, then sends the findings.
    async fn store_and_send(&self, findings: Vec<Finding>, mut state: State, path: &Path) -> Result<(), DetectError> {
        if !findings.is_empty() {
            let messages = self.messages(&findings, state.last_batch + 1)?;
            state.last_batch += messages.len() as i64;
            state.outbox.extend(messages.iter().map(StoredMessage::of));
        }
        for update in state.groups.due(now_us()) {
            state.last_batch += 1;
            state.outbox.push(StoredMessage { batch: state.last_batch, ..update });
        }
        state.write(path)?;
        self.send(&mut state, path).await?;
        findings.iter().for_each(|finding| metrics::finding(finding.rule_title()));
        log_findings(&findings);
        Ok(())
    }

    /// Appends the findings in the outbox to the event log and empties it.
    async fn send(&self, state: &mut State, path: &Path) -> Result<(), DetectError> {
        if state.outbox.is_empty() {
            return Ok(());
        }
        let messages = state.outbox.iter().map(|outbox| self.message(outbox)).collect::<Result<_, _>>()?;
        let topic = Topic { tenant: self.config.tenant.clone(), table: Table::Findings };
        self.log.append(&topic, messages).await.map_err(DetectError::Append)?;
        state.outbox.clear();
        Ok(state.write(path)?)
    }

    fn message(&self, outbox: &StoredMessage) -> Result<Message, DetectError> {
        outbox.message(&self.config.node, &self.writer.stream).map_err(DetectError::StoredMessage)
    }
}

/// Logs a few findings individually, and only the number of many: an import can cause thousands.
fn log_findings(findings: &[Finding]) {
    if findings.len() > TOLD_SINGLY {
        tracing::info!(findings = findings.len(), "new findings; the table `findings` has them");
        return;
    }
    for finding in findings {
        tracing::info!(finding = %finding.id, rule = finding.rule_title(), "{}", finding.message());
    }
}

/// New rows and all rows, by table.
#[derive(Default)]
struct Fresh {
    added: RowsOf,
    all: BTreeMap<Table, Arc<dyn TableProvider>>,
    /// New cursors of the tables to which rows were added.
    moved: BTreeMap<Table, i64>,
}

/// What a pass may leave unchanged.
struct Before {
    cursors: Cursors,
    behind: BTreeMap<String, Cursors>,
}

impl Before {
    fn is_still(&self, state: &State) -> bool {
        self.cursors == state.cursors && self.behind == state.behind
    }
}
