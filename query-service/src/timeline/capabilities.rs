//! Names of capabilities (linux/capability.h).

const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The names of the bits of `mask`, lowest first; a bit that has none is `CAP_<bit>`.
pub(crate) fn names(mask: i64) -> Vec<String> {
    let bits = (0..64).filter(|bit| mask >> bit & 1 == 1);
    bits.map(|bit| NAMES.get(bit).map_or_else(|| format!("CAP_{bit}"), |name| format!("CAP_{name}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn bits_have_the_kernels_names() {
        assert_eq!(names(1 | 1 << 21 | 1 << 40), ["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"]);
        assert_eq!(names(1 << 45), ["CAP_45"]);
        assert!(names(0).is_empty());
    }
}
