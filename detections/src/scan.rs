//! Evaluates the steps of many rules on the same rows: each row is read once for all of them.
//!
//! Most rules match no row of a batch. What a rule requires ([`RequiredText`]) is looked for first,
//! with one automaton per column for all rules, and the rule's predicate is evaluated on the rows that have it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::{Expr, SessionContext};
use kerntrail_schemas::Table;

use crate::compile::RequiredText;
use crate::compile::command_lines::{as_columns, with_columns, with_fields};
use crate::rules::Step;

/// The steps of rules over one table.
pub(crate) struct Scanner {
    /// The table's, and the command lines.
    schema: SchemaRef,
    steps: Vec<Prepared>,
    columns: Vec<ColumnTexts>,
    /// How many sets of texts all steps require together.
    sets: usize,
}

/// A step, ready to be evaluated.
struct Prepared {
    predicate: Result<Predicate, Arc<DataFusionError>>,
    /// The activities of its rows; all where there are none.
    activities: Vec<&'static str>,
    /// The sets of texts that its rows contain, by their numbers; without any, all rows have to be looked at.
    sets: Vec<usize>,
}

/// The predicate of a step.
struct Predicate {
    expr: Arc<dyn PhysicalExpr>,
    /// The columns that it reads, and their schema.
    columns: Vec<usize>,
    schema: SchemaRef,
}

/// The texts that steps require in a column.
struct ColumnTexts {
    column: usize,
    automaton: AhoCorasick,
    /// The sets that each text is in.
    of_text: Vec<Vec<u32>>,
    /// The sets that any of them is in: a text that is not ASCII may match in other ways.
    all: Vec<u32>,
}

/// What a step found in a batch.
pub(crate) struct Found {
    /// The rows that it matches, in order.
    pub(crate) rows: Result<Vec<u32>, DataFusionError>,
    /// How long that took.
    pub(crate) took: Duration,
}

impl Scanner {
    /// A scanner of `steps`, all over `table`. A step that cannot be planned finds its error in every batch.
    pub(crate) fn new(session: &SessionContext, table: Table, steps: &[&Step]) -> Self {
        let schema = with_fields(&table.schema());
        let mut prepared: Vec<_> = steps.iter().map(|step| prepare(session, &schema, step)).collect();
        let mut numbered = Vec::new();
        for (prepared, step) in prepared.iter_mut().zip(steps) {
            for set in step.required.iter().flat_map(|required| &required.0) {
                prepared.sets.push(numbered.len());
                numbered.push(set.as_slice());
            }
        }
        let columns = column_texts(&schema, &numbered);
        // A set that is not looked for in each of its columns would not find all rows.
        let is_found = |set: &usize| {
            let mut texts = numbered[*set].iter();
            texts.all(|text| columns.iter().any(|column| column.is_of(*set, &schema, &text.column)))
        };
        prepared.iter_mut().for_each(|step| step.sets.retain(is_found));
        let sets = numbered.len();
        Self { schema, steps: prepared, columns, sets }
    }

    /// What each step finds in `batch`, which has the table's schema, in the time that `allowed` gives it; a step without any is
    /// left out. What a step finds is not complete when it took longer.
    pub(crate) fn scan(
        &self,
        batch: &RecordBatch,
        allowed: &dyn Fn(usize) -> Option<Duration>,
    ) -> Result<BTreeMap<usize, Found>, DataFusionError> {
        let batch = &with_columns(batch, &self.schema)?;
        let rows_of_sets = self.rows_of_sets(batch);
        let mut by_activities = BTreeMap::new();
        let mut found = BTreeMap::new();
        for (place, step) in self.steps.iter().enumerate() {
            let Some(allowed) = allowed(place) else { continue };
            let started = Instant::now();
            let candidates = match step.sets.as_slice() {
                [] => by_activities
                    .entry(step.activities.clone())
                    .or_insert_with(|| rows_of(batch, &step.activities))
                    .clone(),
                sets => Some(UInt32Array::from(in_all(&rows_of_sets, sets))),
            };
            let rows = step.matching(batch, candidates, allowed);
            found.insert(place, Found { rows, took: started.elapsed() });
        }
        Ok(found)
    }

