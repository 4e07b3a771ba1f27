//! Where tables come from.

use std::sync::Arc;

use datafusion::catalog::CatalogProvider;
use datafusion::common::ScalarValue;

/// The tables of each tenant.
pub trait Tenants: Send + Sync + 'static {
    /// The tables of `tenant` for one query, in which a table stays as it was when first used; `None` when there is no
    /// such tenant.
    fn catalog(&self, tenant: &str) -> Option<Arc<dyn CatalogProvider>>;

    /// The schema of tables that a query names without one.
    fn default_schema(&self) -> &str;

    /// The values that stored columns have wherever the computed `column` is `value`, for the same columns in the same order
    /// whatever the value; `None` when it is not computed, or cannot have that value.
    fn implied(&self, column: &str, value: &str) -> Option<Vec<(&'static str, ScalarValue)>> {
        let _ = (column, value);
        None
    }
}
