//! MITRE ATT&CK for Enterprise: names and numbers of the tactics, and the shape of a technique's number.

/// (number, name), in the order of the matrix.
const TACTICS: &[(&str, &str)] = &[
    ("TA0043", "Reconnaissance"),
    ("TA0042", "Resource Development"),
    ("TA0001", "Initial Access"),
    ("TA0002", "Execution"),
    ("TA0003", "Persistence"),
    ("TA0004", "Privilege Escalation"),
    ("TA0005", "Defense Evasion"),
    ("TA0006", "Credential Access"),
    ("TA0007", "Discovery"),
    ("TA0008", "Lateral Movement"),
    ("TA0009", "Collection"),
    ("TA0011", "Command and Control"),
    ("TA0010", "Exfiltration"),
    ("TA0040", "Impact"),
];

/// A tactic; `uid` is missing for one that the matrix does not have.
#[derive(Debug, PartialEq)]
pub(crate) struct Tactic<'a> {
    pub(crate) uid: Option<&'static str>,
    pub(crate) name: &'a str,
}

/// The tactic written as `TA0004`, `Privilege Escalation`, `privilege-escalation` or `privilege_escalation`.
pub(crate) fn tactic(written: &str) -> Tactic<'_> {
    let spaced = written.replace(['-', '_'], " ");
    let known =
        TACTICS.iter().find(|(uid, name)| uid.eq_ignore_ascii_case(written) || name.eq_ignore_ascii_case(&spaced));
    match known {
        Some((uid, name)) => Tactic { uid: Some(*uid), name },
        None => Tactic { uid: None, name: written },
    }
}

/// A technique's number in its usual form, with that of its parent: `t1548.001` is (`T1548`, Some(`T1548.001`)).
pub(crate) fn technique(written: &str) -> (String, Option<String>) {
    let number = written.to_uppercase();
    match number.split_once('.') {
        Some((parent, _)) => (parent.to_owned(), Some(number.clone())),
        None => (number, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tactics_and_techniques_in_all_spellings() {
        for written in ["TA0004", "ta0004", "privilege_escalation", "privilege-escalation", "Privilege Escalation"] {
            assert_eq!(tactic(written), Tactic { uid: Some("TA0004"), name: "Privilege Escalation" }, "{written}");
        }
        assert_eq!(tactic("something new"), Tactic { uid: None, name: "something new" });
        assert_eq!(technique("t1611"), ("T1611".into(), None));
        assert_eq!(technique("T1548.001"), ("T1548".into(), Some("T1548.001".into())));
    }
}
