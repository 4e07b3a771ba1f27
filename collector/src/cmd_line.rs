//! Arguments in one line, for people.

/// `args` joined by spaces, each quoted as a POSIX shell needs it; `None` where there are none.
///
/// A line break or another control character is shown escaped (`$'a\nb'`), so that the line stays one line.
pub(crate) fn shown(args: &[String]) -> Option<String> {
    if args.is_empty() {
        return None;
    }
    let mut line = String::with_capacity(args.iter().map(|arg| arg.len() + 1).sum());
    for (place, arg) in args.iter().enumerate() {
        if place > 0 {
            line.push(' ');
        }
        quote(arg, &mut line);
    }
    Some(line)
}

fn quote(arg: &str, line: &mut String) {
    if !arg.is_empty() && arg.chars().all(is_plain) {
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
        let cases: &[(&[&str], Option<&str>)] = &[
            (&[], None),
            (&["ls", "-la", "/etc"], Some("ls -la /etc")),
            (&["sh", "-c", "a b"], Some("sh -c 'a b'")),
            (&["echo", ""], Some("echo ''")),
            (&["echo", "it's"], Some(r"echo 'it'\''s'")),
            (&["echo", "$HOME", "a*"], Some("echo '$HOME' 'a*'")),
            (&["printf", "a\nb'\\\x07"], Some(r"printf $'a\nb\'\\\x07'")),
            (&["echo", "ümläut", "\u{85}"], Some(r"echo ümläut $'\u0085'")),
        ];
        for (args, expected) in cases {
            let args: Vec<String> = args.iter().map(ToString::to_string).collect();
            assert_eq!(shown(&args).as_deref(), *expected);
        }
    }
}
