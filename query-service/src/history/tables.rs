//! What the history needs of a lake.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use kerntrail_schemas::Table;

/// Why a table cannot be opened.
pub type TablesError = Box<dyn Error + Send + Sync>;

/// The tables of one tenant.
#[async_trait]
pub trait Tables: Send + Sync + 'static {
    /// Name of the tenant; in SQL, of the catalog.
    fn tenant(&self) -> &str;

    /// The newest snapshot of `table`; `None` when it has no rows yet. It may lack columns that came later.
    async fn provider(&self, table: Table) -> Result<Option<Arc<dyn TableProvider>>, TablesError>;
}
