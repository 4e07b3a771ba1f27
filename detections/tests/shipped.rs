//! Every shipped rule fires on its own positive events and stays quiet on the others.

use std::collections::BTreeSet;
use std::path::Path;

use kerntrail_detections::rules::Condition;
use kerntrail_detections::{RuleKind, Sources, sources, testing};

#[tokio::test]
async fn every_rule_has_a_matching_and_a_non_matching_test() {
    let mut fired = BTreeSet::new();
    let mut quiet_files = BTreeSet::new();
    let rules = Sources::shipped().compile_all().unwrap();
    for (path, text) in sources::shipped_files() {
        for outcome in testing::run(&rules, path, text).await.unwrap() {
            assert!(outcome.passed(), "{}: {outcome:?}", path.display());
            fired.extend(outcome.found);
            if outcome.expected == 0 {
                quiet_files.insert(path);
            }
        }
    }
    for rule in rules.iter() {
        assert!(fired.contains(&rule.title), "no test of {} makes a finding", rule.title);
        assert!(quiet_files.contains(rule.file.as_path()), "no test of {} expects silence", rule.title);
    }
}

#[test]
fn at_least_two_rules_are_ordered_sequences() {
    let rules = Sources::shipped().compile();
    let ordered = |kind: &RuleKind| {
        matches!(kind, RuleKind::Correlation(correlation)
            if matches!(correlation.condition, Condition::Sequence { ordered: true }))
    };
    assert!(rules.iter().filter(|rule| ordered(&rule.kind)).count() >= 2);
}

#[test]
fn mistakes_in_tests_are_named_with_the_nearest_right_name() {
    let cases = [
        ("table: kernel_event", "there is no table `kernel_event`; did you mean `kernel_events`?"),
        ("table: kernel_events, activity: unshar", "kernel_events has no activity `unshar`; did you mean `unshare`?"),
        (
            "table: kernel_events, proces_path: /x",
            "kernel_events has no column `proces_path`; did you mean `process_path`",
        ),
        ("table: kernel_events, at: soon", "`at` is not a number of seconds"),
    ];
    for (event, expected) in cases {
        let text = format!("kerntrail: {{tests: [{{name: t, finds: 0, events: [{{{event}}}]}}]}}\n");
        let error = testing::check(Path::new("case.yml"), &text).unwrap_err().to_string();
        assert!(error.contains("case.yml: invalid tests: test \"t\", event 1: "), "{error}");
        assert!(error.contains(expected), "{event}: {error}");
    }
}
