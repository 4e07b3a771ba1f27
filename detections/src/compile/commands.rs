//! Files that a command line names.

/// What `curl -o F`, `curl -O URL`, `wget -O F`, `wget URL`, `kubectl cp A B` write.
pub(super) fn written_path(args: &[String]) -> Option<String> {
    let program = args.first()?.rsplit('/').next()?;
    let rest = &args[1..];
    match program {
        "curl" => after_option(rest, &["-o", "--output"]).or_else(|| {
            let keeps_name = rest.iter().any(|arg| arg == "--remote-name" || (is_short(arg) && arg.contains('O')));
            keeps_name.then(|| url_file(rest)).flatten()
        }),
        "wget" => after_option(rest, &["-O", "--output-document"]).or_else(|| url_file(rest)),
        "kubectl" | "oc" if rest.iter().any(|arg| arg == "cp") => rest.last().cloned(),
        _ => None,
    }
}

/// The script of `sh F`, `python3 -u F`, or of a file that starts with `#!`: the kernel puts the interpreter before it.
pub(super) fn script_path(args: &[String]) -> Option<String> {
    let program = args.first()?.rsplit('/').next()?.trim_start_matches('-');
    let name = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    // Letters of options after which there is code or a module, and of those that take the next argument.
    let (inline, valued) = match name {
        "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" | "fish" => ("cs", "oO"),
        "python" | "pypy" => ("cm", "WX"),
        "perl" | "ruby" => ("eE", "I"),
        "node" | "nodejs" | "lua" => ("ep", "r"),
        "php" => ("rB", "dc"),
        _ => return None,
    };
    let mut rest = args[1..].iter();
    while let Some(arg) = rest.next() {
        match arg.strip_prefix('-') {
            None => return Some(arg.clone()),
            Some("-") => return rest.next().cloned(),
            // Standard input.
            Some("") => return None,
            Some(long) if long.starts_with('-') => {}
            Some(letters) if letters.contains(|letter| inline.contains(letter)) => return None,
            Some(letters) if letters.ends_with(|letter| valued.contains(letter)) => drop(rest.next()),
            Some(_) => {}
        }
    }
    None
}

/// The value of an option: behind it (`-o F`, `-sSo F`), glued to it (`-oF`) or after `=`.
fn after_option(args: &[String], [short, long]: &[&str; 2]) -> Option<String> {
    let letter = short.trim_start_matches('-');
    for (place, arg) in args.iter().enumerate() {
        let next = || args.get(place + 1).cloned();
        if arg == long || (is_short(arg) && arg.ends_with(letter)) {
            return next();
        }
        if let Some(value) = arg.strip_prefix(long).and_then(|rest| rest.strip_prefix('=')) {
            return Some(value.to_owned());
        }
        if let Some(value) = arg.strip_prefix(short).filter(|value| !value.is_empty()) {
            return Some(value.to_owned());
        }
    }
    None
}

fn is_short(arg: &str) -> bool {
    arg.starts_with('-') && !arg.starts_with("--")
}

/// Last part of the first URL's path.
fn url_file(args: &[String]) -> Option<String> {
    let url = args.iter().find(|arg| arg.contains("://"))?;
    let path = url.split("://").nth(1)?.split(['?', '#']).next()?;
    let (_, file) = path.rsplit_once('/')?;
    (!file.is_empty()).then(|| file.to_owned())
}

/// `path`, below `cwd` where it is relative, without `.` and `..`.
pub(super) fn absolute(path: &str, cwd: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{cwd}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_written_by_commands() {
        let cases = [
            ("curl -sSLo /tmp/x http://h/x.sh", Some("/tmp/x")),
            ("/usr/bin/curl http://h/a --output=./b", Some("/w/b")),
            ("curl -o../b http://h/a", Some("/b")),
            ("curl -fsSO https://h/p/tool?x=1", Some("/w/tool")),
            ("curl http://h/a", None),
            ("wget https://h/p/tool", Some("/w/tool")),
            ("wget -qO /tmp/y https://h/p", Some("/tmp/y")),
            ("kubectl -n a cp pod:/x /tmp/z", Some("/tmp/z")),
            ("kubectl get pods", None),
            ("sh -c x", None),
            ("", None),
        ];
        for (command, file) in cases {
            let args: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
            assert_eq!(written_path(&args).map(|path| absolute(&path, "/w")).as_deref(), file, "{command}");
        }
    }

    #[test]
    fn scripts_run_by_interpreters() {
        let cases = [
            ("/bin/sh ./x.sh a b", Some("/w/x.sh")),
            ("/bin/bash -e -x /tmp/x", Some("/tmp/x")),
            ("bash -o pipefail -- x", Some("/w/x")),
            ("-bash x", Some("/w/x")),
            ("python3.11 -u ../x.py --flag", Some("/x.py")),
            ("/usr/bin/perl x.pl", Some("/w/x.pl")),
            ("sh -c /tmp/x", None),
            ("bash -ec /tmp/x", None),
            ("python3 -m http.server", None),
            ("perl -e print", None),
            ("sh -", None),
            ("sh", None),
            ("cat /tmp/x", None),
            ("", None),
        ];
        for (command, file) in cases {
            let args: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
            assert_eq!(script_path(&args).map(|path| absolute(&path, "/w")).as_deref(), file, "{command}");
        }
    }
}
