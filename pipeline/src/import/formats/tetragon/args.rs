//! Tetragon's one-line `arguments`, split again.
//!
//! Tetragon joins the arguments after argv[0] with single spaces and puts double quotes around each that has a space,
//! without escaping quotes inside. So most lines can be split exactly; these cannot:
//! - an argument with both a space and a quote before another space (`a" b`) ends at that quote;
//! - a first argument that is empty is not in the line at all;
//! - argv[0] is not in the export: the program's name stands for it, as a shell would have it.

/// The name of the program at `path`, and the arguments that `line` shows, in order.
pub(super) fn split(path: &str, line: &str) -> Vec<String> {
    let mut args = vec![path.rsplit('/').next().unwrap_or(path).to_owned()];
    if line.is_empty() {
        return args;
    }
    // A quoted first argument is joined to the empty line before it.
    let mut rest = match line.strip_prefix(' ') {
        Some(quoted) if quoted.starts_with('"') => quoted,
        _ => line,
    };
    loop {
        let length = quoted_length(rest).unwrap_or_else(|| rest.find(' ').unwrap_or(rest.len()));
        let (arg, after) = rest.split_at(length);
        args.push(unquoted(arg).to_owned());
        match after.strip_prefix(' ') {
            Some(next) => rest = next,
            None => return args,
        }
    }
}

/// Length of the quoted argument, with quotes, that `text` starts with.
fn quoted_length(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('"')?;
    let ends = inside.match_indices('"').map(|(at, _)| at);
    let mut ends = ends.filter(|at| matches!(inside.as_bytes().get(at + 1), None | Some(b' ')));
    // Quotes around what holds no space are part of the argument: Tetragon would not have put them there.
    let end = ends.find(|at| inside[..*at].contains(' '))?;
    let first_space = inside.find(' ')?;
    // `"a" b "c"`: the quote after a closes nothing, but a space follows it, so the argument was quoted by its user.
    (inside[..first_space].find('"').is_none_or(|quote| quote + 1 != first_space)).then_some(end + 2)
}

fn unquoted(arg: &str) -> &str {
    let inside = arg.strip_prefix('"').and_then(|arg| arg.strip_suffix('"'));
    inside.filter(|inside| inside.contains(' ')).unwrap_or(arg)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Tetragon makes of arguments.
    fn joined(args: &[&str]) -> String {
        args.iter().fold(String::new(), |line, arg| match arg.contains(' ') {
            true => format!("{line} \"{arg}\""),
            false if line.is_empty() => (*arg).to_owned(),
            false => format!("{line} {arg}"),
        })
    }

    #[test]
    fn lines_that_can_be_split_unambiguously() {
        let cases: &[&[&str]] = &[
            &[],
            &["-c", "nsenter -t 1 -a /bin/bash && sleep infinity;"],
            &["a b"],
            &["a b", "c d", "e"],
            &["a", "", "b"],
            &["a", ""],
            &["\"quoted\""],
            &["\"quoted\"", "b", "\"c\""],
            &["-c", "echo \"x\""],
            &["say \"hi\"now please"],
            &["it's", "$HOME", "ü é"],
            &["--x=\"y\"", "z"],
            &["a\nb", "c\td e"],
            &["\""],
            &[" "],
            &["x", " lead", "trail "],
        ];
        for args in cases {
            let expected: Vec<&str> = std::iter::once("x").chain(args.iter().copied()).collect();
            assert_eq!(split("/bin/x", &joined(args)), expected, "{args:?} {:?}", joined(args));
        }
    }

    #[test]
    fn lines_that_cannot_be_split_unambiguously() {
        let cases: &[(&[&str], &[&str])] = &[(&["", "a"], &["a"]), (&["echo \"a b\" c"], &["echo \"a b", "c\""])];
        for (args, got) in cases {
            let line = joined(args);
            assert_eq!(split("x", &line)[1..], got.iter().map(ToString::to_string).collect::<Vec<_>>(), "{line}");
        }
    }
}
