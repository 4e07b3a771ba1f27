//! Numbers of a record, as columns hold them.

use super::record::Number;
use crate::import::format::RecordRefusal;

/// `number` as the type of a column. Errors: it is out of range; `field` names it.
pub(super) fn fit<T: TryFrom<i128>>(field: &str, number: Option<Number>) -> Result<Option<T>, RecordRefusal> {
    let Some(Number(number)) = number else { return Ok(None) };
    T::try_from(number).map(Some).map_err(|_| RecordRefusal::content(format!("{field} {number} is out of range")))
}

/// A user or group id: 32 bits without sign, in a column with one.
pub(super) fn id(field: &str, number: Option<Number>) -> Result<Option<i32>, RecordRefusal> {
    Ok(fit::<u32>(field, number)?.map(|id| id as i32))
}
