//! The lake as a source of tables.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use kerntrail_lake::Lake;
use kerntrail_schemas::Table;

use super::tables::{Tables, TablesError};

#[async_trait]
impl Tables for Lake {
    fn tenant(&self) -> &str {
        Lake::tenant(self)
    }

    async fn provider(&self, table: Table) -> Result<Option<Arc<dyn TableProvider>>, TablesError> {
        Ok(self.existing(table).await?.map(|table| table.provider()))
    }
}
