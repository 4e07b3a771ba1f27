//! A correlation document, compiled. Source: Sigma correlation rules specification 2.1.

use datafusion::prelude::Expr;
use rsigma_parser::{ConditionOperator, CorrelationCondition, CorrelationRule, CorrelationType, WindowMode};

use crate::collection::Collection;
use crate::compile::{self, CompileError};
use crate::document::Documents;
use crate::ignored;
use crate::rules::{Condition, Correlation, Measure, RuleError, Step, Threshold};

/// The correlation `document` of `file`.
pub(crate) fn compile<'a>(
    collection: &Collection<'a>,
    file: &'a Documents,
    document: &CorrelationRule,
) -> Result<Correlation, RuleError> {
    let cannot = |source| file.cannot(&document.title, source);
    check(document).map_err(cannot)?;
    let steps = steps(collection, file, document)?;
    let groups = document.group_by.iter().map(|name| columns(document, &steps, name)).collect::<Result<Vec<_>, _>>();
    let groups = by_step(groups.map_err(cannot)?, steps.len());
    let condition = condition(document, &steps).map_err(cannot)?;
    Ok(Correlation { steps, groups, timespan_us: document.timespan.seconds as i64 * 1_000_000, condition })
}

fn steps<'a>(
    collection: &Collection<'a>,
    file: &'a Documents,
    document: &CorrelationRule,
) -> Result<Vec<Step>, RuleError> {
    let steps = document.rules.iter().map(|name| collection.named_step(file, &document.title, name));
    steps.collect()
}

/// What is wrong with, or not supported of, a correlation of any type.
fn check(document: &CorrelationRule) -> Result<(), CompileError> {
    let unsupported = |what: &str| Err(CompileError::unsupported(what));
    if document.rules.is_empty() {
        return unsupported("a correlation without rules");
    }
    if document.timespan.seconds == 0 {
        return unsupported("a timespan of 0");
    }
    if i64::try_from(document.timespan.seconds).ok().and_then(|seconds| seconds.checked_mul(1_000_000)).is_none() {
        return unsupported("a timespan of more than 292,000 years");
    }
    if document.window != WindowMode::Sliding {
        return Err(CompileError::unsupported(format!("the window `{}`", document.window.as_str())));
    }
    Ok(())
}

fn condition(document: &CorrelationRule, steps: &[Step]) -> Result<Condition, CompileError> {
    let measure = match document.correlation_type {
        CorrelationType::Temporal => return sequence(document, false),
        CorrelationType::TemporalOrdered => return sequence(document, true),
        CorrelationType::EventCount => Measure::Events,
        CorrelationType::ValueCount => Measure::Values,
        CorrelationType::ValueSum => Measure::Sum,
        CorrelationType::ValueAvg => Measure::Average,
        CorrelationType::ValuePercentile => Measure::Percentile(percentile(document)?),
        CorrelationType::ValueMedian => Measure::Percentile(50),
    };
    threshold(document, steps, measure).map(Condition::Threshold)
}

fn sequence(document: &CorrelationRule, ordered: bool) -> Result<Condition, CompileError> {
    let CorrelationCondition::Threshold { predicates, .. } = &document.condition else {
        return Err(CompileError::unsupported("a condition of a temporal correlation"));
    };
    let all = document.rules.len() as u64;
    // The parser's form of no condition: every rule once.
    let none = predicates.as_slice() == [(ConditionOperator::Gte, 1)];
    let whole = |(operator, count): &(ConditionOperator, u64)| {
        *count == all && matches!(operator, ConditionOperator::Gte | ConditionOperator::Eq)
    };
    match none || predicates.iter().all(whole) {
        true => Ok(Condition::Sequence { ordered }),
        false => Err(CompileError::unsupported(ignored::NOT_ALL_RULES)),
    }
}

fn percentile(document: &CorrelationRule) -> Result<u64, CompileError> {
    let CorrelationCondition::Threshold { percentile, .. } = &document.condition else { return Ok(50) };
    match percentile {
        Some(percentile @ 0..=100) => Ok(*percentile),
        // The parser leaves out what is not a whole number.
        _ => Err(CompileError::unsupported(
            "`value_percentile` without a `percentile` that is a whole number from 0 to 100",
        )),
    }
}

fn threshold(document: &CorrelationRule, steps: &[Step], measure: Measure) -> Result<Threshold, CompileError> {
    let kind = document.correlation_type.as_str();
    let CorrelationCondition::Threshold { predicates, field, .. } = &document.condition else {
        return Err(CompileError::unsupported(format!("an expression as the condition of `{kind}`")));
    };
    check_bounds(measure, predicates)?;
    let fields = field.clone().unwrap_or_default();
    match (measure, fields.len()) {
        (Measure::Events, 0) | (Measure::Values, 1..) => {}
        (Measure::Events, _) => return Err(CompileError::unsupported("a field in the condition of `event_count`")),
        (_, 0) => return Err(CompileError::unsupported(format!("`{kind}` without a field in its condition"))),
        (_, 1) => {}
        (_, _) => return Err(CompileError::unsupported(format!("`{kind}` of several fields"))),
    }
    let values = fields.iter().map(|name| columns(document, steps, name)).collect::<Result<Vec<_>, _>>()?;
    let values = by_step(values, steps.len());
    Ok(Threshold { measure, values, field: fields.join(", "), bounds: predicates.clone() })
}

/// A count only grows until its time is over, so what is asked for has to be a least.
fn check_bounds(measure: Measure, bounds: &[(ConditionOperator, u64)]) -> Result<(), CompileError> {
    use ConditionOperator::{Eq, Gt, Gte, Neq};
    if bounds.iter().any(|(_, bound)| i64::try_from(*bound).is_err()) {
        return Err(CompileError::unsupported("a negative number in a condition"));
    }
    let is_count = matches!(measure, Measure::Events | Measure::Values);
    let has_least = bounds.iter().any(|(operator, _)| matches!(operator, Eq | Gt | Gte));
    if is_count && !has_least {
        return Err(CompileError::unsupported("a count with neither `gte`, `gt` nor `eq`"));
    }
    match bounds.iter().any(|(operator, _)| *operator == Neq) {
        true => Err(CompileError::unsupported("`neq` in the condition of a correlation")),
        false => Ok(()),
    }
}

/// For each step the expression of `name`, by its alias where there is one.
fn columns(document: &CorrelationRule, steps: &[Step], name: &String) -> Result<Vec<Expr>, CompileError> {
    let column = |(step, reference): (&Step, &String)| {
        let alias = document.aliases.iter().find(|alias| alias.alias == *name);
        let mapped = |alias: &'_ rsigma_parser::FieldAlias| {
            alias.mapping.get(reference).or_else(|| alias.mapping.get(&step.name)).cloned()
        };
        let field = alias.map_or(Some(name.clone()), mapped);
        match field {
            Some(field) => compile::group_column(step.table, &field),
            None => Err(CompileError::unsupported(format!("an alias without a field for `{}`", step.name))),
        }
    };
    steps.iter().zip(&document.rules).map(column).collect()
}

/// For each of `steps`, what `by_name` has for it.
fn by_step(by_name: Vec<Vec<Expr>>, steps: usize) -> Vec<Vec<Expr>> {
    (0..steps).map(|step| by_name.iter().map(|columns| columns[step].clone()).collect()).collect()
}
