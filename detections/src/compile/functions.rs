//! Functions that DataFusion lacks.

use std::net::IpAddr;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, StringArray};
use datafusion::arrow::compute::{and, or};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion::prelude::Expr;
use kerntrail_schemas::cell::Cell;

use super::commands;
use super::literals::Pattern;

/// Whether any item of the text list `list` matches `pattern`; NULL lists match nothing.
pub(super) fn any_item_matches(list: Expr, pattern: Pattern) -> Expr {
    let function = move |args: &[ColumnarValue]| {
        let lists = single_array(args)?;
        let lists = lists.as_list_opt::<i32>().ok_or_else(|| not_a("list"))?;
        let found: BooleanArray = lists
            .iter()
            .map(|items| Some(items.is_some_and(|items| texts(&items).any(|item| pattern.is_match(item)))))
            .collect();
        Ok(ColumnarValue::Array(Arc::new(found) as ArrayRef))
    };
    let input = vec![<Vec<String> as Cell>::data_type()];
    create_udf("any_item_matches", input, DataType::Boolean, Volatility::Volatile, Arc::new(function)).call(vec![list])
}

/// Whether `text` matches `pattern`; NULL matches nothing.
pub(super) fn text_matches(text: Expr, pattern: Pattern) -> Expr {
    let function = move |args: &[ColumnarValue]| {
        let texts = single_array(args)?;
        let found: BooleanArray =
            text_iter(&texts)?.map(|text| Some(text.is_some_and(|text| pattern.is_match(text)))).collect();
        Ok(ColumnarValue::Array(Arc::new(found) as ArrayRef))
    };
    create_udf("text_matches", vec![DataType::Utf8], DataType::Boolean, Volatility::Volatile, Arc::new(function))
        .call(vec![text])
}

/// Whether any of `parts` is true. No part is NULL.
///
/// One function of many arguments, however long the list is: a chain of `or` is as deep as it is long, and planning,
/// copying and dropping an expression are recursive.
pub(super) fn any_true(parts: Vec<Expr>) -> Expr {
    combined("any_true", parts, or)
}

/// Whether all of `parts` are true, likewise.
pub(super) fn all_true(parts: Vec<Expr>) -> Expr {
    combined("all_true", parts, and)
}

type Combine = fn(&BooleanArray, &BooleanArray) -> std::result::Result<BooleanArray, ArrowError>;

fn combined(name: &str, parts: Vec<Expr>, combine: Combine) -> Expr {
    let function = move |args: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(args)?;
        let mut result: Option<BooleanArray> = None;
        for part in &arrays {
            let part = part.as_boolean_opt().ok_or_else(|| not_a("boolean"))?;
            result = Some(match result {
                Some(so_far) => combine(&so_far, part)?,
                None => part.clone(),
            });
        }
        let result = result.ok_or_else(|| not_a("boolean"))?;
        Ok(ColumnarValue::Array(Arc::new(result) as ArrayRef))
    };
    let input = vec![DataType::Boolean; parts.len()];
    create_udf(name, input, DataType::Boolean, Volatility::Immutable, Arc::new(function)).call(parts)
}

/// How many of `parts` are true.
pub(super) fn count_true(parts: Vec<Expr>) -> Expr {
    let function = move |args: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(args)?;
        let mut counts = vec![0_i64; arrays.first().map_or(0, |first| first.len())];
        for part in &arrays {
            let part = part.as_boolean_opt().ok_or_else(|| not_a("boolean"))?;
            for (count, is_true) in counts.iter_mut().zip(part.iter()) {
                *count += i64::from(is_true == Some(true));
            }
        }
        Ok(ColumnarValue::Array(Arc::new(Int64Array::from(counts)) as ArrayRef))
    };
    let input = vec![DataType::Boolean; parts.len()];
    create_udf("count_true", input, DataType::Int64, Volatility::Immutable, Arc::new(function)).call(parts)
}

