//! Errors as text.

use std::error::Error;
use std::fmt::Write as _;

/// `error` and its causes in one line, outermost first: `cannot open the log: cannot read /x: permission denied`.
///
/// For logs and messages. An error type must not repeat its source in its own text, or the line says it twice.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(line, ": {cause}");
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the log")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read /x")]
    struct Middle(#[source] std::io::Error);

    #[test]
    fn causes_follow_in_order() {
        let io = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        assert_eq!(chain(&Middle(std::io::Error::other("torn"))), "cannot read /x: torn");
        assert_eq!(chain(&Outer(Middle(io))), "cannot open the log: cannot read /x: permission denied");
        assert_eq!(chain(&std::fmt::Error), std::fmt::Error.to_string());
    }
}
