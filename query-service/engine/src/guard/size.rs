//! Bounds of a statement. Planning takes time and stack for every part of a statement, for some parts with the square of
//! their number, so all are counted before it begins.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::{ErrorKind, QueryError};

/// Most operators in a statement: the syntax tree and the planners are as deep as a chain of operators is long.
const MOST_OPERATORS: usize = 1_000;

/// Words that may make the syntax tree deeper with every use.
const OPERATOR_WORDS: &[Keyword] = &[
    Keyword::AND,
    Keyword::OR,
    Keyword::XOR,
    Keyword::NOT,
    Keyword::IS,
    Keyword::NOTNULL,
    Keyword::IN,
    Keyword::LIKE,
    Keyword::ILIKE,
    Keyword::RLIKE,
    Keyword::REGEXP,
    Keyword::MATCH,
    Keyword::SIMILAR,
    Keyword::BETWEEN,
    Keyword::OVERLAPS,
    Keyword::DIV,
    Keyword::AT,
    Keyword::COLLATE,
    Keyword::MEMBER,
    Keyword::UNION,
    Keyword::EXCEPT,
    Keyword::MINUS,
    Keyword::INTERSECT,
    Keyword::JOIN,
    Keyword::APPLY,
    Keyword::PIVOT,
    Keyword::UNPIVOT,
    Keyword::INTERVAL,
    Keyword::PRIOR,
    Keyword::EXPLAIN,
    Keyword::DESCRIBE,
];

/// Deepest nesting of brackets: the parser recurses for each pair, in some places without a limit of its own.
const MOST_BRACKETS: usize = 100;
/// Deepest nesting of calls with a syntax of their own: the parser tries each twice, as such and as a plain function, so
/// the time doubles with every level.
const MOST_SPECIAL_CALLS: usize = 10;

/// Calls with a syntax of their own, such as `CAST (x AS text)`.
const SPECIAL_CALLS: &[Keyword] = &[
    Keyword::CASE,
    Keyword::CAST,
    Keyword::TRY_CAST,
    Keyword::SAFE_CAST,
    Keyword::CONVERT,
    Keyword::TRY_CONVERT,
    Keyword::EXTRACT,
    Keyword::CEIL,
    Keyword::FLOOR,
    Keyword::POSITION,
    Keyword::SUBSTR,
    Keyword::SUBSTRING,
    Keyword::OVERLAY,
    Keyword::TRIM,
    Keyword::EXISTS,
    Keyword::STRUCT,
    Keyword::ARRAY,
];

/// Refuses a statement that takes a parser or planner too much time or stack, before it is parsed. Text that has no
/// tokens is left to the parser.
pub(super) fn check_tokens(sql: &str) -> Result<(), QueryError> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().unwrap_or_default();
    check_lengths(&tokens)?;
    check_nesting(&tokens)?;
    match tokens.iter().filter(|token| is_operator(token)).count() {
        0..=MOST_OPERATORS => Ok(()),
        more => Err(too_large(more, "operators", MOST_OPERATORS)),
    }
}

/// Longest name, in bytes: an unknown one is compared with all known ones.
const LONGEST_NAME: usize = 1_000;
/// Longest number, in bytes.
const LONGEST_NUMBER: usize = 1_000;
/// Longest text, in bytes.
const LONGEST_TEXT: usize = 64 << 10;

fn check_lengths(tokens: &[Token]) -> Result<(), QueryError> {
    tokens.iter().try_for_each(|token| {
        let (length, what, most) = match token {
            Token::Word(word) => (word.value.len(), "name", LONGEST_NAME),
            Token::Number(digits, _) => (digits.len(), "number", LONGEST_NUMBER),
            Token::SingleQuotedString(text)
            | Token::DoubleQuotedString(text)
            | Token::EscapedStringLiteral(text)
            | Token::UnicodeStringLiteral(text)
            | Token::NationalStringLiteral(text)
            | Token::HexStringLiteral(text) => (text.len(), "text", LONGEST_TEXT),
            Token::DollarQuotedString(text) => (text.value.len(), "text", LONGEST_TEXT),
            _ => return Ok(()),
        };
        if length <= most {
            return Ok(());
        }
        Err(QueryError::user(format!("the statement has a {what} of {length} bytes; {most} are allowed")))
    })
}

