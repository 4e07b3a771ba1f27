//! Sentence templates that are filled from a row.

/// Names in sentences that are not columns; the code that prints a sentence computes their values.
pub const COMPUTED: &[(&str, &str)] = &[
    ("program", "command line, path or name of the actor, the first that is known"),
    ("notes", "what is unusual about a program: in memory only, standard input is a socket"),
    ("ended", "how a process ended: exit status or signal"),
    ("source", "address and port that opened a connection"),
    ("destination", "address and port that a connection was opened to"),
    ("listener", "address and port that a process listens on"),
    ("traffic", "bytes and duration of a connection, after a comma"),
    ("rule", "name of a rule, or its id"),
    ("techniques", "MITRE ATT&CK techniques of a rule"),
    ("until", "time of day when events stopped being lost"),
];

/// A sentence about a row, such as `mount[ {source_path}] on {target_path|an unknown path}`.
///
/// `{name}` stands for the value called `name`: a column, or a value that the renderer computes ([`COMPUTED`]).
/// `{name|words}` stands for `words` where the value is missing. A part in `[` and `]` is left out when a value in
/// it is missing; `[[` is a bracket, and so is a `]` that closes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sentence(pub &'static str);

impl Sentence {
    /// The sentence with the values that `value_of` knows.
    pub fn fill(self, value_of: impl Fn(&str) -> Option<String>) -> String {
        let mut text = String::with_capacity(self.0.len() + 32);
        // Where the optional part began, and whether all its values are there.
        let mut optional: Option<(usize, bool)> = None;
        for part in Parts(self.0) {
            match part {
                Part::Words(words) => text.push_str(words),
                Part::Value { name, otherwise } => match value_of(name) {
                    Some(value) => text.push_str(&value),
                    None => {
                        text.push_str(otherwise.unwrap_or_default());
                        optional = optional.map(|(start, whole)| (start, whole && otherwise.is_some()));
                    }
                },
                Part::Open => optional = Some((text.len(), true)),
                Part::Close => match optional.take() {
                    Some((start, false)) => text.truncate(start),
                    Some((_, true)) => {}
                    None => text.push(']'),
                },
            }
        }
        text
    }

    /// Names of the values in it, in order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Parts(self.0).filter_map(|part| match part {
            Part::Value { name, .. } => Some(name),
            _ => None,
        })
    }
}

enum Part {
    Words(&'static str),
    Value { name: &'static str, otherwise: Option<&'static str> },
    Open,
    Close,
}

/// Parses a sentence; holds the rest of it.
struct Parts(&'static str);

impl Iterator for Parts {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let (part, rest) = match self.0.chars().next()? {
            '[' if self.0.starts_with("[[") => (Part::Words("["), &self.0[2..]),
            '[' => (Part::Open, &self.0[1..]),
            ']' => (Part::Close, &self.0[1..]),
            '{' => {
                let (inside, rest) = self.0[1..].split_once('}').unwrap_or((&self.0[1..], ""));
                let (name, otherwise) = match inside.split_once('|') {
                    Some((name, otherwise)) => (name, Some(otherwise)),
                    None => (inside, None),
                };
                (Part::Value { name, otherwise }, rest)
            }
            _ => {
                let end = self.0.find(['[', ']', '{']).unwrap_or(self.0.len());
                (Part::Words(&self.0[..end]), &self.0[end..])
            }
        };
        self.0 = rest;
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_optional_parts_left_out() {
        let value_of = |name: &str| match name {
            "a" => Some("A".to_owned()),
            "b" => Some("B".to_owned()),
            _ => None,
        };
        for (sentence, expected) in [
            ("words only", "words only"),
            ("{a}", "A"),
            ("x {none} y", "x  y"),
            ("{none|nobody} and {a|x}", "nobody and A"),
            ("do[ {a}][ to {none}]", "do A"),
            ("do[ {a} to {none}] it", "do it"),
            ("do[ {none} to {a}] it", "do it"),
            ("do[ {a} to {none|all}]", "do A to all"),
            ("in [[{a}, {b}]", "in [A, B]"),
            ("in[ [[{a}]", "in [A"),
        ] {
            assert_eq!(Sentence(sentence).fill(value_of), expected, "{sentence}");
        }
    }

    #[test]
    fn names_are_those_of_the_placeholders() {
        let sentence = Sentence("mount[ {source}] on {target|a path}");
        assert_eq!(sentence.names().collect::<Vec<_>>(), ["source", "target"]);
    }
}
