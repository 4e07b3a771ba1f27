//! The words of a shell's commands, as far as quotes and separators go: nothing is expanded.
//!
//! Source: POSIX, Shell Command Language, 2.2 "Quoting" and 2.3 "Token Recognition".

use std::ops::Range;

/// A word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Without its quotes.
    pub(super) text: String,
    /// Where it is, with its quotes.
    pub(super) range: Range<usize>,
    /// Whether it is written as it is.
    pub(super) is_plain: bool,
}

/// The words of each simple command in `text`.
pub(super) fn commands(text: &str) -> Vec<Vec<Word>> {
    let (mut commands, mut command) = (Vec::new(), Vec::new());
    let mut word: Option<Word> = None;
    let mut quote = None;
    let mut chars = text.char_indices().peekable();
    while let Some((place, char)) = chars.next() {
        let is_end = quote.is_none() && (char.is_whitespace() || matches!(char, ';' | '|' | '&' | '(' | ')'));
        if is_end {
            command.extend(word.take());
            if !matches!(char, ' ' | '\t') && !command.is_empty() {
                commands.push(std::mem::take(&mut command));
            }
            continue;
        }
        let end = place + char.len_utf8();
        let current = word.get_or_insert_with(|| Word { text: String::new(), range: place..end, is_plain: true });
        current.range.end = end;
        match (quote, char) {
            (None, '\'' | '"') => (quote, current.is_plain) = (Some(char), false),
            (Some(open), close) if open == close => quote = None,
            (None | Some('"'), '\\') => {
                current.is_plain = false;
                if let Some((place, escaped)) = chars.next() {
                    current.text.push(escaped);
                    current.range.end = place + escaped.len_utf8();
                }
            }
            (_, char) => current.text.push(char),
        }
    }
    command.extend(word);
    commands.extend((!command.is_empty()).then_some(command));
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_commands() {
        let cases: &[(&str, &[&[&str]])] = &[
            ("a b  c", &[&["a", "b", "c"]]),
            ("a 'b c' \"d e\"f; g|h && (i)", &[&["a", "b c", "d ef"], &["g"], &["h"], &["i"]]),
            ("a\\ b \"c\\\"d\" 'e\\'", &[&["a b", "c\"d", "e\\"]]),
            ("a 'open", &[&["a", "open"]]),
            ("ä\nö", &[&["ä"], &["ö"]]),
            ("", &[]),
            (" ; ", &[]),
        ];
        for (text, expected) in cases {
            let found = commands(text);
            let texts: Vec<Vec<&str>> =
                found.iter().map(|words| words.iter().map(|word| word.text.as_str()).collect()).collect();
            assert_eq!(texts, *expected, "{text}");
            assert!(found.iter().flatten().all(|word| !word.is_plain || text[word.range.clone()] == word.text));
        }
    }
}
