//! The names that someone may have meant.

/// Names offered at most.
const OFFERED: usize = 3;

/// `; did you mean `a` or `b`?` with those of the `known` names that are nearest to `wrong`; empty when none is near.
pub fn did_you_mean<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = nearest(wrong, known).iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => format!("; did you mean {only}?"),
        Some((last, others)) => format!("; did you mean {} or {last}?", others.join(", ")),
    }
}

/// The nearest names, the shortest first: those that have `wrong` whole between separators, else those of the fewest
/// letters' difference, which may be a third of its letters; of these, where they differ in case only, the nearest.
fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let allowed = (wrong.chars().count() / 3).max(1);
    let near = known.into_iter().map(|name| (distance(wrong, name), name.len(), name));
    let mut near: Vec<((usize, usize), usize, &str)> = near.filter(|((letters, _), ..)| *letters <= allowed).collect();
    near.sort_unstable();
    near.dedup();
    let least = near.first().map(|(distance, ..)| *distance);
    near.into_iter().filter(|(distance, ..)| Some(*distance) == least).map(|(.., name)| name).take(OFFERED).collect()
}

/// The difference whatever the case, then that with it.
fn distance(wrong: &str, name: &str) -> (usize, usize) {
    let (lower_wrong, lower_name) = (wrong.to_lowercase(), name.to_lowercase());
    match contains_whole(&lower_name, &lower_wrong) {
        true => (0, 0),
        false => (strsim::damerau_levenshtein(&lower_wrong, &lower_name), strsim::damerau_levenshtein(wrong, name)),
    }
}

/// Whether `part`, three bytes or more, stands between separators in `name`: `container` in `container_id`,
/// `flush_interval` in `lake.flush_interval`.
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
    fn what_is_offered() {
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
    fn how_it_is_said() {
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
