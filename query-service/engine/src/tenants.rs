//! Where tables come from.

use std::sync::Arc;

use datafusion::catalog::CatalogProvider;

/// The tables of each tenant.
pub trait Tenants: Send + Sync + 'static {
    /// The tables of `tenant` for one query, in which a table stays as it was when first used; `None` when there is no
    /// such tenant.
    fn catalog(&self, tenant: &str) -> Option<Arc<dyn CatalogProvider>>;

    /// The schema of tables that a query names without one.
    fn default_schema(&self) -> &str;
}
