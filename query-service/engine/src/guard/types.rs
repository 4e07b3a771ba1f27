//! The types that the engine means as they are written.

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, DataType, ExactNumberInfo, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, TimezoneInfo,
};

use super::query::{Checked, absent};

/// Refuses a type with a part that the planner would ignore, also inside of a list or a structure.
pub(super) fn check_type(data_type: &DataType) -> Checked {
    absent(has_length(data_type), "a text type with a length; write left(text, length)")?;
    absent(has_width(data_type), "an integer type with a width; write it without one")?;
    // FLOAT(53) would have 24 bits.
    let has_precision = matches!(data_type, DataType::Float(info) if *info != ExactNumberInfo::None);
    absent(has_precision, "FLOAT with a precision; write REAL or DOUBLE")?;
    // '90' would be 90 months.
    let is_interval = matches!(data_type, DataType::Interval { .. });
    absent(is_interval, "CAST to INTERVAL; write INTERVAL '90 seconds'")?;
    // The result would have none.
    let has_zone = matches!(data_type, DataType::Timestamp(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz));
    absent(has_zone, "a time type with a zone; write arrow_cast(time, 'Timestamp(us, \"UTC\")')")?;
    match data_type {
        DataType::Array(
            ArrayElemTypeDef::AngleBracket(inner)
            | ArrayElemTypeDef::SquareBracket(inner, _)
            | ArrayElemTypeDef::Parenthesis(inner),
        ) => check_type(inner),
        DataType::Struct(fields, _) => fields.iter().try_for_each(|field| check_type(&field.field_type)),
        _ => Ok(()),
    }
}

fn has_length(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Varchar(Some(_))
            | DataType::Char(Some(_))
            | DataType::Character(Some(_))
            | DataType::CharVarying(Some(_))
            | DataType::CharacterVarying(Some(_))
            | DataType::Nvarchar(Some(_))
            | DataType::String(Some(_))
    )
}

fn has_width(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::TinyInt(Some(_))
            | DataType::TinyIntUnsigned(Some(_))
            | DataType::SmallInt(Some(_))
            | DataType::SmallIntUnsigned(Some(_))
            | DataType::Int2(Some(_))
            | DataType::Int2Unsigned(Some(_))
            | DataType::Int(Some(_))
            | DataType::IntUnsigned(Some(_))
            | DataType::Integer(Some(_))
            | DataType::IntegerUnsigned(Some(_))
            | DataType::Int4(Some(_))
            | DataType::Int4Unsigned(Some(_))
            | DataType::BigInt(Some(_))
            | DataType::BigIntUnsigned(Some(_))
            | DataType::Int8(Some(_))
            | DataType::Int8Unsigned(Some(_))
    )
}

/// Functions that read the name of a type from a text, with a parser that recurses without a limit.
const READ_TYPES: [&str; 2] = ["arrow_cast", "arrow_try_cast"];
/// Deepest type in such a text.
const MOST_TYPES: usize = 20;

/// Refuses the name of a deeply nested type in the text that `function` reads.
pub(super) fn check_type_names(function: &str, args: &FunctionArguments) -> Checked {
    let FunctionArguments::List(list) = args else { return Ok(()) };
    let is_deep = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => {
            value.value.to_string().matches('(').count() > MOST_TYPES
        }
        _ => false,
    };
    let deep = READ_TYPES.contains(&function) && list.args.iter().any(is_deep);
    absent(deep, "a type that is nested more than 20 deep")
}
