//! Secrets in command lines are masked before they leave the node.
//!
//! Invariant: what is masked never reaches a row, a log line or an error.

use std::borrow::Cow;

use kerntrail_common::error::chain;
use kerntrail_common::settings::checked;
use regex::{Captures, Regex, RegexSet};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// Replaces a secret.
const MASK: &str = "***";

/// Names whose value is a secret, at the end of an option's, a variable's or a header's name.
const NAMES: &str = "password|passwd|passphrase|secret|token|credentials?|api[-_]?key|access[-_]?key|secret[-_]?key|private[-_]?key|client[-_]?secret";

/// Programs and those of their options whose value is a secret, though the option's name does not say so.
const OPTIONS: &[(&[&str], &[&str])] = &[
    (&["sshpass", "mysql", "mysqldump", "mysqladmin", "mariadb"], &["-p"]),
    (&["curl"], &["-u", "--user", "--proxy-user", "-U"]),
    (&["redis-cli"], &["-a"]),
    (&["ldapsearch", "ldapmodify", "ldapadd", "ldapdelete"], &["-w"]),
    (&["openssl"], &["-passin", "-passout", "-pass"]),
];

/// Options of `OPTIONS` whose value is attached only (`-pSECRET`), never the next argument.
const ATTACHED_ONLY: &[&str] = &["mysql", "mysqldump", "mysqladmin", "mariadb"];

/// Which texts are secrets.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(transparent)]
pub struct MaskConfig {
    /// Whether anything is masked; not a setting.
    #[serde(skip, default = "yes")]
    pub enabled: bool,
    /// Whether the built-in rules apply; not a setting.
    #[serde(skip, default = "yes")]
    pub defaults: bool,
    /// Further rules: regular expressions over one argument; the group `secret`, or else the whole match, is masked.
    #[serde(deserialize_with = "patterns")]
    pub patterns: Vec<String>,
}

fn yes() -> bool {
    true
}

fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    checked(deserializer, |patterns: &Vec<String>| {
        if patterns.iter().any(String::is_empty) {
            return Err("an empty expression would mask everything".to_owned());
        }
        patterns.iter().try_for_each(|pattern| compile(pattern).map(drop)).map_err(|error| chain(&error).to_string())
    })
}

impl Default for MaskConfig {
    fn default() -> Self {
        Self { enabled: true, defaults: true, patterns: Vec::new() }
    }
}

/// A rule that is not a regular expression.
#[derive(Debug, thiserror::Error)]
#[error("mask rule {pattern:?} is not a regular expression")]
pub struct BadRule {
    pattern: String,
    #[source]
    source: regex::Error,
}

/// Masks secrets.
#[derive(Debug)]
pub struct Mask {
    /// Which of `rules` can match, in one pass.
    any: RegexSet,
    rules: Vec<Regex>,
    /// An option whose value is the next argument.
    option: Option<Regex>,
}

impl Mask {
    /// Compiles the rules.
    ///
    /// Errors: one of `config.patterns` is not a regular expression.
    pub fn new(config: &MaskConfig) -> Result<Self, BadRule> {
        let mut patterns = Vec::new();
        if config.enabled && config.defaults {
            patterns.extend(default_patterns());
        }
        if config.enabled {
            patterns.extend(config.patterns.iter().cloned());
        }
        let rules = patterns.iter().map(|pattern| compile(pattern)).collect::<Result<Vec<_>, _>>()?;
        let any = RegexSet::new(&patterns).map_err(|source| BadRule { pattern: patterns.join(" "), source })?;
        let builtin = config.enabled && config.defaults;
        let option = builtin.then(|| compile(&format!("(?i)^--?(?:[a-z0-9._-]*[-_.])?(?:{NAMES})$"))).transpose()?;
        Ok(Self { any, rules, option })
    }

