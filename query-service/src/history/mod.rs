//! The history of a tenant as SQL sees it: the tables of the lake, with the columns computed from theirs.

mod catalog;
mod lake;
mod tables;
mod views;

use std::sync::Arc;

use datafusion::catalog::CatalogProvider;
use kerntrail_query_engine::{Capacity, Engine, EngineError, Tenants};

use self::catalog::{HISTORY, History};
pub use self::tables::{Tables, TablesError};

/// An engine over the history of one tenant.
///
/// Errors: as [`Engine::new`].
pub fn engine(tables: Arc<dyn Tables>, capacity: Capacity) -> Result<Arc<Engine>, EngineError> {
    Engine::new(Arc::new(OneTenant(tables)), capacity)
}

/// The tenant of one lake.
struct OneTenant(Arc<dyn Tables>);

impl Tenants for OneTenant {
    fn catalog(&self, tenant: &str) -> Option<Arc<dyn CatalogProvider>> {
        (tenant == self.0.tenant()).then(|| Arc::new(History::new(Arc::clone(&self.0))) as Arc<dyn CatalogProvider>)
    }

    fn default_schema(&self) -> &str {
        HISTORY
    }
}
