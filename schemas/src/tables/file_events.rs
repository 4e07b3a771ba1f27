//! `file_events`: which files were touched.

mod to_ecs;
mod to_ocsf;

use super::{Declaration, Unknown};
use crate::activity::activities;
use crate::columns::columns;
use crate::mapping::ecs;
use crate::mapping::ocsf;
use crate::sentence::Sentence;

pub(super) static DECLARATION: Declaration = Declaration {
    name: "file_events",
    meaning: "Files: what was opened, changed and removed.",
    number: 2,
    has_actor: true,
    in_timeline: true,
    in_finding: Sentence("[`{command}`]"),
    activities: ACTIVITIES,
    unknown: Unknown {
        ocsf: ocsf::Classification { class: &ocsf::FILE, activity: ocsf::OTHER },
        ecs_category: &["file"],
        ecs_type: &["info"],
        sentence: Sentence("{activity}[ {old_path} ->] {path|an unknown file}"),
    },
    ocsf: to_ocsf::MAPPING,
    ecs: to_ecs::MAPPING,
};

columns! {
    /// Own columns of `file_events`.
    FileColumns, FileColumnsBuilder {
        path: String = "file, as seen from the process's root",
        old_path: String = "path before a rename; source of a link",
        flags: i64 = "open flags (fcntl.h)",
        mode: i64 = "permission bits",
        bytes: i64 = "bytes read or written",
    }
}

activities! {
    FileEvents:
    /// A file was opened.
    OPEN = "open" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::FILE, activity: "Open" },
        ecs: ecs::Classification { category: &["file"], kind: &["access"], action: "open" },
        sigma: &["file_access"],
        sentence: Sentence("open {path|an unknown file}"),
        boundary: None,
    }
    /// A file was read, or mapped to be read.
    READ = "read" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::FILE, activity: "Read" },
        ecs: ecs::Classification { category: &["file"], kind: &["access"], action: "read" },
        sigma: &["file_access"],
        sentence: Sentence("read {path|an unknown file}[ ({bytes})]"),
        boundary: None,
    }
    /// A file was written, or mapped to be written.
    WRITE = "write" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::FILE, activity: "Update" },
        ecs: ecs::Classification { category: &["file"], kind: &["change"], action: "modification" },
        sigma: &["file_event"],
        sentence: Sentence("write {path|an unknown file}[ ({bytes})]"),
        boundary: None,
    }
    /// A file was truncated or extended to a given size.
    TRUNCATE = "truncate" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::FILE, activity: "Update" },
        ecs: ecs::Classification { category: &["file"], kind: &["change"], action: "modification" },
        sigma: &["file_event"],
        sentence: Sentence("truncate {path|an unknown file}"),
        boundary: None,
    }
    /// A name of a file, or an empty directory, was removed.
    UNLINK = "unlink" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::FILE, activity: "Delete" },
        ecs: ecs::Classification { category: &["file"], kind: &["deletion"], action: "deletion" },
        sigma: &["file_delete"],
        sentence: Sentence("unlink {path|an unknown file}"),
        boundary: None,
    }
    /// A file was renamed or moved.
    RENAME = "rename" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::FILE, activity: "Rename" },
        ecs: ecs::Classification { category: &["file"], kind: &["change"], action: "rename" },
        sigma: &["file_event"],
        sentence: Sentence("rename[ {old_path} ->] {path|an unknown file}"),
        boundary: None,
    }
    /// A hard link to a file was created.
    LINK = "link" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::FILE, activity: "Create" },
        ecs: ecs::Classification { category: &["file"], kind: &["creation"], action: "creation" },
        sigma: &["file_event"],
        sentence: Sentence("link[ {old_path} ->] {path|an unknown file}"),
        boundary: None,
    }
    /// A symbolic link was created.
    SYMLINK = "symlink" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::FILE, activity: "Create" },
        ecs: ecs::Classification { category: &["file"], kind: &["creation"], action: "creation" },
        sigma: &["file_event"],
        sentence: Sentence("symlink[ {old_path} ->] {path|an unknown file}"),
        boundary: None,
    }
    /// The permission bits of a file were changed.
    CHMOD = "chmod" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::FILE, activity: "Set Security" },
        ecs: ecs::Classification { category: &["file"], kind: &["change"], action: "chmod" },
        sigma: &[],
        sentence: Sentence("chmod {path|an unknown file}"),
        boundary: None,
    }
    /// The owner or group of a file was changed.
    CHOWN = "chown" {
        records: &[],
        ocsf: ocsf::Classification { class: &ocsf::FILE, activity: "Set Security" },
        ecs: ecs::Classification { category: &["file"], kind: &["change"], action: "chown" },
        sigma: &[],
        sentence: Sentence("chown {path|an unknown file}"),
        boundary: None,
    }
}