    /// For each set, the rows that contain one of its texts, in order.
    fn rows_of_sets(&self, batch: &RecordBatch) -> Vec<Vec<u32>> {
        let mut rows_of_sets = vec![Vec::new(); self.sets];
        for texts in &self.columns {
            texts.look(batch.column(texts.column), &mut rows_of_sets);
        }
        if self.columns.len() > 1 {
            for rows in &mut rows_of_sets {
                rows.sort_unstable();
                rows.dedup();
            }
        }
        rows_of_sets
    }
}

/// The rows that are in each of the `sets`.
fn in_all(rows_of_sets: &[Vec<u32>], sets: &[usize]) -> Vec<u32> {
    let Some(shortest) = sets.iter().min_by_key(|set| rows_of_sets[**set].len()) else { return Vec::new() };
    let is_in = |row: &u32| sets.iter().all(|set| set == shortest || rows_of_sets[*set].binary_search(row).is_ok());
    rows_of_sets[*shortest].iter().copied().filter(is_in).collect()
}

fn prepare(session: &SessionContext, schema: &SchemaRef, step: &Step) -> Prepared {
    let predicate = Predicate::new(session, schema, &step.predicate).map_err(Arc::new);
    Prepared { predicate, activities: step.activities.clone(), sets: Vec::new() }
}

impl Predicate {
    fn new(session: &SessionContext, schema: &SchemaRef, expr: &Expr) -> Result<Self, DataFusionError> {
        let expr = as_columns(expr.clone())?;
        let columns: BTreeSet<usize> =
            expr.column_refs().iter().filter_map(|column| schema.index_of(&column.name).ok()).collect();
        let columns: Vec<usize> = columns.into_iter().collect();
        let schema = Arc::new(schema.project(&columns)?);
        let fields = Arc::new(DFSchema::try_from(Arc::clone(&schema))?);
        let context = SimplifyContext::builder().with_schema(Arc::clone(&fields)).build();
        let simplifier = ExprSimplifier::new(context);
        // Some functions, such as coalesce, exist in simplified form only.
        let simplified = simplifier.simplify(simplifier.coerce(expr, &fields)?)?;
        let expr = session.create_physical_expr(simplified, &fields)?;
        Ok(Self { expr, columns, schema })
    }
}

/// Up to this many texts, an automaton that is twice as fast takes a few megabytes.
const MOST_FOR_DFA: usize = 4_000;

/// The texts of the `sets`, by column.
fn column_texts(schema: &SchemaRef, sets: &[&[RequiredText]]) -> Vec<ColumnTexts> {
    let mut by_column: BTreeMap<usize, BTreeMap<&str, Vec<u32>>> = BTreeMap::new();
    for (number, set) in sets.iter().enumerate() {
        for required in *set {
            let Ok(column) = schema.index_of(&required.column) else { continue };
            by_column.entry(column).or_default().entry(&required.text).or_default().push(number as u32);
        }
    }
    let built = by_column.into_iter().filter_map(|(column, texts)| {
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind((texts.len() <= MOST_FOR_DFA).then_some(AhoCorasickKind::DFA))
            .build(texts.keys())
            .ok()?;
        let of_text: Vec<Vec<u32>> = texts.into_values().collect();
        let mut all: Vec<u32> = of_text.iter().flatten().copied().collect();
        all.sort_unstable();
        all.dedup();
        Some(ColumnTexts { column, automaton, of_text, all })
    });
    built.collect()
}

impl ColumnTexts {
    /// Whether it looks in the column of this name for the texts of `set`.
    fn is_of(&self, set: usize, schema: &SchemaRef, name: &str) -> bool {
        schema.field(self.column).name() == name && self.all.binary_search(&(set as u32)).is_ok()
    }

