//! Long lists of texts without wildcards, as one automaton.
//!
//! A regular expression of very many alternatives is too slow: with 150,001, no pass over new rows ended in time. An
//! Aho-Corasick automaton finds all of the texts in one pass, and each may have to be at the start, at the end, or the whole.

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use regex::Regex;
use rsigma_ir::{IrMatcher, IrStrOp};

/// Shorter lists remain regular expressions, which ignore the case of all letters.
const MANY: usize = 500;

/// What a text is compared with.
#[derive(Debug)]
pub(super) enum Pattern {
    Regex(Regex),
    Literals(Literals),
}

impl Pattern {
    pub(super) fn is_match(&self, text: &str) -> bool {
        match self {
            Self::Regex(regex) => regex.is_match(text),
            Self::Literals(literals) => literals.is_match(text),
        }
    }
}

/// Many texts, of which one has to match.
#[derive(Debug)]
pub(super) struct Literals {
    automaton: AhoCorasick,
    /// Where each of the texts has to be.
    places: Vec<IrStrOp>,
    ignores_case: bool,
}

impl Literals {
    /// Those of `matchers`; `None` where a regular expression is needed: for few texts, for wildcards, and where the case
    /// of letters beyond ASCII is ignored.
    pub(super) fn of(matchers: &[IrMatcher]) -> Option<Self> {
        if matchers.len() < MANY {
            return None;
        }
        let (mut texts, mut places) = (Vec::with_capacity(matchers.len()), Vec::with_capacity(matchers.len()));
        let mut ignores_case = None;
        for matcher in matchers {
            let IrMatcher::Str { op, pattern, case_insensitive } = matcher else { return None };
            let text = pattern.as_plain()?;
            let is_like_others = *ignores_case.get_or_insert(*case_insensitive) == *case_insensitive;
            if !is_like_others || (*case_insensitive && !text.is_ascii()) {
                return None;
            }
            texts.push(text);
            places.push(*op);
        }
        let ignores_case = ignores_case?;
        let mut builder = AhoCorasickBuilder::new();
        builder.match_kind(MatchKind::Standard).ascii_case_insensitive(ignores_case);
        Some(Self { automaton: builder.build(texts).ok()?, places, ignores_case })
    }

    fn is_match(&self, text: &str) -> bool {
        // The only letters beyond ASCII that are the same as one of ASCII but for their case (CaseFolding.txt of Unicode).
        const KELVIN: char = '\u{212a}';
        const LONG_S: char = '\u{17f}';
        if self.ignores_case && !text.is_ascii() && text.contains([KELVIN, LONG_S]) {
            return self.finds(&text.replace(KELVIN, "k").replace(LONG_S, "s"));
        }
        self.finds(text)
    }

    fn finds(&self, text: &str) -> bool {
        self.automaton.find_overlapping_iter(text).any(|found| {
            let (is_first, is_last) = (found.start() == 0, found.end() == text.len());
            match self.places[found.pattern().as_usize()] {
                IrStrOp::Contains => true,
                IrStrOp::StartsWith => is_first,
                IrStrOp::EndsWith => is_last,
                IrStrOp::Exact => is_first && is_last,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use rsigma_ir::{IrPattern, IrPatternPart};

    use super::*;

    fn list(op: IrStrOp, case_insensitive: bool, texts: &[&str]) -> Option<Literals> {
        let filler = (0..MANY).map(|number| format!("filler-{number}"));
        let texts = filler.chain(texts.iter().map(ToString::to_string));
        let matchers: Vec<_> = texts
            .map(|text| {
                let pattern = IrPattern { parts: vec![IrPatternPart::Literal(text)] };
                IrMatcher::Str { op, pattern, case_insensitive }
            })
            .collect();
        Literals::of(&matchers)
    }

    #[test]
    fn texts_are_found_where_they_have_to_be() {
        let cases = [
            (IrStrOp::Contains, true, "xMASKx", true),
            (IrStrOp::Contains, false, "xMASKx", false),
            (IrStrOp::Contains, true, "x ma\u{17f}\u{212a} é", true),
            (IrStrOp::Contains, false, "xmaskx", true),
            (IrStrOp::Contains, true, "mas", false),
            (IrStrOp::StartsWith, true, "Mask of", true),
            (IrStrOp::StartsWith, true, "a mask", false),
            (IrStrOp::EndsWith, true, "a mask", true),
            (IrStrOp::EndsWith, true, "mask of", false),
            (IrStrOp::Exact, true, "MASK", true),
            (IrStrOp::Exact, true, "masks", false),
            (IrStrOp::Exact, true, "a mask", false),
            // One text is part of another.
            (IrStrOp::Exact, true, "masked", true),
            (IrStrOp::EndsWith, true, "un-ask", true),
        ];
        for (op, case_insensitive, text, is_match) in cases {
            let literals = list(op, case_insensitive, &["mask", "masked", "ask"]).unwrap();
            assert_eq!(literals.is_match(text), is_match, "{op:?} {case_insensitive} {text}");
        }
    }

    #[test]
    fn other_lists_are_left_to_a_regular_expression() {
        assert!(list(IrStrOp::Contains, true, &["é"]).is_none());
        assert!(list(IrStrOp::Contains, false, &["é"]).is_some());
        assert!(Literals::of(&[]).is_none());
    }
}
