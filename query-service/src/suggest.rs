//! The names that someone may have meant.

/// Names offered at most.
const OFFERED: usize = 3;

/// The `known` names nearest to `wrong`, best first: those that have it as a word, then those of a few letters' difference.
pub(crate) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let wrong = wrong.to_lowercase();
    let allowed = (wrong.chars().count() / 3).max(1);
    let mut found: Vec<(usize, String)> = known
        .map(|name| match contains_whole(name, &wrong) {
            true => (0, name),
            false => (strsim::damerau_levenshtein(&wrong, &name.to_lowercase()), name),
        })
        .filter(|(distance, _)| *distance <= allowed)
        .map(|(distance, name)| (distance, name.to_owned()))
        .collect();
    found.sort();
    found.dedup();
    found.truncate(OFFERED);
    found.into_iter().map(|(_, name)| name).collect()
}

/// Whether `part`, three characters or more, is a word of `name`: `container` in `container_id`.
fn contains_whole(name: &str, part: &str) -> bool {
    part.len() >= 3 && name.split('_').any(|word| word == part)
}

/// `; did you mean "a" or "b"?`, empty without names.
pub(crate) fn did_you_mean(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => format!("; did you mean {only}?"),
        Some((last, others)) => format!("; did you mean {} or {last}?", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered() {
        let known = ["cmd_line", "container_id", "container_name", "pod_name", "pid", "pod_uid"];
        for (wrong, offered) in [
            ("cmdline", vec!["cmd_line"]),
            ("CMD_LINE", vec!["cmd_line"]),
            ("container", vec!["container_id", "container_name"]),
            ("zebra_crossing", vec![]),
            ("podname", vec!["pod_name"]),
            ("pod", vec!["pod_name", "pod_uid", "pid"]),
        ] {
            assert_eq!(nearest(wrong, known.into_iter())[..offered.len()], offered, "{wrong}");
            assert!(!offered.is_empty() || nearest(wrong, known.into_iter()).is_empty(), "{wrong}");
        }
        assert_eq!(did_you_mean(&["a".into(), "b".into(), "c".into()]), "; did you mean \"a\", \"b\" or \"c\"?");
    }
}
