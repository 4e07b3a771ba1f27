//! Makes text from watched processes harmless: a command line may hold terminal escapes, a path a right-to-left mark.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal would act on `c`, or a reader not see it: controls, line separators, bidirectional marks,
/// invisible characters.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `text` with each hidden character written out: `\n`, `\x1b`, `\u{202e}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    visible_but(text, |_| false)
}

/// Like [`visible`], but characters for which `kept` is true stay.
pub(crate) fn visible_but(text: &str, kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let must_go = |c: char| is_hidden(c) && !kept(c);
    if !text.contains(must_go) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            _ if !must_go(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x100 => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    Cow::Owned(out)
}

/// JSON text with each hidden character inside its strings as `\uXXXX`: the same value, harmless to print.
///
/// JSON writers escape characters below U+0020; this escapes the rest. Line feeds between values stay.
pub fn json(text: &str) -> Cow<'_, str> {
    let must_go = |c: char| c >= '\u{7f}' && is_hidden(c);
    if !text.contains(must_go) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if must_go(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Text for a Markdown paragraph or table cell.
pub fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in visible(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

/// Text as a Markdown code span; it may contain backticks.
pub fn markdown_code(text: &str) -> String {
    let text = visible(text);
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if text.is_empty() || text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_are_escaped() {
        for (text, shown, as_json) in [
            ("plain ünïcode 漢", "plain ünïcode 漢", "plain ünïcode 漢"),
            ("\x1b[31mred\x07", "\\x1b[31mred\\x07", "\x1b[31mred\x07"),
            ("a\nb\r\tc", "a\\nb\\r\\tc", "a\nb\r\tc"),
            ("\u{9b}2J\u{7f}", "\\x9b2J\\x7f", "\\u009b2J\\u007f"),
            ("gpj\u{202e}exe", "gpj\\u{202e}exe", "gpj\\u202eexe"),
            ("\u{e0041}", "\\u{e0041}", "\\udb40\\udc41"),
        ] {
            assert_eq!(visible(text), shown);
            assert_eq!(json(text), as_json);
        }
    }

    #[test]
    fn text_cannot_inject_markdown() {
        assert_eq!(markdown("a|b <img> `x` *y* [z](u)"), "a\\|b &lt;img&gt; \\`x\\` \\*y\\* \\[z\\](u)");
        assert_eq!(markdown_code("echo `id`"), "`` echo `id` ``");
        assert_eq!(markdown_code("a ``` b"), "```` a ``` b ````".replace("```` a", "````a").replace("b ````", "b````"));
        assert_eq!(markdown_code("a\nb"), "`a\\nb`");
    }
}
