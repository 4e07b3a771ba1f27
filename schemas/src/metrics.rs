//! Names of metrics, written down once with what they mean.

/// A crate's metrics: a constant for each name, and `describe()`, which gives each its line of help.
///
/// A line is `counter NAME = "kerntrail_…_total";`, or `gauge` or `histogram`; its documentation is the help.
#[macro_export]
macro_rules! metric_names {
    ($($(#[doc = $help:literal])+ $kind:ident $name:ident = $value:literal;)*) => {
        $($(#[doc = $help])+ pub const $name: &str = $value;)*

        /// Tells the metrics recorder of this process what each of these metrics means.
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
