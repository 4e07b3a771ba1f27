//! Small vocabularies of Linux that both mappings need.

use kerntrail_common::shell;
use serde_json::Value;

/// Names of the errnos that the calls we watch return (errno(3)).
const ERRNOS: &[(i64, &str)] = &[
    (1, "EPERM"),
    (2, "ENOENT"),
    (3, "ESRCH"),
    (4, "EINTR"),
    (5, "EIO"),
    (9, "EBADF"),
    (11, "EAGAIN"),
    (12, "ENOMEM"),
    (13, "EACCES"),
    (14, "EFAULT"),
    (16, "EBUSY"),
    (17, "EEXIST"),
    (19, "ENODEV"),
    (20, "ENOTDIR"),
    (21, "EISDIR"),
    (22, "EINVAL"),
    (24, "EMFILE"),
    (28, "ENOSPC"),
    (30, "EROFS"),
    (36, "ENAMETOOLONG"),
    (38, "ENOSYS"),
    (40, "ELOOP"),
    (97, "EAFNOSUPPORT"),
    (98, "EADDRINUSE"),
    (99, "EADDRNOTAVAIL"),
    (100, "ENETDOWN"),
    (101, "ENETUNREACH"),
    (103, "ECONNABORTED"),
    (104, "ECONNRESET"),
    (105, "ENOBUFS"),
    (106, "EISCONN"),
    (110, "ETIMEDOUT"),
    (111, "ECONNREFUSED"),
    (112, "EHOSTDOWN"),
    (113, "EHOSTUNREACH"),
    (114, "EALREADY"),
    (115, "EINPROGRESS"),
];

/// ECONNREFUSED: nobody listens there.
pub(super) const REFUSED: i64 = -111;
/// EINPROGRESS: the answer comes later; not a failure.
const IN_PROGRESS: i64 = -115;

/// Whether a call that returned `ret` failed.
pub(super) fn failed(ret: i64) -> bool {
    ret < 0 && ret != IN_PROGRESS
}

/// Name of the error that a call returned as `ret` (minus the errno).
pub(super) fn errno(ret: i64) -> String {
    let known = ERRNOS.iter().find(|(number, _)| *number == -ret);
    known.map_or_else(|| format!("errno {}", -ret), |(_, name)| (*name).to_owned())
}

/// The arguments `args` as one line; `None` where there are none.
pub(super) fn command_line(args: &Value) -> Option<String> {
    let args: Vec<&str> = args.as_array()?.iter().filter_map(Value::as_str).collect();
    (!args.is_empty()).then(|| shell::quoted(&args))
}

/// An image reference taken apart.
#[derive(Debug, PartialEq)]
pub(super) struct Image<'a> {
    /// Repository with its registry.
    pub(super) name: &'a str,
    /// Tag, where the reference has one.
    pub(super) tag: Option<&'a str>,
}

/// Takes apart `registry/repository:tag@digest`; tag and digest may be missing.
pub(super) fn image(reference: &str) -> Image<'_> {
    let undigested = reference.split_once('@').map_or(reference, |(name, _)| name);
    match undigested.rsplit_once(':') {
        // A colon before the last slash belongs to the registry's port.
        Some((name, tag)) if !tag.contains('/') => Image { name, tag: Some(tag) },
        _ => Image { name: undigested, tag: None },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn image_references() {
        for (reference, name, tag) in [
            ("nginx", "nginx", None),
            ("docker.io/library/nginx:1.29", "docker.io/library/nginx", Some("1.29")),
            ("registry:5000/team/app", "registry:5000/team/app", None),
            ("registry:5000/app:v1@sha256:ab", "registry:5000/app", Some("v1")),
        ] {
            assert_eq!(image(reference), Image { name, tag }, "{reference}");
        }
    }

    #[test]
    fn command_lines_quote_what_a_shell_would_split() {
        assert_eq!(command_line(&json!(["sh", "-c", "id; it's", ""])).as_deref(), Some(r"sh -c 'id; it'\''s' ''"));
        assert_eq!(command_line(&json!([])), None);
    }

    #[test]
    fn errors_have_names() {
        assert_eq!(errno(-1), "EPERM");
        assert_eq!(errno(-4095), "errno 4095");
        assert!(failed(-1) && !failed(0) && !failed(3) && !failed(IN_PROGRESS));
    }
}