/// Whether the address in `text` is in `network`.
pub(super) fn in_network(text: Expr, network: Network) -> Expr {
    let function = move |args: &[ColumnarValue]| {
        let addresses = single_array(args)?;
        let inside: BooleanArray =
            text_iter(&addresses)?.map(|text| Some(text.is_some_and(|text| network.holds(text)))).collect();
        Ok(ColumnarValue::Array(Arc::new(inside) as ArrayRef))
    };
    create_udf("in_network", vec![DataType::Utf8], DataType::Boolean, Volatility::Volatile, Arc::new(function))
        .call(vec![text])
}

/// The file that a download or copy command writes, as an absolute path; NULL for any other command.
pub(super) fn written_file(args: Expr, cwd: Expr) -> Expr {
    file_of("written_file", commands::written_path, args, cwd)
}

/// The script that an interpreter was started with, as an absolute path; NULL for any other command.
pub(super) fn script_file(args: Expr, cwd: Expr) -> Expr {
    file_of("script_file", commands::script_path, args, cwd)
}

/// The file that `path_of` finds in the command `args`, below `cwd` where it is relative.
fn file_of(name: &str, path_of: fn(&[String]) -> Option<String>, args: Expr, cwd: Expr) -> Expr {
    let function = move |values: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(values)?;
        let [lists, folders] = arrays.as_slice() else { return exec_err!("a command and its folder were expected") };
        let lists = lists.as_list_opt::<i32>().ok_or_else(|| not_a("list"))?;
        let files: StringArray = lists
            .iter()
            .zip(text_iter(folders)?)
            .map(|(items, cwd)| {
                let items: Vec<String> =
                    items.map(|items| texts(&items).map(str::to_owned).collect()).unwrap_or_default();
                path_of(&items).map(|path| commands::absolute(&path, cwd.unwrap_or("/")))
            })
            .collect();
        Ok(ColumnarValue::Array(Arc::new(files) as ArrayRef))
    };
    let input = vec![<Vec<String> as Cell>::data_type(), DataType::Utf8];
    let function: ScalarUDF = create_udf(name, input, DataType::Utf8, Volatility::Immutable, Arc::new(function));
    function.call(vec![args, cwd])
}

fn single_array(args: &[ColumnarValue]) -> Result<ArrayRef> {
    ColumnarValue::values_to_arrays(args)?.into_iter().next().ok_or_else(|| not_a("argument"))
}

fn not_a(what: &str) -> DataFusionError {
    DataFusionError::Execution(format!("a {what} was expected"))
}

fn texts(items: &ArrayRef) -> impl Iterator<Item = &str> {
    items.as_string_opt::<i32>().into_iter().flat_map(|items| items.iter().flatten())
}

fn text_iter(array: &ArrayRef) -> Result<Box<dyn Iterator<Item = Option<&str>> + '_>> {
    if let Some(array) = array.as_string_opt::<i32>() {
        return Ok(Box::new(array.iter()));
    }
    match array.as_string_view_opt() {
        Some(array) => Ok(Box::new(array.iter())),
        None => Err(not_a("text")),
    }
}

/// A network such as `10.0.0.0/8`.
#[derive(Clone, Debug)]
pub(super) struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// Reads `address/bits`; `None` when it is not a network.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.parse().ok().filter(|bits| *bits <= most)?;
        Some(Self { address, bits })
    }

    fn holds(&self, text: &str) -> bool {
        match (self.address, text.parse()) {
            (IpAddr::V4(network), Ok(IpAddr::V4(address))) => {
                let shift = 32 - self.bits;
                (network.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), Ok(IpAddr::V6(address))) => {
                let shift = 128 - self.bits;
                (network.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("192.0.2.7/32", "192.0.2.7", true),
            ("192.0.2.7/32", "192.0.2.6", false),
            ("fd00::/8", "fdab::1", true),
            ("fd00::/8", "fe80::1", false),
            ("10.0.0.0/8", "fd00::1", false),
            ("10.0.0.0/8", "no address", false),
        ];
        for (network, address, inside) in cases {
            assert_eq!(Network::parse(network).unwrap().holds(address), inside, "{network} {address}");
        }
        for text in ["10.0.0.0", "10.0.0.0/33", "x/8", "fd00::/129"] {
            assert!(Network::parse(text).is_none(), "{text}");
        }
    }
}
