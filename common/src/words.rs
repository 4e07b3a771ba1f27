//! Counts in messages.

use std::fmt::Display;

/// `1 file`, `2 files`: `count` with the noun `what`, whose plural ends in `s`.
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, what: &str) -> String {
    let ending = if count == N::from(1) { "" } else { "s" };
    format!("{count} {what}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        assert_eq!([0, 1, 2].map(|count: u64| counted(count, "file")), ["0 files", "1 file", "2 files"]);
    }
}