    /// `args` without their secrets; argv[0] says which program's options are meant.
    pub fn args(&self, args: &[String]) -> Vec<String> {
        let mut next_is_secret = false;
        let program = args.first().map_or("", |name| base_name(name));
        let mut masked = Vec::with_capacity(args.len());
        for arg in args {
            let own = self.is_option(program, arg);
            // `--password --token x`: the first one had no value.
            let secret = next_is_secret && !(own && arg.starts_with("--"));
            masked.push(if secret {
                MASK.to_owned()
            } else {
                self.attached(program, arg).unwrap_or_else(|| self.text(arg).into_owned())
            });
            next_is_secret = own && !secret;
        }
        masked
    }

    /// `text` without its secrets.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for rule in self.any.matches(&text.clone()) {
            if let Cow::Owned(masked) = self.rules[rule].replace_all(&text, mask_secret) {
                text = Cow::Owned(masked);
            }
        }
        text
    }

    /// Whether the argument after `arg` is a secret.
    fn is_option(&self, program: &str, arg: &str) -> bool {
        let Some(option) = &self.option else { return false };
        option.is_match(arg) || (!ATTACHED_ONLY.contains(&program) && options_of(program).any(|known| known == arg))
    }

    /// `-pSECRET` of the programs that know it.
    fn attached(&self, program: &str, arg: &str) -> Option<String> {
        self.option.as_ref()?;
        let short = options_of(program).find(|option| option.len() == 2 && arg.len() > 2 && arg.starts_with(option))?;
        Some(format!("{short}{MASK}"))
    }
}

/// Replaces the group `secret` of a match, or all of it.
fn mask_secret(found: &Captures<'_>) -> String {
    let all = found.get_match();
    let secret = found.name("secret").unwrap_or(all);
    let before = &all.as_str()[..secret.start() - all.start()];
    let after = &all.as_str()[secret.end() - all.start()..];
    format!("{before}{MASK}{after}")
}

