//! "Did you mean": the known names that are nearest to a misspelt one.

/// Names suggested at most.
const OFFERED: usize = 3;

/// `; did you mean `a` or `b`?` with the `known` names nearest to `wrong`, to append to an error; empty when none is near.
pub fn did_you_mean<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = nearest(wrong, known).iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => format!("; did you mean {only}?"),
        Some((last, others)) => format!("; did you mean {} or {last}?", others.join(", ")),
    }
}

/// The `known` name of which `name` is probably a misspelling: the nearest within `edits` inserted, deleted, replaced
/// or swapped letters; `None` if there is no such name, or `name` is known.
pub fn typo_of<'a>(name: &str, known: impl IntoIterator<Item = &'a str>, edits: usize) -> Option<&'a str> {
    let near = known.into_iter().map(|right| (strsim::damerau_levenshtein(name, right), right));
    let nearest = near.min_by_key(|(distance, _)| *distance);
    nearest.filter(|(distance, _)| (1..=edits).contains(distance)).map(|(_, right)| right)
}

/// The nearest names, shortest first: those that contain `wrong` as a whole word, else those with the smallest edit
/// distance (at most a third of its letters) when case is ignored. Case decides between names of equal distance.
fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let allowed = (wrong.chars().count() / 3).max(1);
    let near = known.into_iter().map(|name| (distance(wrong, name), name.len(), name));
    let mut near: Vec<((usize, usize), usize, &str)> = near.filter(|((letters, _), ..)| *letters <= allowed).collect();
    near.sort_unstable();
    near.dedup();
    let least = near.first().map(|(distance, ..)| *distance);
    near.into_iter().filter(|(distance, ..)| Some(*distance) == least).map(|(.., name)| name).take(OFFERED).collect()
}

/// Edit distance without regard to case, then with it.
fn distance(wrong: &str, name: &str) -> (usize, usize) {
    let (lower_wrong, lower_name) = (wrong.to_lowercase(), name.to_lowercase());
    match contains_whole(&lower_name, &lower_wrong) {
        true => (0, 0),
        false => (strsim::damerau_levenshtein(&lower_wrong, &lower_name), strsim::damerau_levenshtein(wrong, name)),
    }
}

/// Whether `part`, three bytes or more, is a whole word of `name`: `file` in `file_name`, `max_size` in `log.max_size`.
fn contains_whole(name: &str, part: &str) -> bool {
    let is_end = |character: Option<char>| character.is_none_or(|character| !character.is_alphanumeric());
    part.len() >= 3
        && name
            .match_indices(part)
            .any(|(at, _)| is_end(name[..at].chars().next_back()) && is_end(name[at + part.len()..].chars().next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names() {
        let known = [
            "cmd_line",
            "container_id",
            "container_name",
            "pod_name",
            "pid",
            "pod_uid",
            "lake.flush_interval",
            "Image",
            "image",
        ];
        for (wrong, offered) in [
            ("cmdline", vec!["cmd_line"]),
            ("CMD_LINE", vec!["cmd_line"]),
            ("container", vec!["container_id", "container_name"]),
            ("zebra_crossing", vec![]),
            ("podname", vec!["pod_name"]),
            ("pod", vec!["pod_uid", "pod_name"]),
            ("pd", vec!["pid"]),
            ("Imag", vec!["Image"]),
            ("lake.flush_intervall", vec!["lake.flush_interval"]),
            ("flush_interval", vec!["lake.flush_interval"]),
            ("", vec![]),
        ] {
            assert_eq!(nearest(wrong, known), offered, "{wrong}");
        }
    }

    #[test]
    fn typing_errors() {
        let known = ["level", "title", "tags"];
        for (name, edits, right) in [
            ("levle", 1, Some("level")),
            ("tilte", 2, Some("title")),
            ("ttl", 1, None),
            ("ttl", 2, Some("title")),
            ("Title", 1, Some("title")),
            ("tags", 2, None),
            ("port", 2, None),
        ] {
            assert_eq!(typo_of(name, known, edits), right, "{name} {edits}");
        }
    }

    #[test]
    fn wording() {
        for (known, said) in [
            (vec![], ""),
            (vec!["pod_a"], "; did you mean `pod_a`?"),
            (vec!["pod_a", "pod_b"], "; did you mean `pod_a` or `pod_b`?"),
            (vec!["pod_a", "pod_b", "pod_c", "pod_d"], "; did you mean `pod_a`, `pod_b` or `pod_c`?"),
        ] {
            assert_eq!(did_you_mean("pod", known), said);
        }
    }
}
