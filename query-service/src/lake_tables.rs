//! The lake as a source of tables.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use kerntrail_lake::{Lake, LakeTable};
use kerntrail_schemas::Table;
use tokio::sync::Mutex;

use crate::tables::{Tables, TablesError};

/// The tables of a lake. Each is opened once; a later query reads only what was committed since.
pub struct LakeTables {
    lake: Arc<Lake>,
    opened: Mutex<HashMap<Table, Arc<Mutex<LakeTable>>>>,
}

impl LakeTables {
    /// The tables of `lake`.
    pub fn new(lake: Arc<Lake>) -> Self {
        Self { lake, opened: Mutex::default() }
    }

    /// The open table, and whether it was just opened.
    async fn open(&self, table: Table) -> Result<Option<(Arc<Mutex<LakeTable>>, bool)>, TablesError> {
        match self.opened.lock().await.entry(table) {
            Entry::Occupied(known) => Ok(Some((Arc::clone(known.get()), false))),
            Entry::Vacant(unknown) => match self.lake.existing(table).await? {
                Some(opened) => Ok(Some((Arc::clone(unknown.insert(Arc::new(Mutex::new(opened)))), true))),
                None => Ok(None),
            },
        }
    }
}

#[async_trait]
impl Tables for LakeTables {
    fn tenant(&self) -> &str {
        self.lake.tenant()
    }

    async fn provider(&self, table: Table) -> Result<Option<Arc<dyn TableProvider>>, TablesError> {
        let Some((opened, fresh)) = self.open(table).await? else { return Ok(None) };
        let mut opened = opened.lock().await;
        if !fresh {
            opened.refresh().await?;
        }
        Ok(Some(opened.provider()))
    }
}
