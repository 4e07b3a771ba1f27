//! Classes of OCSF with those of their activities that are used here.

/// A class of events.
#[derive(Debug, PartialEq, Eq)]
pub struct Class {
    /// `class_uid`.
    pub uid: i64,
    /// `class_name`.
    pub name: &'static str,
    /// `category_uid` and `category_name`.
    pub category: (i64, &'static str),
    /// `activity_id` and its caption.
    pub activities: &'static [(i64, &'static str)],
}

/// Class and activity of one of our activities.
#[derive(Debug)]
pub struct Classification {
    /// The class.
    pub class: &'static Class,
    /// Caption of the class's activity; [`OTHER`] where the class has none that fits.
    pub activity: &'static str,
}

/// Caption of activity 99, which every class has. The event then has our own name as `activity_name`.
pub const OTHER: &str = "Other";

const SYSTEM: (i64, &str) = (1, "System Activity");

/// <https://schema.ocsf.io/1.8.0/classes/process_activity>
pub static PROCESS: Class =
    Class { uid: 1007, name: "Process Activity", category: SYSTEM, activities: &[(1, "Launch"), (2, "Terminate")] };

/// <https://schema.ocsf.io/1.8.0/classes/file_activity>
pub static FILE: Class = Class {
    uid: 1001,
    name: "File System Activity",
    category: SYSTEM,
    activities: &[
        (1, "Create"),
        (2, "Read"),
        (3, "Update"),
        (4, "Delete"),
        (5, "Rename"),
        (7, "Set Security"),
        (14, "Open"),
    ],
};

/// <https://schema.ocsf.io/1.8.0/classes/kernel_activity>
pub static KERNEL: Class = Class { uid: 1003, name: "Kernel Activity", category: SYSTEM, activities: &[(4, "Invoke")] };

/// <https://schema.ocsf.io/1.8.0/classes/network_activity>
pub static NETWORK: Class = Class {
    uid: 4001,
    name: "Network Activity",
    category: (4, "Network Activity"),
    activities: &[(1, "Open"), (2, "Close"), (4, "Fail"), (5, "Refuse"), (7, "Listen")],
};

/// <https://schema.ocsf.io/1.8.0/classes/detection_finding>
pub static FINDING: Class = Class {
    uid: 2004,
    name: "Detection Finding",
    category: (2, "Findings"),
    activities: &[(1, "Create"), (2, "Update")],
};

/// <https://schema.ocsf.io/1.8.0/classes/base_event>
pub static BASE: Class = Class { uid: 0, name: "Base Event", category: (0, "Uncategorized"), activities: &[] };

impl Class {
    /// `activity_id` of the activity called `caption`; 99 for one that the class does not have.
    pub(crate) fn activity_id(&self, caption: &str) -> i64 {
        self.activities.iter().find(|(_, known)| *known == caption).map_or(99, |(id, _)| *id)
    }
}