fn default_patterns() -> Vec<String> {
    vec![
        // "secret": "x", PASSWORD='x', --password=x, ?api_key=x
        format!(r#"(?i)(?:{NAMES})["']?\s*[=:]\s*"(?P<secret>[^"]+)"#),
        format!(r#"(?i)(?:{NAMES})["']?\s*[=:]\s*'(?P<secret>[^']+)"#),
        format!(r#"(?i)(?:{NAMES})["']?(?:=|:\s*)(?P<secret>[^\s"'&;,|]+)"#),
        // --password x inside the text of `sh -c`
        format!(r#"(?i)(?:^|\s)--?(?:[a-z0-9._-]*[-_.])?(?:{NAMES})\s+["']?(?P<secret>[^\s"'-][^\s"']*)"#),
        // Authorization: Bearer x
        r"(?i)\b(?:bearer|basic)\s+(?P<secret>[a-z0-9._~+/=-]{8,})".into(),
        // scheme://user:x@host
        r#"(?i)\b[a-z][a-z0-9+.-]*://[^/\s:@"']*:(?P<secret>[^@\s"']+)@"#.into(),
        // JSON web tokens, GitHub, GitLab and Slack tokens
        r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*".into(),
        r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{20,}|xox[abprs]-[A-Za-z0-9-]{10,})"
            .into(),
    ]
}

fn compile(pattern: &str) -> Result<Regex, BadRule> {
    Regex::new(pattern).map_err(|source| BadRule { pattern: pattern.to_owned(), source })
}

fn options_of(program: &str) -> impl Iterator<Item = &'static str> {
    OPTIONS
        .iter()
        .filter(move |(programs, _)| programs.contains(&program))
        .flat_map(|(_, options)| options.iter().copied())
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(args: &[&str]) -> Vec<String> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        Mask::new(&MaskConfig::default()).unwrap().args(&args)
    }

    #[test]
    fn secrets_are_masked() {
        let cases: &[(&[&str], &[&str])] = &[
            (&["app", "--password=hunter2"], &["app", "--password=***"]),
            (&["app", "--password", "hunter2", "-v"], &["app", "--password", "***", "-v"]),
            (&["app", "--db-password", "-starts-with-dash"], &["app", "--db-password", "***"]),
            (&["app", "--password", "--token", "t"], &["app", "--password", "--token", "***"]),
            (&["kubectl", "--token=abc.def", "get", "pods"], &["kubectl", "--token=***", "get", "pods"]),
            (&["env", "AWS_SECRET_ACCESS_KEY=wJalr", "aws"], &["env", "AWS_SECRET_ACCESS_KEY=***", "aws"]),
            (&["sh", "-c", "export DB_PASSWORD='a b'; run"], &["sh", "-c", "export DB_PASSWORD='***'; run"]),
            (&["sh", "-c", "app --password x y"], &["sh", "-c", "app --password *** y"]),
            (&["curl", "-H", "Authorization: Bearer abcdefgh12345"], &["curl", "-H", "Authorization: Bearer ***"]),
            (&["curl", "-H", "X-Api-Key: 12345"], &["curl", "-H", "X-Api-Key: ***"]),
            (&["curl", "-u", "alice:pw", "https://h/"], &["curl", "-u", "***", "https://h/"]),
            (&["curl", "https://u:pw@h/?token=t&x=1"], &["curl", "https://u:***@h/?token=***&x=1"]),
            (&["curl", "-d", r#"{"password": "p w", "a": 1}"#], &["curl", "-d", r#"{"password": "***", "a": 1}"#]),
            (
                &["git", "clone", "https://x:ghp_0123456789abcdefghijkl@github.com/a"],
                &["git", "clone", "https://x:***@github.com/a"],
            ),
            (&["/usr/bin/mysql", "-phunter2", "-u", "root", "db"], &["/usr/bin/mysql", "-p***", "-u", "root", "db"]),
            (&["mysql", "-p", "db"], &["mysql", "-p", "db"]),
            (&["sshpass", "-p", "pw", "ssh", "host"], &["sshpass", "-p", "***", "ssh", "host"]),
            (&["psql", "postgres://app:s3cret@db:5432/x"], &["psql", "postgres://app:***@db:5432/x"]),
            (&["x", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"], &["x", "***"]),
        ];
        for (args, expected) in cases {
            assert_eq!(masked(args), *expected);
        }
    }

    #[test]
    fn other_arguments_are_not_masked() {
        let cases: &[&[&str]] = &[
            &["ls", "-p", "/etc/passwd"],
            &["cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"],
            &["curl", "https://example.com:8443/a?b=c"],
            &["app", "--password-file", "/run/pw"],
            &["nsenter", "-t", "1", "-m", "--", "bash"],
            &["ssh", "-p", "22", "host"],
            &["docker", "run", "-p", "8080:80", "nginx"],
            &["openssl", "req", "-keyout", "k.pem"],
            &["tokenize", "--input", "a"],
        ];
        for args in cases {
            assert_eq!(masked(args), *args);
        }
    }

    #[test]
    fn rules_from_the_configuration_are_applied() {
        let config = MaskConfig {
            patterns: vec!["card-[0-9]+".into(), "pin (?P<secret>[0-9]+)".into()],
            ..MaskConfig::default()
        };
        let mask = Mask::new(&config).unwrap();
        assert_eq!(mask.text("pay card-123 pin 99 now"), "pay *** pin *** now");
        let off = Mask::new(&MaskConfig { enabled: false, ..config.clone() }).unwrap();
        assert_eq!(off.args(&["a".into(), "--password=x".into()]), ["a", "--password=x"]);
        let own = Mask::new(&MaskConfig { defaults: false, ..config }).unwrap();
        assert_eq!(own.args(&["a".into(), "--password=x".into(), "card-1".into()]), ["a", "--password=x", "***"]);
        let wrong = Mask::new(&MaskConfig { patterns: vec!["(".into()], ..MaskConfig::default() }).unwrap_err();
        assert!(wrong.to_string().contains("\"(\""), "{wrong}");
    }
}