    /// Adds the rows of `column` to those of the sets that have a text in them.
    fn look(&self, column: &ArrayRef, rows_of_sets: &mut [Vec<u32>]) {
        match column.data_type() {
            DataType::List(_) => {
                let lists = column.as_list::<i32>();
                let Some(items) = lists.values().as_string_opt::<i32>() else {
                    return self.all_rows(column, rows_of_sets);
                };
                let offsets = lists.value_offsets();
                for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
                    for item in offsets[row] as usize..offsets[row + 1] as usize {
                        if items.is_valid(item) {
                            self.look_at(items.value(item), row as u32, rows_of_sets);
                        }
                    }
                }
            }
            _ => {
                let Ok(texts) = cast(column, &DataType::Utf8) else { return self.all_rows(column, rows_of_sets) };
                let texts = texts.as_string::<i32>();
                for row in (0..texts.len()).filter(|row| texts.is_valid(*row)) {
                    self.look_at(texts.value(row), row as u32, rows_of_sets);
                }
            }
        }
    }

    fn look_at(&self, text: &str, row: u32, rows_of_sets: &mut [Vec<u32>]) {
        let mut add = |set: &u32| {
            let rows = &mut rows_of_sets[*set as usize];
            if rows.last() != Some(&row) {
                rows.push(row);
            }
        };
        if !text.is_ascii() {
            return self.all.iter().for_each(add);
        }
        for found in self.automaton.find_overlapping_iter(text) {
            self.of_text[found.pattern().as_usize()].iter().for_each(&mut add);
        }
    }

    /// For a column of another type than it is declared with.
    fn all_rows(&self, column: &ArrayRef, rows_of_sets: &mut [Vec<u32>]) {
        for set in &self.all {
            rows_of_sets[*set as usize].extend(0..column.len() as u32);
        }
    }
}

/// The rows of these activities; `None` stands for all.
fn rows_of(batch: &RecordBatch, activities: &[&'static str]) -> Option<UInt32Array> {
    if activities.is_empty() {
        return None;
    }
    let column = batch.column_by_name("activity")?.as_string_opt::<i32>()?;
    let fits = |row: &usize| column.is_valid(*row) && activities.contains(&column.value(*row));
    let rows: Vec<u32> = (0..column.len()).filter(fits).map(|row| row as u32).collect();
    (rows.len() < column.len()).then(|| UInt32Array::from(rows))
}

impl Prepared {
    /// Which of `rows` it matches; of all for `None`. Some rows at a time, until it took longer than `allowed`.
    fn matching(
        &self,
        batch: &RecordBatch,
        rows: Option<UInt32Array>,
        allowed: Duration,
    ) -> Result<Vec<u32>, DataFusionError> {
        let predicate = self.predicate.as_ref().map_err(|error| DataFusionError::Shared(Arc::clone(error)))?;
        let columns = predicate.columns.iter().map(|column| match &rows {
            Some(rows) => take(batch.column(*column), rows, None),
            None => Ok(Arc::clone(batch.column(*column))),
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let count = rows.as_ref().map_or(batch.num_rows(), UInt32Array::len);
        let (started, mut found, mut begin, mut length) = (Instant::now(), Vec::new(), 0, FIRST_ROWS);
        while begin < count && started.elapsed() <= allowed {
            let end = (begin + length).min(count);
            let some = columns.iter().map(|column| column.slice(begin, end - begin)).collect();
            let hits = predicate.hits(some, end - begin)?;
            found.extend(places(&hits).map(|place| begin as u32 + place));
            // Slow predicates are few, so most rows are evaluated in large parts.
            length = length.saturating_mul(4);
            begin = end;
        }
        if let Some(rows) = rows {
            found.iter_mut().for_each(|place| *place = rows.value(*place as usize));
        }
        Ok(found)
    }
}

/// Rows that are evaluated first: how long they take shows whether a predicate is slow.
const FIRST_ROWS: usize = 256;

impl Predicate {
    /// Which of `count` rows it is true for; `columns` are those that it reads.
    fn hits(&self, columns: Vec<ArrayRef>, count: usize) -> Result<BooleanArray, DataFusionError> {
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(count));
        let read = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        let hits = self.expr.evaluate(&read)?.into_array(count)?;
        let hits = hits.as_boolean_opt().ok_or_else(|| DataFusionError::Internal("no boolean".to_owned()))?;
        Ok(hits.clone())
    }
}

fn places(hits: &BooleanArray) -> impl Iterator<Item = u32> + '_ {
    hits.iter().enumerate().filter(|(_, hit)| *hit == Some(true)).map(|(place, _)| place as u32)
}
