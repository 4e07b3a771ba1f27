//! How a lake is to be read.

use datafusion::prelude::SessionConfig;

/// Settings for every session that reads a lake's tables.
///
/// While a query runs, DataFusion 55 learns filters from its aggregates and joins and skips files by them. Some skip
/// what the answer needs: NULL counts as the least value and races with the others (apache/datafusion#25147), one
/// aggregate filters the rows of another (#24816), a join's key is taken for another column of that name (#25244,
/// #25264). The filters of `order by … limit` stay.
pub fn session_config() -> SessionConfig {
    let mut config = SessionConfig::new();
    let optimizer = &mut config.options_mut().optimizer;
    optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    optimizer.enable_join_dynamic_filter_pushdown = false;
    config
}
