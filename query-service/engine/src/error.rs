//! Why a query failed: whose fault it is, the text for the client, the cause for the log.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use kerntrail_common::error::chain;
use kerntrail_common::suggest::did_you_mean;

use crate::spill::SpillFull;

/// Whose fault it is, and so what the client can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The query is wrong: correct it.
    User,
    /// The query would write; it is always refused.
    ReadOnly,
    /// It ran longer than allowed.
    Timeout,
    /// It needs more memory or has more rows than allowed.
    Limit,
    /// Too many queries are running: try again.
    Busy,
    /// The server's fault; its log says more.
    Internal,
}

impl ErrorKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [Self::User, Self::ReadOnly, Self::Timeout, Self::Limit, Self::Busy, Self::Internal];

    /// Its name in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::ReadOnly => "read_only",
            Self::Timeout => "timeout",
            Self::Limit => "limit",
            Self::Busy => "busy",
            Self::Internal => "internal",
        }
    }
}

/// A query that failed.
///
/// `Display` is the text for the client: no path, host or internal state. The cause behind `source()` is for the log.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    kind: ErrorKind,
    message: String,
    #[source]
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl QueryError {
    /// An error that `message` explains completely.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), cause: None }
    }

    /// A wrong query.
    pub fn user(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::User, message)
    }

    /// The server's fault: the log gets `cause` under a number, the client gets the number.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let cause = cause.into();
        tracing::error!(number, cause = chain(cause.as_ref()), "query failed");
        let message =
            format!("the query failed inside the server; the server's log has the cause under number {number}");
        Self { kind: ErrorKind::Internal, message, cause: Some(cause) }
    }

    /// It ran longer than `allowed`.
    pub(crate) fn timeout(allowed: Duration) -> Self {
        let seconds = allowed.as_secs_f64();
        Self::new(
            ErrorKind::Timeout,
            format!("the query ran longer than {seconds} s and was stopped; narrow the time range"),
        )
    }

    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The client's text.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<QueryError> for DataFusionError {
    /// Keeps its kind on the way through DataFusion.
    fn from(error: QueryError) -> Self {
        Self::External(Box::new(error))
    }
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        match for_client(error.find_root()) {
            Some((kind, message)) => Self { kind, message, cause: Some(Box::new(error)) },
            None => Self::internal(error),
        }
    }
}

/// What the client may know of `root`; `None` when it is the server's fault.
fn for_client(root: &DataFusionError) -> Option<(ErrorKind, String)> {
    let message = match root {
        DataFusionError::SQL(error, _) => format!("syntax: {error}"),
        DataFusionError::SchemaError(error, _) => schema_message(error),
        DataFusionError::Plan(text) | DataFusionError::Execution(text) | DataFusionError::Configuration(text) => {
            first_lines(text)
        }
        DataFusionError::NotImplemented(text) => format!("not supported: {}", first_lines(text)),
        DataFusionError::ResourcesExhausted(_) => return Some((ErrorKind::Limit, OUT_OF_MEMORY.to_owned())),
        DataFusionError::IoError(error) if SpillFull::is_cause_of(error) => return Some(out_of_disk()),
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::IoError(_, error) if SpillFull::is_cause_of(error) => return Some(out_of_disk()),
            error => arrow_message(error)?,
        },
        DataFusionError::Diagnostic(_, inner) => return for_client(inner.find_root()),
        DataFusionError::Collection(errors) => return for_client(errors.first()?.find_root()),
        DataFusionError::Shared(inner) => return for_client(Arc::as_ref(inner).find_root()),
        DataFusionError::External(inner) => match inner.downcast_ref::<QueryError>() {
            Some(error) => return Some((error.kind, error.message.clone())),
            None => wrong_regex(inner.as_ref())?,
        },
        _ => return None,
    };
    Some((ErrorKind::User, message))
}

/// The memory pool is the only source of [`DataFusionError::ResourcesExhausted`]: spills are bounded by [`SpillFull`].
const OUT_OF_MEMORY: &str =
    "the query needs more memory than one query may use; select fewer columns, a shorter time range or a LIMIT";

fn out_of_disk() -> (ErrorKind, String) {
    let message = "the query needs more temporary disk space than queries may use; \
                   select fewer columns or a shorter time range";
    (ErrorKind::Limit, message.to_owned())
}

/// The message about a regular expression that cannot be compiled.
fn wrong_regex(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<String> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let text = error.downcast_ref::<regex::Error>().map(regex_words);
        let syntax = || error.downcast_ref::<regex_syntax::Error>().map(invalid_regex);
        if let Some(text) = text.or_else(syntax) {
            return Some(text);
        }
        cause = error.source();
    }
    None
}

/// What is wrong with a regular expression.
pub(crate) fn regex_words(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => {
            let most = limit >> 20;
            format!("the regular expression is too large: compiled, it takes more than {most} MiB; repeat less in it")
        }
        error => invalid_regex(error),
    }
}

fn invalid_regex(error: &impl std::fmt::Display) -> String {
    format!("the regular expression is invalid: {error}")
}

/// The text without a backtrace.
fn first_lines(text: &str) -> String {
    text.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or(text).trim().to_owned()
}

fn schema_message(error: &SchemaError) -> String {
    let SchemaError::FieldNotFound { field, valid_fields } = error else { return error.to_string() };
    let names = valid_fields.iter().map(|column| column.name.as_str());
    let hint = match did_you_mean(&field.name, names) {
        hint if !hint.is_empty() => hint,
        _ => match valid_fields.iter().find_map(|column| column.relation.as_ref()) {
            Some(table) => format!("; DESCRIBE {} lists its columns", table.table()),
            None => String::new(),
        },
    };
    format!("there is no column `{}`{hint}", field.flat_name())
}

/// Mistakes in the query that only values reveal; any other error of Arrow is the server's fault.
fn arrow_message(error: &ArrowError) -> Option<String> {
    match error {
        ArrowError::DivideByZero => Some("division by zero".to_owned()),
        ArrowError::DictionaryKeyOverflowError => {
            Some("there are more different values than keys of the dictionary's type".to_owned())
        }
        ArrowError::ArithmeticOverflow(text)
        | ArrowError::CastError(text)
        | ArrowError::ParseError(text)
        | ArrowError::ComputeError(text)
        | ArrowError::InvalidArgumentError(text) => Some(text.clone()),
        _ => None,
    }
}
