//! Arguments as one line, quoted as a POSIX shell needs it.
//!
//! Source: POSIX Shell Command Language, section 2.2, and bash's `$'...'` (POSIX.1-2024, 2.2.4). `shlex` and
//! `shell-words` leave line breaks as they are, so one command would become several lines of a log, and `shell-words`
//! quotes every `--key=value`.

/// `args` joined by spaces, each quoted where a shell would otherwise split, expand or drop it.
///
/// A line break or another control character is escaped (`$'a\nb'`), so that the result is always one line.
pub fn quoted<S: AsRef<str>>(args: &[S]) -> String {
    let mut line = String::with_capacity(args.iter().map(|arg| arg.as_ref().len() + 1).sum());
    for (index, arg) in args.iter().enumerate() {
        if index > 0 {
            line.push(' ');
        }
        quote(arg.as_ref(), &mut line);
    }
    line
}

fn quote(arg: &str, line: &mut String) {
    // A leading tilde stands for a home directory.
    if !arg.is_empty() && !arg.starts_with('~') && arg.chars().all(is_plain) {
        line.push_str(arg);
    } else if arg.chars().any(char::is_control) {
        line.push_str("$'");
        arg.chars().for_each(|character| escape(character, line));
        line.push('\'');
    } else {
        line.push('\'');
        line.push_str(&arg.replace('\'', r"'\''"));
        line.push('\'');
    }
}

fn is_plain(character: char) -> bool {
    character.is_alphanumeric() || "_-+=./:,@%^~".contains(character)
}

fn escape(character: char, line: &mut String) {
    match character {
        '\'' | '\\' => line.extend(['\\', character]),
        '\n' => line.push_str(r"\n"),
        '\t' => line.push_str(r"\t"),
        '\r' => line.push_str(r"\r"),
        c if c.is_control() && c.is_ascii() => line.push_str(&format!(r"\x{:02x}", u32::from(c))),
        c if c.is_control() => line.push_str(&format!(r"\u{:04x}", u32::from(c))),
        c => line.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_as_a_shell_needs_it() {
        let cases: &[(&[&str], &str)] = &[
            (&[], ""),
            (&["ls", "-la", "/etc"], "ls -la /etc"),
            (&["sh", "-c", "a b"], "sh -c 'a b'"),
            (&["echo", ""], "echo ''"),
            (&["echo", "it's"], r"echo 'it'\''s'"),
            (&["sh", "-c", "id; it's", ""], r"sh -c 'id; it'\''s' ''"),
            (&["echo", "$HOME", "a*"], "echo '$HOME' 'a*'"),
            (&["ls", "~", "~root", "a~", "--x=y"], "ls '~' '~root' a~ --x=y"),
            (&["printf", "a\nb'\\\x07"], r"printf $'a\nb\'\\\x07'"),
            (&["echo", "ümläut", "\u{85}"], r"echo ümläut $'\u0085'"),
        ];
        for (args, expected) in cases {
            assert_eq!(quoted(args), *expected);
        }
    }

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        let args = [
            "a b",
            "",
            "it's",
            "$HOME `id` \\ \"x\"",
            "~",
            "*?[a]",
            "#!{1,2}|&;<>()",
            "tab\there",
            "line\nbreak\u{7f}",
        ];
        let script = format!("printf '%s\\0' {}", quoted(&args));
        let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
        let read: Vec<&[u8]> = output.stdout.strip_suffix(b"\0").unwrap().split(|byte| *byte == 0).collect();
        assert_eq!(read, args.map(str::as_bytes), "{script}");
    }
}