fn check_nesting(tokens: &[Token]) -> Result<(), QueryError> {
    let mut special = 0;
    let mut open = Vec::new();
    let mut before = &Token::EOF;
    for token in tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))) {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                let is_special = matches!(before, Token::Word(word) if SPECIAL_CALLS.contains(&word.keyword));
                special += usize::from(is_special);
                open.push(is_special);
            }
            Token::RParen | Token::RBracket | Token::RBrace => special -= usize::from(open.pop().unwrap_or(false)),
            _ => {}
        }
        if open.len() > MOST_BRACKETS {
            return Err(too_large(open.len(), "or more nested brackets", MOST_BRACKETS));
        }
        if special > MOST_SPECIAL_CALLS {
            return Err(too_large(special, "or more nested calls such as CAST", MOST_SPECIAL_CALLS));
        }
        before = token;
    }
    Ok(())
}

/// Whether `token` may make the tree deeper: every token does that does not stand for a value, a name or a list.
fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => OPERATOR_WORDS.contains(&word.keyword),
        Token::EOF
        | Token::Number(..)
        | Token::Char(_)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::TripleSingleQuotedString(_)
        | Token::TripleDoubleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::SingleQuotedByteStringLiteral(_)
        | Token::DoubleQuotedByteStringLiteral(_)
        | Token::TripleSingleQuotedByteStringLiteral(_)
        | Token::TripleDoubleQuotedByteStringLiteral(_)
        | Token::SingleQuotedRawStringLiteral(_)
        | Token::DoubleQuotedRawStringLiteral(_)
        | Token::TripleSingleQuotedRawStringLiteral(_)
        | Token::TripleDoubleQuotedRawStringLiteral(_)
        | Token::NationalStringLiteral(_)
        | Token::EscapedStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::HexStringLiteral(_)
        | Token::Comma
        | Token::Whitespace(_)
        | Token::LParen
        | Token::RParen
        | Token::Period
        | Token::RBracket
        | Token::LBrace
        | Token::RBrace => false,
        _ => true,
    }
}

/// What a statement has of each countable part so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    expressions: usize,
    relations: usize,
    /// Relations of common table expressions as they are defined; what uses them counts again.
    defined: usize,
    /// Fields that structures may have: the product of the arguments of all that make one.
    fields: usize,
}

/// Most expressions that are more than a constant or a column.
const MOST_EXPRESSIONS: usize = 5_000;
/// Most tables, subqueries and joins, each as often as common table expressions use it.
const MOST_RELATIONS: usize = 200;
/// Most relations in the definitions of common table expressions, each with those that it uses.
const MOST_DEFINED: usize = 2_000;
/// Most fields of structures of structures.
const MOST_FIELDS: usize = 1_000_000;
/// Most columns of a result, and items of any other list that a planner compares with one another.
const MOST_ITEMS: usize = 1_000;
/// Most grouping sets.
const MOST_GROUPING_SETS: usize = 256;

impl Counts {
    /// One more expression.
    pub(super) fn expression(&mut self) -> Result<(), QueryError> {
        self.expressions += 1;
        within(self.expressions, "expressions", MOST_EXPRESSIONS)
    }

    /// `more` relations.
    pub(super) fn relations(&mut self, more: usize) -> Result<(), QueryError> {
        self.relations = self.relations.saturating_add(more);
        within(self.relations, "tables and subqueries", MOST_RELATIONS)
    }

    /// The last `own` relations are those of a common table expression.
    pub(super) fn define(&mut self, own: usize) -> Result<(), QueryError> {
        self.relations -= own;
        self.defined = self.defined.saturating_add(own);
        within(self.defined, "tables and subqueries in WITH", MOST_DEFINED)
    }

    /// A structure of `fields` fields, which may be structures that other parts of the statement make.
    pub(super) fn structure(&mut self, fields: usize) -> Result<(), QueryError> {
        self.fields = self.fields.max(1).saturating_mul(fields.max(1));
        within(self.fields, "fields in structures", MOST_FIELDS)
    }

    /// Relations so far.
    pub(super) fn relations_so_far(&self) -> usize {
        self.relations
    }
}

/// Refuses a list that is too long.
pub(super) fn check_items(items: usize, what: &str) -> Result<(), QueryError> {
    within(items, what, MOST_ITEMS)
}

/// Refuses too many grouping sets.
pub(super) fn check_grouping_sets(sets: usize) -> Result<(), QueryError> {
    within(sets, "grouping sets", MOST_GROUPING_SETS)
}

fn within(count: usize, what: &str, most: usize) -> Result<(), QueryError> {
    if count <= most { Ok(()) } else { Err(too_large(count, what, most)) }
}

fn too_large(count: usize, what: &str, most: usize) -> QueryError {
    QueryError::new(ErrorKind::User, format!("the statement has {count} {what}; {most} are allowed"))
}
