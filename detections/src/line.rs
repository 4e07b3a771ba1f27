//! Line numbers, from 1, of what an error message is about.

/// The documents of a YAML stream, each with the line on which it begins.
pub(crate) fn documents(text: &str) -> Vec<(usize, &str)> {
    let is_marker = |line: &str| line.trim_end() == "---" || line.starts_with("--- ");
    let (mut documents, mut begin, mut begin_line, mut at) = (Vec::new(), 0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        at += line.len();
        if is_marker(line) {
            documents.push((begin_line, &text[begin..at - line.len()]));
            (begin, begin_line) = (at, index + 2);
        }
    }
    documents.push((begin_line, &text[begin..]));
    documents
}

/// Line of the title of the rule `title`; 1 when it is not found.
pub(crate) fn of_rule(text: &str, title: &str) -> usize {
    lines(text).find(|(_, line)| is_title(line, title)).map_or(1, |(number, _)| number)
}

/// Line of the key `key`, with or without modifiers, in the rule `title`; that of the title when it is not found.
pub(crate) fn of_key(text: &str, title: &str, key: &str) -> usize {
    let begin = of_rule(text, title);
    lines(text).skip(begin).find(|(_, line)| is_key(line, key)).map_or(begin, |(number, _)| number)
}

/// Line on which the key `key` first stands; 1 when it is not found.
pub(crate) fn of_first_key(text: &str, key: &str) -> usize {
    lines(text).find(|(_, line)| is_key(line, key)).map_or(1, |(number, _)| number)
}

/// Lines on which the items of the list `text` begin, in block style.
pub(crate) fn of_items(text: &str) -> Vec<usize> {
    let is_item = |line: &str| line == "-" || line.starts_with("- ");
    text.lines().enumerate().filter(|(_, line)| is_item(line)).map(|(index, _)| index + 1).collect()
}

/// Line of `document` that the parser's `reason` is about: that of the condition, or of the first word it quotes.
pub(crate) fn of_reason(document: &str, reason: &str) -> usize {
    if reason.starts_with("Condition") {
        return of_first_key(document, "condition");
    }
    let Some(word) = reason.split('\'').nth(1).filter(|word| !word.is_empty()) else { return 1 };
    lines(document).find(|(_, line)| line.contains(word)).map_or(1, |(number, _)| number)
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line.trim_start()))
}

fn is_title(line: &str, title: &str) -> bool {
    line.strip_prefix("title:").is_some_and(|rest| rest.contains(title))
}

/// Whether `line` has the key `key`, in block or in flow style: `key: x` or `{a: b, key: x}`.
fn is_key(line: &str, key: &str) -> bool {
    let mut parts = line.split(['{', ',']).map(|part| part.trim_start_matches(['-', ' ']));
    parts.any(|part| part.strip_prefix(key).is_some_and(|rest| rest.starts_with([':', '|'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# two rules\ntitle: a\nlevel: low\n---\ntitle: b\nx:\n  - level|contains: y\n";

    #[test]
    fn keys_in_flow_style() {
        let text = "title: a\ns:\n  - {pid: 1, Image|contains: x}\n";
        assert_eq!((of_key(text, "a", "pid"), of_key(text, "a", "Image"), of_key(text, "a", "Imag")), (3, 3, 1));
    }

    #[test]
    fn lines_of_rules_keys_and_reasons() {
        assert_eq!(documents(TEXT).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 5]);
        assert!(documents(TEXT)[1].1.starts_with("title: b\n"));
        assert_eq!((of_rule(TEXT, "a"), of_rule(TEXT, "b"), of_rule(TEXT, "c")), (2, 5, 1));
        assert_eq!((of_key(TEXT, "a", "level"), of_key(TEXT, "b", "level"), of_key(TEXT, "b", "id")), (3, 7, 5));
        let reasons = ["Condition parse error", "Unknown modifier 'contains'", "'' and 'c'", "no mapping"];
        let text = "title: c\nlevel|contains: y\ncondition: x or\n";
        assert_eq!(reasons.map(|reason| of_reason(text, reason)), [3, 2, 1, 1]);
        assert_eq!((of_first_key(TEXT, "x"), of_first_key(TEXT, "level"), of_first_key(TEXT, "y")), (6, 3, 1));
    }
}
