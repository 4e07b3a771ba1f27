//! The settings of the detection rules.

use std::path::PathBuf;

use kerntrail_common::period::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[rules]`: detection rules. Skipped fields are not settings; the program that starts a detector fills them in.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DetectorConfig {
    /// Run detection rules.
    pub enabled: bool,
    /// Folder of additional Sigma rules; empty: only the shipped ones. A rule that cannot be used is named in the log and
    /// by `rules list`; the others run.
    pub dir: PathBuf,
    /// YAML file with values for the placeholders of rules (`%name%` behind the modifier `expand`): a list of texts for each name.
    /// Empty: rules with placeholders are not used.
    pub placeholders: PathBuf,
    /// YAML file with exceptions: events that are no finding until a day. Empty: none.
    pub exceptions: PathBuf,
    /// Interval at which the rules process new rows.
    pub interval: Period,
    /// Longest time of one rule in one pass. A rule that takes longer, or fails, is set aside: it keeps its place, and is
    /// retried less and less often, while the others go on.
    pub timeout: Period,
    /// Most findings that a rule makes of an hour of events. What it finds beyond that is counted in one more finding.
    pub max_findings_per_hour: u32,
    /// Folder of the detector's state.
    #[serde(skip)]
    pub state_dir: PathBuf,
    /// Tenant that the findings belong to.
    #[serde(skip)]
    pub tenant: String,
    /// Name of this detector, part of the findings' stream.
    #[serde(skip)]
    pub node: String,
    /// Cluster written into findings; that of the events where absent.
    #[serde(skip)]
    pub cluster: Option<String>,
}

impl Default for DetectorConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            dir: PathBuf::new(),
            placeholders: PathBuf::new(),
            exceptions: PathBuf::new(),
            interval: Period::seconds(2),
            timeout: Period::seconds(10),
            max_findings_per_hour: 100,
            state_dir: PathBuf::from("state"),
            tenant: kerntrail_schemas::DEFAULT_TENANT.to_owned(),
            node: String::new(),
            cluster: None,
        }
    }
}
