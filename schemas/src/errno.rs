//! Results of system calls: 0 or more, or minus the errno.

/// Names of the errnos that watched calls return (errno(3)).
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
    (87, "EUSERS"),
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

/// ECONNREFUSED: nothing listens there.
pub const REFUSED: i64 = -111;
/// EINPROGRESS: the result comes later; not a failure.
const IN_PROGRESS: i64 = -115;

/// Whether a call that returned `ret` failed.
pub fn failed(ret: i64) -> bool {
    ret < 0 && ret != IN_PROGRESS
}

/// Name of the error that a call returned as `ret` (minus the errno).
pub fn name(ret: i64) -> String {
    let known = ERRNOS.iter().find(|(number, _)| *number == -ret);
    known.map_or_else(|| format!("errno {}", -ret), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_names() {
        assert_eq!(name(-1), "EPERM");
        assert_eq!(name(-4095), "errno 4095");
        assert!(failed(-1) && !failed(0) && !failed(3) && !failed(IN_PROGRESS));
    }
}
