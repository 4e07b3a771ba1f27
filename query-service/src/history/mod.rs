//! The history of a tenant as SQL sees it: the tables of the lake, with the columns computed from theirs.

mod catalog;
mod lake;
mod tables;
mod views;

use std::sync::Arc;

use datafusion::catalog::CatalogProvider;
use datafusion::common::ScalarValue;
use kerntrail_query_engine::{Capacity, Engine, EngineError, Tenants};
use kerntrail_schemas::identity::{EVENT_ID, EXEC_ID, parse_event_id};

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

    fn implied(&self, column: &str, value: &str) -> Option<Vec<(&'static str, ScalarValue)>> {
        if column == EVENT_ID.name {
            let (stream, cpu, seq) = parse_event_id(value)?;
            let stream = ScalarValue::from(stream.as_str());
            return Some(EVENT_ID.columns.iter().copied().zip([stream, cpu.into(), seq.into()]).collect());
        }
        if column == EXEC_ID.name {
            let (process, exec_seq) = value.rsplit_once(EXEC_ID.separator)?;
            let exec_seq: i32 = exec_seq.parse().ok()?;
            return Some(EXEC_ID.columns.iter().copied().zip([process.into(), exec_seq.into()]).collect());
        }
        None
    }
}
