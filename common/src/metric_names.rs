//! Names of metrics, each written once together with its help.

/// The metrics of a crate: a constant for each name, and `describe()`, which registers the help of each.
///
/// A line is `counter NAME = "app_…_total";`, or `gauge` or `histogram`; its documentation is the help. The crate
/// that uses the macro needs the `metrics` crate.
#[macro_export]
macro_rules! metric_names {
    ($($(#[doc = $help:literal])+ $kind:ident $name:ident = $value:literal;)*) => {
        $($(#[doc = $help])+ pub const $name: &str = $value;)*

        /// Registers the help of these metrics with the recorder of this process.
        pub fn describe() {
            $($crate::describe_metric!($kind, $name, concat!($($help),+).trim());)*
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! describe_metric {
    (counter, $name:ident, $help:expr) => {
        ::metrics::describe_counter!($name, $help)
    };
    (gauge, $name:ident, $help:expr) => {
        ::metrics::describe_gauge!($name, $help)
    };
    (histogram, $name:ident, $help:expr) => {
        ::metrics::describe_histogram!($name, $help)
    };
}
