//! Every shipped rule fires on its own positive events and stays quiet on the others.

use std::collections::BTreeSet;

use kerntrail_detections::{RuleKind, Rules, testing};

#[tokio::test]
async fn every_rule_has_a_matching_and_a_non_matching_test() {
    let mut fired = BTreeSet::new();
    let mut quiet_files = BTreeSet::new();
    for (path, text) in Rules::shipped_files() {
        for outcome in testing::run(path, text).await.unwrap() {
            assert!(outcome.passed(), "{}: {outcome:?}", path.display());
            fired.extend(outcome.found);
            if outcome.expected == 0 {
                quiet_files.insert(path);
            }
        }
    }
    for rule in Rules::shipped().unwrap().iter() {
        assert!(fired.contains(&rule.title), "no test of {} makes a finding", rule.title);
        assert!(quiet_files.contains(rule.file.as_path()), "no test of {} expects silence", rule.title);
    }
}

#[test]
fn at_least_two_rules_are_ordered_sequences() {
    let rules = Rules::shipped().unwrap();
    let ordered = |kind: &RuleKind| matches!(kind, RuleKind::Sequence(sequence) if sequence.ordered);
    assert!(rules.iter().filter(|rule| ordered(&rule.kind)).count() >= 2);
}
