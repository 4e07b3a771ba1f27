//! How much memory a rule takes, before it is compiled: a few characters of a regular expression can stand for megabytes.

use std::cell::Cell;

use regex_syntax::hir::{Class, Hir, HirKind};
use rsigma_ir::{IrMatcher, IrPatternPart, IrRule};

use super::{CompileError, sum};

/// Bytes of one rule, at most: room for some 10,000 values.
const MOST_OF_ONE: usize = 64 << 20;
/// Bytes of all rules together, at most.
const MOST_OF_ALL: usize = 256 << 20;

/// Bytes of a state of a compiled regular expression, of which there is a second one to search backwards.
const STATE: usize = 64;
/// Bytes of a rule apart from its values: its document, its expressions, its place in the plan.
const RULE: usize = 16 << 10;
/// Bytes of a value apart from its text, in the predicate and in the plan; and for each byte of its text.
const VALUE: usize = 128;
const TEXT: usize = 16;

/// What is left for rules that are compiled together.
#[derive(Debug)]
pub(crate) struct Budget(Cell<usize>);

impl Default for Budget {
    /// As much as all rules may take.
    fn default() -> Self {
        Self(Cell::new(MOST_OF_ALL))
    }
}

impl Budget {
    /// Takes what `rule` needs.
    ///
    /// Errors: it is more than one rule may take, or than the others left.
    pub(crate) fn take(&self, rule: &IrRule) -> Result<(), CompileError> {
        let weights = rule.detections.values().map(|detection| sum(detection, &weight));
        let bytes = weights.fold(RULE, usize::saturating_add);
        if bytes > MOST_OF_ONE {
            return Err(CompileError::unsupported(format!(
                "a rule that takes about {} MiB of memory ({} MiB are allowed; shorten its lists and the repetitions of its \
                 regular expressions)",
                bytes >> 20,
                MOST_OF_ONE >> 20
            )));
        }
        let Some(left) = self.0.get().checked_sub(bytes) else {
            return Err(CompileError::unsupported(format!(
                "a rule that takes more than {} MiB of memory together with those before it",
                MOST_OF_ALL >> 20
            )));
        };
        self.0.set(left);
        Ok(())
    }
}

/// Bytes of a matcher that holds no others.
fn weight(matcher: &IrMatcher) -> usize {
    match matcher {
        // What is no regular expression is refused when it is compiled.
        IrMatcher::Regex { pattern, .. } => regex_syntax::parse(pattern).map_or(VALUE, |hir| VALUE + of(&hir)),
        IrMatcher::Str { pattern, .. } => {
            let lengths = pattern.parts.iter().map(|part| match part {
                IrPatternPart::Literal(text) => text.len(),
                IrPatternPart::WildcardMulti | IrPatternPart::WildcardSingle => 1,
            });
            // With wildcards inside, it becomes a regular expression that looks at capitals and small letters.
            let is_literal = matches!(pattern.parts.as_slice(), [] | [IrPatternPart::Literal(_)]);
            VALUE + lengths.sum::<usize>() * if is_literal { TEXT } else { 4 * STATE }
        }
        // Each stands for a text at three places, in two widths, a third longer.
        IrMatcher::Encoded { value, .. } => 8 * (VALUE + value.len() * TEXT),
        _ => VALUE,
    }
}

fn of(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => STATE,
        HirKind::Literal(literal) => literal.0.len() * STATE,
        // Each range of characters becomes some of bytes.
        HirKind::Class(Class::Unicode(class)) => class.ranges().len() * 4 * STATE,
        HirKind::Class(Class::Bytes(_)) => STATE,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min.saturating_add(1)).max(1);
            of(&repetition.sub).saturating_mul(times as usize)
        }
        HirKind::Capture(capture) => of(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().map(of).fold(0, usize::saturating_add),
    }
}
