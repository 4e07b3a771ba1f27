//! Secrets in command lines, masked.
//!
//! A secret is recognized by its name (`--password x`, `TOKEN=x`), by its own form (a JSON web token), or by its place among
//! the arguments of a program that is known ([`programs`]); also in the commands of `sh -c`, and behind `sudo` and the like.

mod programs;
mod words;

use std::borrow::Cow;

use regex::{Captures, Regex, RegexSet};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use self::programs::{Form, RULES, Rule, SHELLS, WRAPPERS};
use crate::error::chain;
use crate::settings::checked;

/// Replaces a secret.
const MASK: &str = "***";

/// Names whose value is a secret, at the end of an option's, a variable's or a header's name.
const NAMES: &str = "password|passwd|passphrase|secret|token|credentials?|api[-_]?key|access[-_]?key|secret[-_]?key|private[-_]?key|client[-_]?secret";

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
    /// A word that is, or ends with, the name of a secret.
    name: Option<Regex>,
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
        let name = builtin.then(|| compile(&format!("(?i)(?:{NAMES})$"))).transpose()?;
        Ok(Self { any, rules, option, name })
    }

    /// `args` without their secrets; argv[0] says which program's arguments are meant.
    pub fn args(&self, args: &[String]) -> Vec<String> {
        let places = self.places(args);
        let shell = self.shell_commands(args);
        let masked = args.iter().zip(places).enumerate().map(|(place, (arg, secret))| match secret {
            Some(kept) => format!("{}{MASK}", &arg[..kept]),
            None if Some(place) == shell => self.text(&self.commands(arg)).into_owned(),
            None => self.text(arg).into_owned(),
        });
        masked.collect()
    }

    /// For each argument that is a secret, how many of its first bytes are none.
    fn places(&self, args: &[String]) -> Vec<Option<usize>> {
        let mut places = vec![None; args.len()];
        let Some(option) = &self.option else { return places };
        let mut next_is_secret = false;
        for (place, arg) in args.iter().enumerate() {
            let own = option.is_match(arg);
            // `--password --token x`: the first one had no value.
            let secret = next_is_secret && !(own && arg.starts_with("--"));
            if secret {
                places[place] = Some(0);
            }
            next_is_secret = own && !secret;
        }
        for start in starts(args) {
            let (program, rest) = (base_name(&args[start]), &args[start + 1..]);
            for rule in RULES.iter().filter(|rule| rule.programs.contains(&program)) {
                for (place, kept) in self.found(rule, rest) {
                    places[start + 1 + place].get_or_insert(kept);
                }
            }
        }
        places
    }

    /// The secrets that `rule` finds among the arguments of its program, each with how many of its first bytes are none.
    fn found(&self, rule: &Rule, args: &[String]) -> Vec<(usize, usize)> {
        let Some(behind) = behind(args, rule.within) else { return Vec::new() };
        // An option without its value asks for it.
        let next = |place: usize| args.get(place + 1).filter(|arg| !arg.starts_with('-')).map(|_| (place + 1, 0));
        let each = args.iter().enumerate();
        match rule.form {
            Form::Option(option) => each
                .filter_map(|(place, arg)| match arg.strip_prefix(option)? {
                    "" => next(place),
                    value => value.starts_with('=').then_some((place, option.len() + 1)),
                })
                .collect(),
            Form::Short(option) => each
                .filter_map(|(place, arg)| match arg.strip_prefix(option)? {
                    "" => next(place),
                    value => Some((place, option.len() + usize::from(value.starts_with('=')))),
                })
                .collect(),
            Form::Attached(option) => each
                .filter(|(_, arg)| arg.starts_with(option) && arg.len() > option.len())
                .map(|(place, _)| (place, option.len()))
                .collect(),
            Form::AfterPercent(option) => each
                .filter_map(|(place, arg)| {
                    let place = if arg == option { place + 1 } else { place };
                    let value = args.get(place).filter(|_| arg.starts_with(option))?;
                    Some((place, value.find('%')? + 1))
                })
                .collect(),
            Form::AfterName => each
                .skip(behind)
                .filter(|(_, arg)| self.name.as_ref().is_some_and(|name| name.is_match(arg)))
                .filter_map(|(place, _)| next(place))
                .collect(),
            Form::Position(number) => {
                let mut values = each.skip(behind).filter(|(_, arg)| !arg.starts_with('-'));
                let found = values.nth(number - 1).filter(|(_, arg)| !arg.contains('=') && !arg.contains("://"));
                found.map(|(place, _)| (place, 0)).into_iter().collect()
            }
            Form::LastWith(letter) => {
                let is_given = |arg: &String| {
                    arg.starts_with('-') && !arg.starts_with("--") && arg.chars().skip(1).any(|one| one == letter)
                };
                let last = args.len().checked_sub(1).filter(|last| *last > 1 && args[..*last].iter().any(is_given));
                last.map(|last| (last, 0)).into_iter().collect()
            }
        }
    }

    /// The argument that has a shell's commands.
    fn shell_commands(&self, args: &[String]) -> Option<usize> {
        self.option.as_ref()?;
        let shell = args.iter().position(|arg| SHELLS.contains(&base_name(arg.trim_start_matches('-'))))?;
        let is_direct = shell == 0 || WRAPPERS.contains(&base_name(&args[0]));
        let option = |arg: &String| arg.starts_with('-') && !arg.starts_with("--") && arg.ends_with('c');
        let option = shell + 1 + args[shell + 1..].iter().position(option)?;
        (is_direct && option + 1 < args.len()).then_some(option + 1)
    }

    /// A shell's `text` without the secrets of the programs that it runs.
    fn commands(&self, text: &str) -> String {
        let mut masked = text.to_owned();
        // From the end, so that the places before stay.
        for command in words::commands(text).iter().rev() {
            let args: Vec<String> = command.iter().map(|word| word.text.clone()).collect();
            for (word, secret) in command.iter().zip(self.places(&args)).rev() {
                let Some(kept) = secret else { continue };
                let start = if word.is_plain { word.range.start + kept } else { word.range.start };
                let kept = if word.is_plain { "" } else { &word.text[..kept] };
                masked.replace_range(start..word.range.end, &format!("{kept}{MASK}"));
            }
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
}

/// Where programs begin in `args`: at the start, and behind a program that runs others, at each one with rules.
fn starts(args: &[String]) -> Vec<usize> {
    let is_known = |arg: &String| RULES.iter().any(|rule| rule.programs.contains(&base_name(arg)));
    let Some(first) = args.first() else { return Vec::new() };
    let inner = args.iter().enumerate().skip(1).filter(|_| WRAPPERS.contains(&base_name(first)));
    std::iter::once(0).chain(inner.filter(|(_, arg)| is_known(arg)).map(|(place, _)| place)).collect()
}

/// The place behind the words `within`, which have to be among `args` in this order.
fn behind(args: &[String], within: &[&str]) -> Option<usize> {
    within.iter().try_fold(0, |from, word| Some(from + args[from..].iter().position(|arg| arg == word)? + 1))
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

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests;
