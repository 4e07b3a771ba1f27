//! A tenant's catalog: one schema, `history`, with a view for each table.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::TableType;
use kerntrail_query_engine::QueryError;
use kerntrail_schemas::Table;
use tokio::sync::Mutex;

use super::tables::Tables;
use super::views::view;

/// Name of the schema.
pub(crate) const HISTORY: &str = "history";

/// The catalog of one tenant, for one query: a table is opened when it is first named, and stays at that version.
#[derive(Clone)]
pub(crate) struct History {
    tables: Arc<dyn Tables>,
    opened: Arc<Mutex<HashMap<Table, Arc<dyn TableProvider>>>>,
}

impl History {
    pub(crate) fn new(tables: Arc<dyn Tables>) -> Self {
        Self { tables, opened: Arc::default() }
    }

    async fn open(&self, table: Table) -> Result<Arc<dyn TableProvider>, DataFusionError> {
        let mut opened = self.opened.lock().await;
        if let Some(view) = opened.get(&table) {
            return Ok(Arc::clone(view));
        }
        let stored = self.tables.provider(table).await;
        let stored = stored.map_err(|error| DataFusionError::from(QueryError::internal(error)))?;
        let view = view(table, stored)?;
        opened.insert(table, Arc::clone(&view));
        Ok(view)
    }
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("History").field(&self.tables.tenant()).finish()
    }
}

impl CatalogProvider for History {
    fn schema_names(&self) -> Vec<String> {
        vec![HISTORY.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        (name == HISTORY).then(|| Arc::new(self.clone()) as Arc<dyn SchemaProvider>)
    }
}

#[async_trait]
impl SchemaProvider for History {
    fn table_names(&self) -> Vec<String> {
        Table::ALL.iter().map(|table| table.name().to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        match name.parse::<Table>() {
            Ok(table) => self.open(table).await.map(Some),
            Err(_) => Ok(None),
        }
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>, DataFusionError> {
        Ok(self.table_exist(name).then_some(TableType::View))
    }

    fn table_exist(&self, name: &str) -> bool {
        name.parse::<Table>().is_ok()
    }
}
